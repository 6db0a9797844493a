"""The power problem: how wide the interval of a lift test is beside the effect, and how many people it takes.

A test holds a share of people out of each channel. With sales Y1 of A people shown and Y0 of B held out,

    D = Y1 - (A / B) Y0      se(D)^2 = Y1 + (A / B)^2 Y0      return = value x D / spend,  ROI = return - 1

With m times the people D and spend grow by m and se by the root of m, so half of the 95 % interval of the
return shrinks as 1 / root(m); it excludes 0 once it is under the return, from m = (1.96 se / D)^2 on.

Source: Lewis, Rao, "The Unfavorable Economics of Measuring the Returns to Advertising", Quarterly Journal of
Economics 130(4), 2015, 1941-1973.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from scipy.special import ndtri

from gaelp.core.random import named_seed
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import PAID_CHANNELS
from gaelp.evaluation.intervals import UNDEFINED, Interval, mean_interval, ratio_of_sums_interval
from gaelp.evaluation.judge import Terms
from gaelp.evaluation.replications import figures
from gaelp.evaluation.replications.answer import Answer, Row, ends, scaled
from gaelp.evaluation.replications.flights import Floats, Flown, Task, bought, fly_task, lines_of, warm
from gaelp.market.file import MarketFile
from gaelp.market.state import SPEND
from gaelp.platforms.lift import lift_report
from gaelp.worlds.flight import Tick
from gaelp.worlds.twins import ALL_LINES

HOLDOUT = 0.5
"""Share of people kept from each channel: no other share tells more."""
LIVES = 3 + len(PAID_CHANNELS)
"""Lives of each world: a flight with tests, a twin without each channel; a flight without, its dark twin."""
DEALS = 20
"""How often a world's people are dealt to the arms of the account's test; each deal is a test."""
WANTED_POINTS = 10.0
"""Half width of a useful interval: a tenth of the money spent."""
ROWS = {
    "spend_usd": "spend, a world",
    "caused_sales": "sales caused, a world",
    "told_sales": "sales caused as the tests say, a world",
    "error_sales": "standard error of that by the formula",
    "spread_ratio": "spread over worlds / formula",
    "roi_points": "true ROI, points",
    "interval_points": "± of the ROI, this account and time, points",
    "error_over_roi_ratio": "standard error / true ROI",
    "exclude_zero_people": "person-months to exclude an effect of 0",
    "wanted_people": f"person-months for ±{WANTED_POINTS:g} points",
}
"""Rows of the table: key and words."""
DAYS_PER_MONTH, WEEKS_PER_MONTH = 30.0, 30.0 / 7.0
_Z = float(ndtri(0.975))
_ACCOUNT = "whole account"
_NAMES = tuple(channel.name.lower() for channel in PAID_CHANNELS)
_DRAWN = ("search", "email")  # social is nearly the account
_MONTHS: Floats = np.logspace(3.5, 9.0, 23)
_LEAST_SPEND = 0.005


def fly(task: Task, tick: Tick) -> dict[str, Floats]:
    """Fly worlds with a lift test of every channel, and again without each channel.

    Args:
        task: what to fly. tick: told the world-hours done.

    Returns:
        (n_worlds,) each, with a channel's name before them: `shown_people`, `held_people`, `shown_sales`,
        `held_sales` as the platform counts the arms; `caused` (decisions that the flight has beyond the twin,
        expected: the truth of what was shown), `spend_usd`; and those of `account_tests`.
    """
    start = warm(task, tick)
    flown = fly_task(task, tick, start=start, holdout=HOLDOUT)
    tested = lift_report(flown.after, until=flown.after.hour)
    found: dict[str, Floats] = {}
    for name, channel in zip(_NAMES, PAID_CHANNELS, strict=True):
        lines = lines_of(channel)
        for i, arm in enumerate(("shown", "held")):
            found[f"{name}_{arm}_people"] = tested.people[:, channel, i].astype(float)
            found[f"{name}_{arm}_sales"] = tested.conversions[:, channel, i].astype(float)
        found[f"{name}_spend_usd"] = flown.flight.report[:, lines, SPEND].sum(axis=1) / MICROS_PER_USD
        found[f"{name}_caused"] = flown.caused(flown.without(lines, tick))
    return found | account_tests(fly_task(task, tick, start=start), task, tick)


def account_tests(flown: Flown, task: Task, tick: Tick) -> dict[str, Floats]:
    """Tests of all channels at once: people shown live the flight, people held out its twin without ads.

    A twin's people do not meet each other, so a test that deals them to both lives is what a platform that
    runs all channels would have measured. Each of `DEALS` deals half of the people, whoever lives in their
    place later with them.

    Args:
        flown: without a holdout. task: what was flown. tick: told the world-hours done.

    Returns:
        (n_worlds,) each: `account_told` and `account_square` (sales caused as the first deal says, and the
        square of its error), `account_miss` (mean over deals of its squared distance to the truth),
        `account_squares` (mean over deals of the square of the error), `account_caused`,
        `account_spend_usd` (of those shown).
    """
    dark = flown.without(ALL_LINES, tick)
    n_people, n_worlds = dark.n_people, dark.n_worlds
    truth = (1.0 - HOLDOUT) * flown.caused(dark)
    told, square = np.zeros((2, DEALS, n_worlds))
    for w, world in enumerate(task.worlds):
        sales = [
            np.bincount(bought(m, w, flown.flight.start)["person"], minlength=n_people)
            for m in (flown.after, dark)
        ]
        rng = np.random.default_rng(named_seed("account test", task.terms.seed, world.seed))
        for deal in range(DEALS):
            held = rng.permutation(n_people) < round(HOLDOUT * n_people)
            shown, kept = sales[0][~held].sum(), sales[1][held].sum()
            scale = (~held).sum() / max(held.sum(), 1)
            told[deal, w], square[deal, w] = shown - scale * kept, shown + scale**2 * kept
    spend = flown.flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD
    return {
        "account_told": told[0],
        "account_square": square[0],
        "account_miss": ((told - truth) ** 2).mean(axis=0),
        "account_squares": square.mean(axis=0),
        "account_caused": truth,
        "account_spend_usd": (1.0 - HOLDOUT) * spend,
    }


def estimates(sums: Mapping[str, Floats], name: str) -> tuple[Floats, Floats]:
    """(n_worlds,) sales that a channel's tests say it caused, and the squares of their standard errors.

    Where an arm of a world is empty nothing is told: 0 of both.
    """
    shown, held, sold, kept = (
        sums[f"{name}_{key}"] for key in ("shown_people", "held_people", "shown_sales", "held_sales")
    )
    told = (shown > 0) & (held > 0)
    scale = np.divide(shown, held, out=np.zeros_like(shown), where=told)
    return np.where(told, sold - scale * kept, 0.0), np.where(told, sold + scale**2 * kept, 0.0)


class Tests(NamedTuple):
    """Tests of a channel or the account in every world, (n_worlds,) each.

    Attributes:
        told: sales caused as they say. square: of its standard error by the formula. truth: what was caused.
        spend: on those shown, USD. miss: squared distance of told to truth. squares: its mean by the formula.
    """

    told: Floats
    square: Floats
    truth: Floats
    spend: Floats
    miss: Floats
    squares: Floats


def tests_of(sums: Mapping[str, Floats]) -> dict[str, Tests]:
    """The account's tests, and those of every channel that takes half a percent of the money."""
    keys = ("told", "square", "caused", "spend_usd", "miss", "squares")
    found = {_ACCOUNT: Tests(*(sums[f"account_{key}"] for key in keys))}
    least = _LEAST_SPEND * sum(sums[f"{name}_spend_usd"].sum() for name in _NAMES)
    for name in _NAMES:
        truth, spend = sums[f"{name}_caused"], sums[f"{name}_spend_usd"]
        if spend.sum() > least:
            told, square = estimates(sums, name)
            found[name] = Tests(told, square, truth, spend, (told - truth) ** 2, square)
    return found


def people_for(half_width: float, at_one: float) -> float:
    """Person-months at which half of the 95 % interval is so wide.

    Args:
        half_width: wanted. at_one: half width with one person-month, in the same unit.

    >>> people_for(10.0, 20_000.0)
    4000000.0
    """
    return (at_one / half_width) ** 2


def answer(sums: Mapping[str, Floats], file: MarketFile, terms: Terms) -> Answer:
    """How wide the intervals are, and how many people it takes.

    Args:
        sums: of `fly`, all worlds. file: the market. terms: as flown.
    """
    seed, months = terms.seed, terms.days / DAYS_PER_MONTH
    found = tests_of(sums)
    n_worlds = len(found[_ACCOUNT].told)
    flown = n_worlds * terms.n_people * months
    cells: dict[str, dict[str, Interval]] = {key: {} for key in ROWS}
    one: dict[str, tuple[float, Interval]] = {}
    for name, test in found.items():
        told, square, truth, spend, *_ = test
        returned = scaled(ratio_of_sums_interval(truth, spend, seed=seed), 100.0 * file.ltv_usd)
        # half of the 95 % interval of the return with one person-month, points
        told_any = (
            spend.sum() > 0 and square.sum() > 0
        )  # else nobody bought, and an error of 0 would be no error
        noise = float(np.sqrt(square.sum()) / spend.sum()) if told_any else np.nan
        width = 100.0 * file.ltv_usd * _Z * noise * float(np.sqrt(flown))
        one[name] = width, returned
        here = width / np.sqrt(file.people * months)
        cells["spend_usd"][name] = mean_interval(spend, seed=seed)
        cells["caused_sales"][name] = mean_interval(truth, seed=seed)
        cells["told_sales"][name] = mean_interval(told, seed=seed)
        cells["spread_ratio"][name] = _root(ratio_of_sums_interval(test.miss, test.squares, seed=seed))
        cells["error_sales"][name] = _root(mean_interval(square, seed=seed))
        cells["roi_points"][name] = _less(returned, 100.0)
        cells["interval_points"][name] = _known(here)
        cells["error_over_roi_ratio"][name] = _over(here / _Z, _less(returned, 100.0))
        cells["exclude_zero_people"][name] = _needed(width, returned)
        cells["wanted_people"][name] = _known(people_for(WANTED_POINTS, width))
    kept = [sum(sums[f"{name}_held_{what}"].sum() for name in _NAMES) for what in ("sales", "people")]
    rows = [Row(key, words, cells[key]) for key, words in ROWS.items()]
    width, returned = one[_ACCOUNT]
    needed, wanted = cells["exclude_zero_people"][_ACCOUNT], people_for(WANTED_POINTS, width)
    here = cells["interval_points"][_ACCOUNT]
    volatile = _known(float(np.sqrt(kept[1] / kept[0])) if kept[0] > 0 else np.nan)
    weeks = scaled(_known(wanted), WEEKS_PER_MONTH)
    roi = _less(returned, 100.0)
    said = [
        f"A month of this account ({file.people:,} people, half of them held out) measures what a dollar "
        f"returns to ±{ends(here, '_points')} points; in truth it returns {ends(returned, '_points')}, "
        f"a ROI of {ends(roi, '_points')}. The standard error is "
        f"{ends(cells['error_over_roi_ratio'][_ACCOUNT], '_ratio')} times the ROI.",
        f"An interval that excludes no effect half the time takes {ends(needed, '_people')} person-months, "
        "one of "
        f"±{WANTED_POINTS:g} points {ends(_known(wanted), '_people')}, which is {ends(weeks, '_people')} "
        "person-weeks.",
        f"Estimates spread {ends(cells['spread_ratio'][_ACCOUNT], '_ratio')} times as widely around the "
        "truth "
        f"as the formula says ({n_worlds} worlds, {DEALS} deals of each).",
    ]
    differs = [
        "Lewis and Rao's median interval of the ROI is over 100 points wide with millions of people a "
        f"test; this account's would be {ends(scaled(here, 2.0), '_points')} points wide with "
        f"{file.people:,}.",
        "Their sales of single people vary by ten times the mean, here by "
        f"{ends(volatile, '_ratio')} times, as a "
        "person "
        "buys once or not at all; but a month of ads costs "
        f"{100 * found[_ACCOUNT].spend.sum() / (1 - HOLDOUT) / (n_worlds * terms.n_people * months):,.0f} "
        "cents a "
        f"person beside a sale of ${file.ltv_usd:,.0f}, which is what makes the interval wide.",
        "They test single campaigns of display ads; here all channels of an account, and each by itself "
        "that takes "
        "half a percent of the money.",
        "The account's test deals people to a flight and its twin without ads; channels are tested as "
        "platforms "
        "do, which drops people who leave the market. Late bookings are not waited for, so what is told "
        "stands "
        "a few per cent low; the noise is many times that.",
        "Half of the people are held out, which no account does for long: at a tenth the same width takes "
        f"{HOLDOUT * (1 - HOLDOUT) / (0.1 * 0.9):.1f} times the people.",
    ]
    lines = {name: one[name] for name in (_ACCOUNT, *_DRAWN) if name in one}
    figure = figures.widths(
        _MONTHS,
        {name: (w / np.sqrt(_MONTHS), truth.mean) for name, (w, truth) in lines.items()},
        flown={name: (terms.n_people * months, _spread(found[name], file.ltv_usd, seed)) for name in lines},
        account=file.people * months,
        wanted=WANTED_POINTS,
    )
    return Answer(
        title="The power problem",
        paper="Lewis, Rao, Quarterly Journal of Economics 130(4), 2015",
        claim="Over 25 field experiments the median interval of the ROI is more than 100 points wide: what "
        "single people buy varies ten times as much as its mean beside ads of some cents a person, and a "
        "test that informs easily takes ten million person-weeks.",
        columns=tuple(found),
        rows=rows,
        found=said,
        differs=differs,
        figure=figure,
        caption="Half of the 95 % interval of what a dollar returns, by people tested; dashed what it truly "
        "returns; circles as seen in the spread of tests.",
    )


def _known(value: float) -> Interval:
    """A figure without ends; undefined where it is NaN."""
    return UNDEFINED if np.isnan(value) else Interval(value, None, None)


def _root(squared: Interval) -> Interval:
    return Interval(*(None if v is None else float(np.sqrt(max(v, 0.0))) for v in squared.as_dict().values()))


def _less(interval: Interval, what: float) -> Interval:
    return Interval(*(None if v is None else v - what for v in interval.as_dict().values()))


def _over(error: float, roi: Interval) -> Interval:
    """A standard error over the size of a ROI; without an upper end where the ROI may be 0."""
    sizes = [None if v is None else abs(v) for v in roi.as_dict().values()]
    if sizes[0] is None or sizes[0] == 0 or np.isnan(error):
        return UNDEFINED
    if sizes[1] is None or sizes[2] is None or roi.low is None or roi.high is None:
        return Interval(error / sizes[0], None, None)
    least = error / max(sizes[1], sizes[2])
    return Interval(
        error / sizes[0], least, None if roi.low <= 0 <= roi.high else error / min(sizes[1], sizes[2])
    )


def _needed(width: float, returned: Interval) -> Interval:
    """Person-months at which half of the interval is as wide as the return; none where there is none."""
    if returned.mean is None or returned.mean <= 0 or np.isnan(width):
        return UNDEFINED
    most = None if returned.low is None or returned.low <= 0 else people_for(returned.low, width)
    least = None if returned.high is None else people_for(returned.high, width)
    return Interval(people_for(returned.mean, width), least, most)


def _spread(test: Tests, value: float, seed: int) -> Interval:
    """Half of the 95 % interval of one world's return, as estimates spread around the truth, points."""
    if not test.spend.sum() > 0:
        return UNDEFINED
    return scaled(_root(mean_interval(test.miss, seed=seed)), 100.0 * value * _Z / float(test.spend.mean()))
