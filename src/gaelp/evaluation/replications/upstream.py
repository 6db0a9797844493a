"""Ads that act upstream: what a channel changes in later search and visits, and who gets the credit for it.

Sources: Sapp, Vaver, Shi, Bathia, "DASS: Digital Advertising System Simulation", Google, 2016; Sapp, Vaver,
"Toward Improving Digital Attribution Model Accuracy", Google, 2016: ads that bring site visits and branded
searches escape models that take an ad to change the chance of a sale alone.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LINES, PAID_CHANNELS, Channel, Query, TouchKind
from gaelp.evaluation import report_charts as charts
from gaelp.evaluation.attribution_flights import seen_journeys
from gaelp.evaluation.intervals import Interval, mean_interval, ratio_of_sums_interval
from gaelp.evaluation.judge import Terms
from gaelp.evaluation.replications.answer import Answer, Row, ends
from gaelp.evaluation.replications.figures import share_rows
from gaelp.evaluation.replications.flights import (
    Floats,
    Flown,
    Ints,
    Lines,
    Task,
    bought,
    fly_task,
    lines_of,
    lives,
)
from gaelp.journeys.timeline import unpack
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.market.state import CLICKS, OPPORTUNITIES, SPEND
from gaelp.measurement.attribution.credits import Counts, Settings
from gaelp.measurement.attribution.models import MODELS
from gaelp.worlds.flight import Tick
from gaelp.worlds.twins import attributed_by_line

UPPER = (Channel.SOCIAL, Channel.VIDEO, Channel.DISPLAY)
"""Channels high in the funnel, whose effect is followed."""
LIVES = 1 + len(PAID_CHANNELS)
"""Lives of each world: the flight, and a twin without each channel."""
LAST_CLICK = "last_click"
POSITION = "position"
_QUERY = np.array([-1 if line.query is None else int(line.query) for line in LINES])
JOURNEY_DAYS = 30.0
"""A journey ends after so long without an event."""
SEARCH_DAYS = 30
WAYS = {
    "searched": "searched in the month before",
    "brand": "searched for the brand",
    "own": "last came by its own ads",
    "search": "last came by a search, ad or organic",
    "direct": "last came by typing the address",
    "other": "last came by other ads",
}
"""What those who buy with the channel on only did before."""
MOVED = {
    "brand_searches": "brand searches",
    "category_searches": "product searches",
    "direct_visits": "direct visits",
    "organic_visits": "organic visits",
    "other_clicks": "clicks on other ads",
}


def fly(task: Task, tick: Tick) -> dict[str, Floats]:
    """Fly worlds, and again without each channel.

    Args:
        task: what to fly. tick: told the world-hours done.

    Returns:
        (n_worlds,) each, with a channel's name before them: `spend_usd`; `caused` (decisions that the flight
        has beyond the channel's twin, expected); the credits `last_click` (within 30 days) and `position` (of
        the events that the account sees). For `UPPER` also what the flight has beyond the twin of
        `brand_searches`, `category_searches` (generic ones with them), `direct_visits`, `organic_visits`,
        `other_clicks` (on other channels' ads), each also with `_without`, as the twin has it; `others`
        (sales by other channels' last clicks beyond the twin's); `via_any` (people who buy in the flight
        only, less those who buy in the twin only), and of them `via_WAY` who did as `WAYS` says.
    """
    flown = fly_task(task, tick, events=True)
    flight, market = flown.flight, flown.after
    claimed, position = _claimed(flown, market), position_credits(flown)
    found: dict[str, Floats] = {}
    for channel in PAID_CHANNELS:
        twin, own = flown.without(lines_of(channel), tick), lines_of(channel)
        columns = {
            "spend_usd": flight.report[:, own, SPEND].sum(axis=1) / MICROS_PER_USD,
            "caused": flown.caused(twin),
            LAST_CLICK: claimed[:, own].sum(axis=1),
            POSITION: position[:, channel],
        }
        if channel in UPPER:
            here, there, before = (_met(m, own) for m in (market, twin, flown.snapshot))
            columns |= {key: here[key] - there[key] for key in MOVED}
            columns |= {f"{key}_without": there[key] - before[key] for key in MOVED}
            columns["others"] = (claimed - _claimed(flown, twin))[:, ~own].sum(axis=1)
            columns |= _ways(flown, twin, channel)
        found |= {f"{channel.name.lower()}_{key}": values for key, values in columns.items()}
    return found


def _claimed(flown: Flown, market: Market) -> Floats:
    return attributed_by_line(market, flown.flight.start, market.hour, market.hour)


def _met(market: Market, own: Lines) -> dict[str, Floats]:
    """(n_worlds,) what the account's people have done since the world began."""
    report, visits = market.books.report[:, 0], market.books.visits[:, 0]
    searches = report[..., OPPORTUNITIES]  # every search is one, bid for or not
    found = {
        "brand_searches": searches[:, np.equal(_QUERY, int(Query.OWN_BRAND))].sum(axis=1),
        "category_searches": searches[:, np.isin(_QUERY, (int(Query.GENERIC), int(Query.CATEGORY)))].sum(
            axis=1
        ),
        "direct_visits": visits[:, Channel.DIRECT],
        "organic_visits": visits[:, Channel.ORGANIC],
        "other_clicks": report[:, ~own, CLICKS].sum(axis=1),
    }
    return {key: values.astype(float) for key, values in found.items()}


def _ways(flown: Flown, twin: Market, channel: Channel) -> dict[str, Floats]:
    def only(market: Market, other: Market) -> Floats:
        rows = []
        for w in range(market.n_worlds):
            made, there = (bought(m, w, flown.flight.start) for m in (market, other))
            made = made[~np.isin(lives(made), lives(there))]
            last = np.bincount(made["last_channel"], minlength=len(Channel))
            search = last[Channel.SEARCH] + last[Channel.ORGANIC]
            rest = last.sum() - last[channel] - search - last[Channel.DIRECT]
            asked = searches_before(made)
            rows.append((
                len(made), (asked >= 0).any(axis=1).sum(), (asked == Query.OWN_BRAND).any(axis=1).sum(),
                last[channel], search, last[Channel.DIRECT], rest,
            ))  # fmt: skip
        return np.array(rows, float)

    gained = only(flown.after, twin) - only(twin, flown.after)
    return {f"via_{way}": gained[:, i] for i, way in enumerate(("any", *WAYS))}


def searches_before(made: NDArray[np.void]) -> Ints:
    """Class of query of each remembered touchpoint that was a search in the month before a decision.

    Args:
        made: (n,) decisions; each remembers its person's last twelve touchpoints.

    Returns:
        (n, 12), -1 where it was none.
    """
    touch = unpack(made["touches"])
    recent = touch["hour"] >= made["hour"][:, None] - 24 * SEARCH_DAYS
    searched = (touch["kind"] == TouchKind.SEARCH) & (made["touches"] != 0) & recent
    return np.where(searched, touch["brand"], -1)


def position_credits(flown: Flown) -> Floats:
    """(n_worlds, n_channels) position-based credits (40/20/40) of the events that the account sees."""
    table, world = seen_journeys(flown.after, flown.flight, JOURNEY_DAYS)
    if table.n_rows == 0:
        return np.zeros((flown.after.n_worlds, len(Channel)))
    estimate, counts = MODELS[POSITION](table, Settings()), Counts.of(table)
    rows = []
    for w in range(flown.after.n_worlds):
        here = (world == w).astype(float)
        mine = Counts(counts.conversions * here, counts.nulls * here, counts.value_usd * here)
        rows.append(estimate(mine).conversions[: len(Channel)])
    return np.array(rows)


def answer(sums: Mapping[str, Floats], file: MarketFile, terms: Terms) -> Answer:
    """What each channel moves upstream, and who is credited.

    Args:
        sums: of `fly`, all worlds. file: the market. terms: as flown.
    """
    del file  # its prices are in the sums
    seed = terms.seed
    every = tuple(channel.name.lower() for channel in UPPER)
    names = tuple(name for name in every if sums[f"{name}_spend_usd"].sum() > 0)
    top = max(names, key=lambda name: sums[f"{name}_spend_usd"].sum(), default=every[0])
    shown = (*names, "search")  # for comparison: what stands at the end of the way

    def total(key: str) -> Floats:
        return np.sum([sums[f"{channel.name.lower()}_{key}"] for channel in PAID_CHANNELS], axis=0)

    def ratio(name: str, key: str, below: str) -> Interval:
        return ratio_of_sums_interval(sums[f"{name}_{key}"], sums[f"{name}_{below}"], seed=seed)

    def change(name: str, key: str) -> Interval:
        return ratio(name, key, f"{key}_without")

    def mean(name: str, key: str) -> Interval:
        return mean_interval(sums[f"{name}_{key}"], seed=seed)

    def share(name: str, key: str) -> Interval:
        return ratio_of_sums_interval(sums[f"{name}_{key}"], total(key), seed=seed)

    def way(name: str, key: str) -> Interval:
        return ratio(name, f"via_{key}", "via_any")

    credits = {"caused": "of what all channels cause", LAST_CLICK: "of last clicks", POSITION: "by position"}
    rows = [
        Row("spend_usd", "spend, a world", {name: mean(name, "spend_usd") for name in shown}),
        *(
            Row(f"{key}_share", f"{words}, more", {name: change(name, key) for name in names})
            for key, words in MOVED.items()
        ),
        Row("caused_sales", "sales caused, a world", {name: mean(name, "caused") for name in shown}),
        *(
            Row(f"via_{key}_share", f"of their buyers, {words}", {top: way(top, key)})
            for key, words in WAYS.items()
        ),
        Row(
            "others_sales",
            "sales credited to others with it only",
            {name: mean(name, "others") for name in names},
        ),
        *(
            Row(f"share_{key}_share", f"share {words}", {name: share(name, key) for name in shown})
            for key, words in credits.items()
        ),
        *(
            Row(
                f"{key}_ratio",
                f"credit / caused: {words}",
                {name: ratio(name, key, "caused") for name in shown},
            )
            for key, words in ((LAST_CLICK, "last click"), (POSITION, "position"))
        ),
    ]
    each = {key: ratio(top, key, "caused") for key in MOVED}
    found = [
        f"For each sale that {top} causes there are {ends(each['direct_visits'], '_ratio')} more direct "
        "visits, "
        f"{ends(each['organic_visits'], '_ratio')} from organic results, "
        f"{ends(each['other_clicks'], '_ratio')} "
        f"more clicks on other channels' ads and {ends(each['brand_searches'], '_ratio')} more searches "
        "for the "
        "brand.",
        f"Of those who buy only because of {top}, {ends(way(top, 'searched'), '_share')} searched in the "
        "month "
        f"before, {ends(way(top, 'brand'), '_share')} for the brand; {ends(way(top, 'search'), '_share')} "
        "last came "
        f"by a search, {ends(way(top, 'own'), '_share')} by its ads (less those whom the ads took from "
        "another "
        "way).",
        f"{top.capitalize()} causes {ends(share(top, 'caused'), '_share')} of what all channels cause; "
        "last click "
        f"gives it {ends(share(top, LAST_CLICK), '_share')} of its credit, position "
        f"{ends(share(top, POSITION), '_share')}. Search causes "
        f"{ends(share('search', 'caused'), '_share')} and is "
        f"given {ends(share('search', LAST_CLICK), '_share')} and "
        f"{ends(share('search', POSITION), '_share')}.",
        f"In sales, last click gives {top} {ends(ratio(top, LAST_CLICK, 'caused'), '_ratio')} times what "
        "it causes, "
        f"search {ends(ratio('search', LAST_CLICK, 'caused'), '_ratio')} times.",
    ]
    differs = [
        "In DASS an analyst writes down what each ad changes; here it follows from stages and goodwill: a "
        "view "
        "or a click moves people on and makes them prefer the brand, and they search and visit more later.",
        "DASS compares models on paths that show every impression. This account is shown single "
        "impressions of "
        "display and retargeting only; of social and video it is shown clicks.",
        "Most buyers here would have bought anyway, so a channel can be credited with more than it causes "
        "while "
        "part of its effect is credited to others: compare shares, not sales.",
        f"In DASS what acts upstream is credited to what comes after. Here {top} is also clicked often: "
        "with it on, "
        f"last click gives the other channels {ends(mean(top, 'others'), '_sales')} sales a world, as it "
        "takes last "
        "clicks from them.",
    ]
    shades = {name: f"c{i}" for i, name in enumerate(every)}
    moved = {
        f"{name}: {words}": (change(name, key), shades[name])
        for name in names
        for key, words in MOVED.items()
    }
    figure = charts.forest(
        share_rows({label: pair[0] for label, pair in moved.items()}, [pair[1] for pair in moved.values()]),
        x_title="% more than in the twin where the channel is silent",
        lines={"no change": 0.0},
    )
    return Answer(
        title="Ads that act upstream",
        paper="Sapp, Vaver, Shi, Bathia, DASS: Digital Advertising System Simulation, Google, 2016; Sapp, "
        "Vaver, Toward Improving Digital Attribution Model Accuracy, Google, 2016",
        claim="In simulations where ads bring later visits and branded searches, position-based models and "
        "models that look at the chance of a sale alone miss what the ads cause.",
        columns=shown,
        rows=rows,
        found=found,
        differs=differs,
        figure=figure,
        caption="What people do more of, on other ways to us, because of a channel.",
    )
