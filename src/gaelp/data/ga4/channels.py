"""Google's default channel groups: which group a source, a medium and a campaign belong to.

Source: Google, "[GA4] Default channel group" (support.google.com/analytics/answer/9756891), the rules for
manual traffic, in its order. Which sites count as search, social, shopping and video is Google's list as
`source_categories.csv` of this folder has it: Velir/dbt-ga4, seeds/ga4_source_categories.csv at 2d7b1f1, MIT
licence. What Google decides by its own records (the network of a Google Ads campaign, formats of Display &
Video 360) is in no export; where the export names Google's own group, `sessions` takes that instead.
"""

import csv
import re
from functools import cache
from importlib.resources import files
from typing import Final

GROUPS: Final = (
    "Direct",
    "Cross-network",
    "Paid Shopping",
    "Paid Search",
    "Paid Social",
    "Paid Video",
    "Display",
    "Paid Other",
    "Organic Shopping",
    "Organic Social",
    "Organic Video",
    "Organic Search",
    "Referral",
    "Email",
    "Affiliates",
    "Audio",
    "SMS",
    "Mobile Push Notifications",
    "Unassigned",
)
"""Google's names, in the order of its rules."""
ADVERTISED: Final = frozenset(
    {*GROUPS[1:8], "Email", "Affiliates", "Audio", "SMS", "Mobile Push Notifications"}
)
"""Groups whose visits somebody sent for, by an advertisement or a message: such a visit is a click."""

_PAID: Final = re.compile(r".*cp.*|ppc|retargeting|paid.*", re.DOTALL)
_SHOP: Final = re.compile(r".*(([^a-df-z]|^)shop|shopping).*", re.DOTALL)
_DISPLAY: Final = {"display", "banner", "expandable", "interstitial", "cpm"}
_SOCIAL: Final = {"social", "social-network", "social-media", "sm", "social network", "social media"}
_EMAIL: Final = {"email", "e-mail", "e_mail", "e mail"}
_UNKNOWN: Final = {"", "(not set)"}
_NO_MEDIUM: Final = {"", "(not set)", "(none)"}
_PAID_GROUPS: Final = {
    "SHOPPING": "Paid Shopping",
    "SEARCH": "Paid Search",
    "SOCIAL": "Paid Social",
    "VIDEO": "Paid Video",
}


def channel_group(source: str | None, medium: str | None, campaign: str | None = None) -> str:
    """The default channel group of a visit, by Google's rules for manual traffic.

    Letter case does not matter. A source that is not known and has no medium either is Unassigned: whoever
    calls decides whether that means Direct.

    Args:
        source: where it came from, as `google`; None or `(not set)` where that is not known.
        medium: by what, as `cpc`. campaign: its name.

    Returns:
        One of `GROUPS`.

    >>> channel_group("google", "cpc"), channel_group("Instagram", "paid_social")
    ('Paid Search', 'Paid Social')
    >>> channel_group("(direct)", "(none)"), channel_group("news.example", "referral")
    ('Direct', 'Referral')
    """
    where, how, name = ((each or "").strip().lower() for each in (source, medium, campaign))
    if where == "(direct)" and how in _NO_MEDIUM:
        return "Direct"
    if "cross-network" in name:
        return "Cross-network"
    category = _categories().get(where, "")
    if _SHOP.fullmatch(name):
        category = "SHOPPING"
    if _PAID.fullmatch(how) and category:
        return _PAID_GROUPS[category]
    if how in _DISPLAY:
        return "Display"
    if _PAID.fullmatch(how):
        return "Paid Other"
    return _unpaid(where, how, category)


def is_uncertain(medium: str | None) -> bool:
    """Whether a medium says so little that a click id of an advertisement outweighs it."""
    how = (medium or "").strip().lower()
    return how in _NO_MEDIUM or how == "organic"


def is_unknown(word: str | None) -> bool:
    """Whether a source or medium names nothing."""
    return (word or "").strip().lower() in _UNKNOWN


def _unpaid(where: str, how: str, category: str) -> str:
    rules = (
        ("Organic Shopping", category == "SHOPPING"),
        ("Organic Social", category == "SOCIAL" or how in _SOCIAL),
        ("Organic Video", category == "VIDEO" or "video" in how),
        ("Organic Search", category == "SEARCH" or how == "organic"),
        ("Referral", how in {"referral", "app", "link"}),
        ("Email", where in _EMAIL or how in _EMAIL),
        ("Affiliates", how == "affiliate"),
        ("Audio", how == "audio"),
        ("SMS", "sms" in (where, how)),
        ("Mobile Push Notifications", _is_push(where, how)),
    )
    return next((group for group, holds in rules if holds), "Unassigned")


def _is_push(where: str, how: str) -> bool:
    return how.endswith("push") or "mobile" in how or "notification" in how or where == "firebase"


@cache
def _categories() -> dict[str, str]:
    """SEARCH, SOCIAL, SHOPPING or VIDEO by source, in lower case."""
    text = (files("gaelp.data.ga4") / "source_categories.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(text.splitlines())
    return {row["source"].lower(): row["source_category"].removeprefix("SOURCE_CATEGORY_") for row in rows}
