"""What GA4 makes of an arrival at a site and of a sale: rows of its BigQuery export.

The market tells that somebody arrived, when, by which line and on what, and that something was sold. Minutes,
seconds on a page and click ids it does not know; they are drawn here and say nothing about the market.

Source of the layout: Google, "[GA4] BigQuery Export schema" (support.google.com/analytics/answer/7029846).
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from zoneinfo import ZoneInfo

import numpy as np

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LINES, NO_LINE, Channel

Row = dict[str, Any]

HOST: Final = "shop.example"
DEVICES: Final = ("mobile", "desktop", "tablet")
DAILY_ONLY: Final = ("traffic_source", "user_ltv", "is_active_user", "session_traffic_source_last_click")
"""Columns that an intraday table lacks, as Google says; so does `publisher`, which nothing fills here."""
ENGAGED_MSEC: Final = 10_000
"""A longer session is engaged, by Google's definition."""
LOOKBACK_US: Final = 90 * 86_400_000_000
"""For as long Google remembers what brought a cookie before it came by itself. Google's default."""


class Tags(NamedTuple):
    """How visits of a channel are tagged: source, medium, Google's channel group, its click id's name."""

    source: str
    medium: str
    group: str
    click_id: str = ""


TAGS: Final = {
    Channel.SEARCH: Tags("google", "cpc", "Paid Search", "gclid"),
    Channel.SOCIAL: Tags("facebook", "paid_social", "Paid Social", "fbclid"),
    Channel.VIDEO: Tags("youtube", "cpv", "Paid Video", "gclid"),
    Channel.DISPLAY: Tags("google", "display", "Display", "gclid"),
    Channel.RETARGETING: Tags("criteo", "retargeting", "Paid Other"),
    Channel.EMAIL: Tags("newsletter", "email", "Email"),
    Channel.DIRECT: Tags("(direct)", "(none)", "Direct"),
    Channel.ORGANIC: Tags("google", "organic", "Organic Search"),
}
"""One group each, so that a channel can be told from a GA4 report."""


@dataclass(frozen=True)
class Came:
    """What brought a visit.

    Attributes:
        channel: by which. line: the campaign, named as our line; "" where nothing was bought.
        click_id: value of the tag's parameter; "" without one.
        is_untagged: the address lost its tags, so that GA4 knows a click id and no medium.
    """

    channel: Channel
    line: str = ""
    click_id: str = ""
    is_untagged: bool = False

    @property
    def tags(self) -> Tags:
        """As GA4 comes to know them."""
        tags = TAGS[self.channel]
        return tags._replace(medium="(not set)", group="Unassigned") if self.is_untagged else tags

    @property
    def campaign(self) -> str:
        """As GA4 comes to know it."""
        if self.is_untagged:
            return "(not set)"
        return self.line or {Channel.DIRECT: "(direct)", Channel.ORGANIC: "(organic)"}[self.channel]

    @property
    def query(self) -> str:
        """What follows the landing page's address."""
        pairs = []
        if self.line and not self.is_untagged:
            tags = self.tags
            pairs = [("utm_source", tags.source), ("utm_medium", tags.medium), ("utm_campaign", self.line)]
        if self.click_id:
            pairs.append((self.tags.click_id, self.click_id))
        return "?" + "&".join(f"{key}={quote(value)}" for key, value in pairs) if pairs else ""


@dataclass(slots=True)
class Cookie:
    """What GA4 remembers of a device that allows it.

    Attributes:
        id: `user_pseudo_id`. first_us: when it was first seen. first: what brought it then.
        sessions: so far. revenue: so far, in the shop's currency.
        clicked, clicked_us: the newest source that was not direct, and when.
    """

    id: str
    first_us: int
    first: Came
    sessions: int = 0
    revenue: float = 0.0
    clicked: Came | None = None
    clicked_us: int = 0


@dataclass(frozen=True)
class Session:
    """One arrival and what followed; `cookie` is None and `login` is "" where consent was refused.

    Attributes:
        start_us: microseconds since 1970, UTC. number: how manyeth of the cookie.
        came: what brought it. credited: what GA4 credits it to.
        device, region: codes.
    """

    cookie: Cookie | None
    login: str
    start_us: int
    number: int
    came: Came
    credited: Came
    device: int
    region: int


@dataclass
class Property:
    """A GA4 property: turns arrivals and sales into rows.

    Args:
        zone: of its dates. currency: of the shop. product: what is sold.
    """

    zone: ZoneInfo
    currency: str
    product: str
    bundles: int = 0

    def arrival(
        self, session: Session, *, engaged_us: int, signed_up: bool, engaged_as_text: bool, email: str = ""
    ) -> list[Row]:
        """Rows of a session: what its landing page sends, a sign-up if there was one, and its end.

        Args:
            session: told. engaged_us: how long it lasted. signed_up: whether an address was left.
            engaged_as_text: whether `session_engaged` comes as '1' instead of 1; both are seen.
            email: put into the address of the page after a sign-up, where a site's form does that.
        """
        cookie, came, at = session.cookie, session.came, session.start_us
        landing = f"https://{HOST}/{came.query}"
        page = {"page_location": landing, "page_title": "Home"}
        if came.channel is Channel.ORGANIC:
            page["page_referrer"] = "https://www.google.com/"
        names = ["session_start", "page_view"]
        if cookie is None or session.number == 1:
            names.insert(0, "first_visit")  # without a cookie every visit is the first
        rows = []
        for name in names:
            told: dict[str, Any] = dict(page)
            if name == "page_view" and came.channel is not Channel.DIRECT:
                told |= {"source": came.tags.source, "medium": came.tags.medium, "campaign": came.campaign}
            rows.append(self._row(name, at, session, told, collected_traffic_source=_collected(session)))
        if signed_up:
            welcome = f"https://{HOST}/welcome" + (f"?email={quote(email)}" if email else "")
            told = {"page_location": welcome, "method": "email"}
            rows.append(self._row("sign_up", at + engaged_us // 2, session, told))
        msec = engaged_us // 1000
        told = {"page_location": landing, "engagement_time_msec": msec}
        if msec >= ENGAGED_MSEC:
            told["session_engaged"] = "1" if engaged_as_text else 1
        if cookie is not None:
            rows.append(self._row("user_engagement", at + engaged_us, session, told))
        return rows

    def sale(self, session: Session, at_us: int, order: str, value_micros: int, *, on_site: bool) -> Row:
        """The row of a sale.

        Args:
            session: in which it happened; for one that the shop's server told, who bought.
            at_us: when. order: `transaction_id`. value_micros: what it is worth.
            on_site: whether the browser told it; else the server did, which knows no session.
        """
        value = value_micros / MICROS_PER_USD
        whole = value_micros % MICROS_PER_USD == 0
        told = {
            "transaction_id": order,
            "currency": self.currency,
            "value": int(value) if whole else value,  # a browser sends 180 for 180.0
        }
        if on_site:
            told["page_location"] = f"https://{HOST}/thanks"
        item: Row = {"item_id": "subscription", "item_name": self.product, "price": value, "quantity": 1}
        item["item_revenue"] = value
        shop: Row = {"transaction_id": order, "purchase_revenue": value, "total_item_quantity": 1}
        shop["unique_items"] = 1
        more: Row = {"ecommerce": shop, "items": [item]}
        if self.currency == "USD":
            shop["purchase_revenue_in_usd"] = item["price_in_usd"] = item["item_revenue_in_usd"] = value
            more["event_value_in_usd"] = value
        if session.cookie is not None:
            session.cookie.revenue += value
        return self._row("purchase", at_us, session, told, on_site=on_site, **more)

    def _row(
        self, name: str, at_us: int, session: Session, told: Row, *, on_site: bool = True, **more: Any
    ) -> Row:
        cookie = session.cookie
        if cookie is not None and on_site:
            told = {
                "ga_session_id": session.start_us // 1_000_000,
                "ga_session_number": session.number,
            } | told
        self.bundles += 1
        said = "Yes" if cookie is not None else "No"
        row: Row = {
            **dated(at_us, self.zone),
            "event_name": name,
            "event_params": [_param(key, value) for key, value in told.items()],
            "event_bundle_sequence_id": self.bundles,
            "privacy_info": {"analytics_storage": said, "ads_storage": said, "uses_transient_token": "No"},
            "user_properties": [],
            "items": [],
            "stream_id": "1",
            "platform": "WEB",
        }
        if on_site:
            row |= {
                "batch_page_id": session.start_us // 1000,
                "batch_ordering_id": 1 + (at_us > session.start_us),
                "batch_event_index": 1,
                "device": {"category": DEVICES[session.device], "web_info": {"hostname": HOST}},
                "geo": {"region": f"region {session.region}"},
                "session_traffic_source_last_click": _last_click(session.credited),
            }
        if cookie is not None:
            row |= {
                "user_pseudo_id": cookie.id,
                "user_id": session.login or None,
                "user_first_touch_timestamp": cookie.first_us,
                "is_active_user": True,
                "traffic_source": _first_touch(cookie.first),
            }
            if cookie.revenue:
                row["user_ltv"] = {"revenue": cookie.revenue, "currency": self.currency}
        return row | more


def dated(at_us: int, zone: ZoneInfo) -> Row:
    """Time and date of an event: UTC the one, of the property's zone the other.

    >>> dated(1_772_330_400_000_000, ZoneInfo("America/New_York"))  # 2026-03-01, 02:00 UTC
    {'event_timestamp': 1772330400000000, 'event_date': '20260228'}
    """
    local = datetime.fromtimestamp(at_us // 1_000_000, UTC).astimezone(zone)
    return {"event_timestamp": at_us, "event_date": f"{local:%Y%m%d}"}


def moved(row: Row, later_us: int, zone: ZoneInfo) -> Row:
    """The same event told again some time later."""
    return row | dated(row["event_timestamp"] + later_us, zone)


def came_by(event: np.void, click_id: str, *, is_untagged: bool) -> Came:
    """What brought an arrival.

    Args:
        event: a SEEN record. click_id: drawn for it; shown where the channel has one and cookies are allowed.
        is_untagged: whether its address is to lose its tags, if it is such a search click.
    """
    channel = Channel(event["channel"])
    line = LINES[event["line"]].name if event["line"] != NO_LINE else ""
    has_id = bool(line and TAGS[channel].click_id and event["visitor"])
    loses = has_id and is_untagged and channel is Channel.SEARCH
    return Came(channel, line, click_id if has_id else "", loses)


def credited(cookie: Cookie | None, came: Came, at_us: int, *, past_direct: bool) -> Came:
    """What a session is credited to.

    Args:
        cookie: whose. came: what brought it. at_us: when.
        past_direct: whether direct visits are credited to the newest source before them, as Google does.
    """
    if not past_direct or came.channel is not Channel.DIRECT or cookie is None or cookie.clicked is None:
        return came
    return cookie.clicked if at_us - cookie.clicked_us <= LOOKBACK_US else came


def token(draws: np.random.Generator) -> str:
    """A click id."""
    return draws.bytes(16).hex()


def _collected(session: Session) -> Row | None:
    came = session.came
    if not came.line:
        return None
    tags = came.tags
    found: Row = {"gclid": came.click_id} if tags.click_id == "gclid" and came.click_id else {}
    if came.is_untagged:
        return found
    return found | {
        "manual_campaign_name": came.line,
        "manual_source": tags.source,
        "manual_medium": tags.medium,
    }


def _last_click(came: Came) -> Row:
    tags, campaign = came.tags, came.campaign
    named: Row = {"campaign_name": campaign, "source": tags.source, "medium": tags.medium}
    group = {"default_channel_group": tags.group, "primary_channel_group": tags.group}
    found = {"manual_campaign": named, "cross_channel_campaign": named | group}
    if tags.click_id == "gclid" and came.click_id and not came.is_untagged:
        found["google_ads_campaign"] = {"customer_id": "1", "campaign_name": campaign}
    return found


def _first_touch(came: Came) -> Row:
    return {"source": came.tags.source, "medium": came.tags.medium, "name": came.campaign}


def _param(key: str, value: str | int | float) -> Row:
    kind = {str: "string_value", int: "int_value", float: "double_value"}[type(value)]
    return {"key": key, "value": {kind: value}}
