"""Sessions become touches, purchases become conversions.

A session (a cookie and its `ga_session_id`; the latter alone is not unique) is one touch, when its first
event happened: a click where somebody sent for it (`channels.ADVERTISED`), else a visit. Its channel is
Google's default channel group, from the most trustworthy of its events' `columns.LEVELS`, the earliest of
these.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.words import Stage, TouchKind
from gaelp.data.ga4.arrow import Table, pa, whole
from gaelp.data.ga4.channels import ADVERTISED, channel_group, is_uncertain
from gaelp.data.ga4.columns import LEVELS
from gaelp.data.ga4.purchases import Rules, purchases, values
from gaelp.data.ga4.rows import Rows, fit, plausible
from gaelp.journeys.batch import Coded, EventBatch, Ints

INTENT: Final = (
    "add_to_cart",
    "begin_checkout",
    "add_payment_info",
    "add_shipping_info",
    "generate_lead",
    "sign_up",
)
"""Google's recommended events that show a person about to buy; such a session infers INTENT."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What some people's events say.

    Attributes:
        batch: touches and conversions.
        links: pairs of a login and a cookie seen with it and with no other login.
        counts: of events, by what became of them; `importing.Imported` says what they mean.
        levels: sessions by who told where they came from.
    """

    batch: EventBatch
    links: list[tuple[str, str]]
    counts: Counter[str] = field(default_factory=Counter)
    levels: Counter[str] = field(default_factory=Counter)


def tell(events: Table, rules: Rules, now_us: int) -> Told:
    """Touches, conversions and links of some people.

    Args:
        events: flat rows of `rows.USED`, all there are of their people, in any order.
        rules: how they are told. now_us: nothing may lie after it, microseconds since 1970.
    """
    counts: Counter[str] = Counter(events=events.num_rows)
    sound = plausible(events, now_us)
    counts["implausible_times"] = int((~sound).sum())
    rows = Rows.of(events.filter(pa.array(sound))).distinct()
    counts["duplicates"] = int(sound.sum()) - rows.us.size
    counts["anonymous"] = int((rows.cookie < 0).sum())
    counts["outside_sessions"] = int(((rows.cookie >= 0) & (rows.session < 0)).sum())
    counts["refunds"] = int((rows.name == rows.code_of("refund")).sum())
    seen = _Sessions.of(rows)
    links, counts["shared_cookies"] = _links(rows, rules.prefix)
    sale, person, ids = purchases(rows, np.append(seen.login, -1)[seen.of_row], rules)
    n_told = int(np.isin(rows.name, rows.codes_of(rules.conversions)).sum())
    counts["duplicate_purchases"] = n_told - sale.size
    value, currency, unread = values(rows, sale, rules)
    counts["without_value"] = unread
    n_touches, n_sales = seen.first.size, sale.size
    nothing = np.full(n_sales, -1, np.int64)
    touch_channel, levels = _channels(rows, seen)
    channel = Coded.of([*touch_channel, *([None] * n_sales)])
    sent = np.array([name in ADVERTISED for name in channel.names], bool)[channel.code[:n_touches]]
    kind = np.full(n_touches + n_sales, TouchKind.CONVERSION, np.uint8)
    kind[:n_touches] = np.where(sent, TouchKind.CLICK, TouchKind.VISIT)
    at_us = np.append(rows.us[seen.first], rows.us[sale])
    zeros = np.zeros(n_touches, np.int64)
    who = [fit(rules.prefix + rows.person(a, b)) for a, b in zip(seen.login, seen.cookie, strict=True)]
    touch_ids = [
        fit(f"{rules.prefix}ga4:{rows.cookies[a]}:{rows.sessions[b]}")
        for a, b in zip(seen.cookie.tolist(), seen.session.tolist(), strict=True)
    ]
    batch = EventBatch(
        person=Coded.of([*who, *person]),
        event_id=touch_ids + ids,
        at_us=at_us,
        kind=kind,
        channel=channel,
        device=Coded([fit(each) for each in rows.devices], np.append(seen.device, nothing)),
        rival=Coded((), np.append(zeros - 1, nothing)),
        stage=np.append(np.where(seen.intent, Stage.INTENT, 0), nothing + 1).astype(np.uint8),
        cost_micros=np.zeros(n_touches + n_sales, np.int64),
        value_micros=np.append(zeros, value),
        currency=Coded.of([*(["USD"] * n_touches), *currency]),
        booked_us=at_us,
    )
    return Told(batch=batch, links=links, counts=counts, levels=levels)


@dataclass(frozen=True, eq=False)
class _Sessions:
    """One entry per session: rows of its first event and of its best evidence, codes, what it shows."""

    of_row: Ints  # (n_rows,) -1 outside sessions
    first: Ints
    evidence: Ints
    cookie: Ints
    session: Ints
    login: Ints
    device: Ints
    intent: NDArray[np.bool_]
    ad_click: NDArray[np.bool_]

    @classmethod
    def of(cls, rows: Rows) -> "_Sessions":
        inside = np.flatnonzero((rows.cookie >= 0) & (rows.session >= 0))
        _, page_id, ordering, index = rows.order
        keys = (index, ordering, page_id, rows.us, rows.session, rows.cookie)
        inside = inside[np.lexsort(tuple(key[inside] for key in keys))]
        cookie, session = rows.cookie[inside], rows.session[inside]
        begins = np.ones(inside.size, bool)
        begins[1:] = (cookie[1:] != cookie[:-1]) | (session[1:] != session[:-1])
        number = np.cumsum(begins) - 1
        starts = np.flatnonzero(begins)
        of_row = np.full(rows.us.size, -1, np.int64)
        of_row[inside] = number

        def best(rank: Ints) -> Ints:
            """The first row of each session among those of the lowest rank."""
            order = np.lexsort((rank[inside], number))
            return inside[order[starts]]

        def any_of(flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
            return np.bincount(number, flags[inside], starts.size) > 0

        last = np.full(starts.size, -1, np.int64)  # the last row that knows the login
        known = rows.login[inside] >= 0
        np.maximum.at(last, number[known], np.flatnonzero(known))
        device = best((rows.device < 0).astype(np.int64))
        return cls(
            of_row=of_row,
            first=inside[starts],
            evidence=best(rows.level),
            cookie=cookie[starts],
            session=session[starts],
            login=np.where(last >= 0, rows.login[inside[last]], -1) if inside.size else last,
            device=rows.device[device],
            intent=any_of(np.isin(rows.name, rows.codes_of(INTENT))),
            ad_click=any_of(whole(rows.table["ad_click"]).to_numpy(zero_copy_only=False)),
        )


def _channels(rows: Rows, seen: _Sessions) -> tuple[list[str], Counter[str]]:
    """The channel group of each session, and how many were told by whom."""
    columns = [rows.words(name, seen.evidence) for name in ("source", "medium", "campaign", "group")]
    known: dict[tuple[Any, ...], str] = {}
    found = []
    for key in zip(*columns, seen.ad_click.tolist(), strict=True):
        if key not in known:
            known[key] = fit(_group(*key))
        found.append(known[key])
    levels = np.bincount(rows.level[seen.evidence], minlength=len(LEVELS)).tolist()
    return found, Counter(dict(zip(LEVELS, levels, strict=True)))


def _group(
    source: str | None, medium: str | None, campaign: str | None, told: str | None, ad_click: bool
) -> str:
    """The group of a session; a Google Ads click id outweighs a medium that says nothing, or organic."""
    if ad_click and is_uncertain(medium):
        return told if told in ADVERTISED else channel_group("google", "cpc", campaign)
    if told and told != "Unassigned":
        return told
    return channel_group(source, medium, campaign) if source or medium else "Direct"


def _links(rows: Rows, prefix: str) -> tuple[list[tuple[str, str]], int]:
    """Logins with the cookies that are theirs alone; and how many cookies have several logins."""
    both = np.flatnonzero((rows.cookie >= 0) & (rows.login >= 0))
    pairs = np.unique(np.stack((rows.cookie[both], rows.login[both]), axis=1), axis=0)
    cookies, n_logins = np.unique(pairs[:, 0], return_counts=True)
    alone = np.isin(pairs[:, 0], cookies[n_logins == 1])
    links = [
        (fit(prefix + rows.logins[login]), fit(prefix + rows.cookies[cookie]))
        for cookie, login in pairs[alone].tolist()
    ]
    return [(login, cookie) for login, cookie in links if login != cookie], int((n_logins > 1).sum())
