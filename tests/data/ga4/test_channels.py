"""Google's rules of channel groups, each with a visit that it and no earlier rule is meant for."""

import pytest

from gaelp.data.ga4.channels import GROUPS, channel_group

RULES = [
    ("(direct)", "(none)", None, "Direct"),
    ("(direct)", "(not set)", None, "Direct"),
    ("google", "cpc", "eu cross-network 7", "Cross-network"),
    ("amazon.com", "cpc", None, "Paid Shopping"),
    ("google", "cpc", "spring shopping", "Paid Shopping"),
    ("facebook.com", "paid", "shop now", "Paid Shopping"),
    ("google", "cpc", "workshop", "Paid Search"),  # `workshop` holds `shop` after a letter
    ("google", "cpc", None, "Paid Search"),
    ("bing", "retargeting", None, "Paid Search"),
    ("duckduckgo", "paidsearch", None, "Paid Search"),
    ("facebook.com", "cpm", None, "Paid Social"),
    ("Instagram", "Paid_Social", None, "Paid Social"),
    ("youtube.com", "cpv", None, "Paid Video"),
    ("news.example", "display", None, "Display"),
    ("news.example", "banner", None, "Display"),
    ("news.example", "cpm", None, "Display"),
    ("news.example", "ppc", None, "Paid Other"),
    ("amazon.com", "referral", None, "Organic Shopping"),
    ("news.example", "referral", "shop of the year", "Organic Shopping"),
    ("facebook.com", "referral", None, "Organic Social"),
    ("news.example", "social-network", None, "Organic Social"),
    ("youtube.com", "referral", None, "Organic Video"),
    ("news.example", "my-video-post", None, "Organic Video"),
    ("google", "referral", None, "Organic Search"),
    ("ask.example", "organic", None, "Organic Search"),
    ("news.example", "referral", None, "Referral"),
    ("app.example", "link", None, "Referral"),
    ("crm", "email", None, "Email"),
    ("e-mail", "newsletter", None, "Email"),
    ("partner", "affiliate", None, "Affiliates"),
    ("pod", "audio", None, "Audio"),
    ("sms", "text", None, "SMS"),
    ("app", "web-push", None, "Mobile Push Notifications"),
    ("firebase", "x", None, "Mobile Push Notifications"),
    ("news.example", "sponsored", None, "Unassigned"),
    (None, None, None, "Unassigned"),
]


@pytest.mark.golden
@pytest.mark.parametrize(("source", "medium", "campaign", "group"), RULES)
def test_google_groups_it_so(source: str, medium: str, campaign: str | None, group: str) -> None:
    assert channel_group(source, medium, campaign) == group
    if source and medium:
        assert channel_group(source.upper(), medium.title(), campaign) == group, "letter case does not matter"


def test_every_group_has_a_rule_here() -> None:
    assert {rule[3] for rule in RULES} == set(GROUPS)
