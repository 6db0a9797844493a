"""Ads that act upstream: what a channel changes in later search and visits, and who gets the credit for it.

Sources: Sapp, Vaver, Shi, Bathia, "DASS: Digital Advertising System Simulation", Google, 2016; Sapp, Vaver,
"Toward Improving Digital Attribution Model Accuracy", Google, 2016: ads that bring site visits and branded
searches escape models that take an ad to change the chance of a sale alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import LINES, PAID_CHANNELS, Channel, Query, TouchKind
from gaelp.evaluation import report_charts as charts
from gaelp.evaluation.attribution_flights import TIMEOUT_DAYS, seen_journeys
from gaelp.evaluation.intervals import Interval, mean_interval, ratio_of_sums_interval
from gaelp.evaluation.replications.answer import Answer, ends, paragraphs, rows_of
from gaelp.evaluation.replications.figures import share_rows
from gaelp.evaluation.replications.flights import Ints, bought, lines_of, lives
from gaelp.evaluation.task_flights import Floats, Flown, Lines, Task, Terms, fly_task
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


def fly(task: Task[Terms], tick: Tick) -> dict[str, Floats]:
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
    table, world = seen_journeys(flown.after, flown.flight, TIMEOUT_DAYS)
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
    read = _Read(sums, terms.seed)
    names = tuple(name for name in _UPPER_NAMES if sums[f"{name}_spend_usd"].sum() > 0)
    top = max(names, key=lambda name: sums[f"{name}_spend_usd"].sum(), default=_UPPER_NAMES[0])
    shown = (*names, _SEARCH)  # for comparison: what stands at the end of the way
    columns = {name: read.credited(name) | (read.moved(name) if name in names else {}) for name in shown}
    columns[top] = columns.get(top, {}) | {f"via_{key}_share": read.way(top, key) for key in WAYS}
    return Answer(
        title="Ads that act upstream",
        paper="Sapp, Vaver, Shi, Bathia, DASS: Digital Advertising System Simulation, Google, 2016; Sapp, "
        "Vaver, Toward Improving Digital Attribution Model Accuracy, Google, 2016",
        claim="In simulations where ads bring later visits and branded searches, position-based models and "
        "models that look at the chance of a sale alone miss what the ads cause.",
        columns=shown,
        rows=rows_of(_ROWS, columns),
        found=_found(read, top),
        differs=paragraphs(_DIFFERS, top=top, others=ends(read.mean(top, "others"), "_sales")),
        figure=_figure(read, names),
        caption="What people do more of, on other ways to us, because of a channel.",
    )


@dataclass(frozen=True)
class _Read:
    """Intervals of what sums say of a channel."""

    sums: Mapping[str, Floats]
    seed: int

    def mean(self, name: str, key: str) -> Interval:
        """Of a world."""
        return mean_interval(self.sums[f"{name}_{key}"], seed=self.seed)

    def ratio(self, name: str, key: str, below: str) -> Interval:
        """Of two sums."""
        return ratio_of_sums_interval(
            self.sums[f"{name}_{key}"], self.sums[f"{name}_{below}"], seed=self.seed
        )

    def change(self, name: str, key: str) -> Interval:
        """What people do more with the channel than without, of `MOVED`."""
        return self.ratio(name, key, f"{key}_without")

    def way(self, name: str, key: str) -> Interval:
        """Share of those who buy because of the channel, of `WAYS`."""
        return self.ratio(name, f"via_{key}", "via_any")

    def share(self, name: str, key: str) -> Interval:
        """Of what all channels cause, or are credited with."""
        every = [self.sums[f"{channel.name.lower()}_{key}"] for channel in PAID_CHANNELS]
        return ratio_of_sums_interval(self.sums[f"{name}_{key}"], np.sum(every, axis=0), seed=self.seed)

    def credited(self, name: str) -> dict[str, Interval]:
        """Cells of any channel."""
        found = {"spend_usd": self.mean(name, "spend_usd"), "caused_sales": self.mean(name, "caused")}
        found |= {f"share_{key}_share": self.share(name, key) for key in _CREDITS}
        return found | {f"{key}_ratio": self.ratio(name, key, "caused") for key in (LAST_CLICK, POSITION)}

    def moved(self, name: str) -> dict[str, Interval]:
        """Cells of a channel of `UPPER`."""
        found = {f"{key}_share": self.change(name, key) for key in MOVED}
        return found | {"others_sales": self.mean(name, "others")}


def _found(read: _Read, top: str) -> list[str]:
    shares = {
        f"{place}_{key}": ends(read.share(name, key), "_share")
        for place, name in (("top", top), ("search", _SEARCH))
        for key in _CREDITS
    }
    return paragraphs(
        _FOUND,
        top=top,
        capital=top.capitalize(),
        **{key: ends(read.ratio(top, key, "caused"), "_ratio") for key in MOVED},
        **{f"way_{key}": ends(read.way(top, key), "_share") for key in WAYS},
        **shares,
        top_times=ends(read.ratio(top, LAST_CLICK, "caused"), "_ratio"),
        search_times=ends(read.ratio(_SEARCH, LAST_CLICK, "caused"), "_ratio"),
    )


def _figure(read: _Read, names: Sequence[str]) -> charts.Figure:
    moved = {f"{name}: {words}": read.change(name, key) for name in names for key, words in MOVED.items()}
    shades = [f"c{_UPPER_NAMES.index(name)}" for name in names for _ in MOVED]
    return charts.forest(
        share_rows(moved, shades),
        x_title="% more than in the twin where the channel is silent",
        lines={"no change": 0.0},
    )


_UPPER_NAMES = tuple(channel.name.lower() for channel in UPPER)
_SEARCH = "search"
_CREDITS = {"caused": "of what all channels cause", LAST_CLICK: "of last clicks", POSITION: "by position"}
_ROWS = {
    "spend_usd": "spend, a world",
    **{f"{key}_share": f"{words}, more" for key, words in MOVED.items()},
    "caused_sales": "sales caused, a world",
    **{f"via_{key}_share": f"of their buyers, {words}" for key, words in WAYS.items()},
    "others_sales": "sales credited to others with it only",
    **{f"share_{key}_share": f"share {words}" for key, words in _CREDITS.items()},
    f"{LAST_CLICK}_ratio": "credit / caused: last click",
    f"{POSITION}_ratio": "credit / caused: position",
}
_FOUND = """
For each sale that {top} causes there are {direct_visits} more direct visits, {organic_visits} from organic
results, {other_clicks} more clicks on other channels' ads and {brand_searches} more searches for the brand.

Of those who buy only because of {top}, {way_searched} searched in the month before, {way_brand} for the
brand; {way_search} last came by a search, {way_own} by its ads (less those whom the ads took from another
way).

{capital} causes {top_caused} of what all channels cause; last click gives it {top_last_click} of its
credit, position {top_position}. Search causes {search_caused} and is given {search_last_click} and
{search_position}.

In sales, last click gives {top} {top_times} times what it causes, search {search_times} times.
"""
_DIFFERS = """
In DASS an analyst writes down what each ad changes; here it follows from stages and goodwill: a view or a
click moves people on and makes them prefer the brand, and they search and visit more later.

DASS compares models on paths that show every impression. This account is shown single impressions of
display and retargeting only; of social and video it is shown clicks.

Most buyers here would have bought anyway, so a channel can be credited with more than it causes while part
of its effect is credited to others: compare shares, not sales.

In DASS what acts upstream is credited to what comes after. Here {top} is also clicked often: with it on,
last click gives the other channels {others} sales a world, as it takes last clicks from them.
"""
