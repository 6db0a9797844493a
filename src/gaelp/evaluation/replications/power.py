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

from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import PAID_CHANNELS
from gaelp.evaluation import report_charts as charts
from gaelp.evaluation.intervals import UNDEFINED, Interval, mean_interval, ratio_of_sums_interval
from gaelp.evaluation.replications import figures
from gaelp.evaluation.replications.answer import Answer, ends, paragraphs, rows_of, scaled
from gaelp.evaluation.replications.flights import fly_tested, lines_of
from gaelp.evaluation.replications.power_tests import (
    ACCOUNT,
    DEALS,
    HOLDOUT,
    NAMES,
    Tests,
    account_tests,
    tests_of,
)
from gaelp.evaluation.task_flights import Floats, Task, Terms, fly_task, warm
from gaelp.market.file import MarketFile
from gaelp.market.state import SPEND
from gaelp.platforms.lift import lift_report
from gaelp.worlds.flight import Tick

LIVES = 3 + len(PAID_CHANNELS)
"""Lives of each world: a flight with tests, a twin without each channel; a flight without, its dark twin."""
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
_DRAWN = ("search", "email")  # social is nearly the account
_MONTHS: Floats = np.logspace(3.5, 9.0, 23)


def fly(task: Task[Terms], tick: Tick) -> dict[str, Floats]:
    """Fly worlds with a lift test of every channel, and again without each channel.

    Args:
        task: what to fly. tick: told the world-hours done.

    Returns:
        (n_worlds,) each, with a channel's name before them: `shown_people`, `held_people`, `shown_sales`,
        `held_sales` as the platform counts the arms; `caused` (decisions that the flight has beyond the twin,
        expected: the truth of what was shown), `spend_usd`; and those of `account_tests`.
    """
    start = warm(task, tick)
    flown = fly_tested(task, tick, start=start, holdout=HOLDOUT)
    tested = lift_report(flown.after, until=flown.after.hour)
    found: dict[str, Floats] = {}
    for name, channel in zip(NAMES, PAID_CHANNELS, strict=True):
        lines = lines_of(channel)
        for i, arm in enumerate(("shown", "held")):
            found[f"{name}_{arm}_people"] = tested.people[:, channel, i].astype(float)
            found[f"{name}_{arm}_sales"] = tested.conversions[:, channel, i].astype(float)
        found[f"{name}_spend_usd"] = flown.flight.report[:, lines, SPEND].sum(axis=1) / MICROS_PER_USD
        found[f"{name}_caused"] = flown.caused(flown.without(lines, tick))
    return found | account_tests(fly_task(task, tick, start=start), task, tick)


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
    found = tests_of(sums)
    flown = _Flown(file, terms, len(found[ACCOUNT].told))
    columns = {name: _column(test, flown) for name, test in found.items()}
    return Answer(
        title="The power problem",
        paper="Lewis, Rao, Quarterly Journal of Economics 130(4), 2015",
        claim="Over 25 field experiments the median interval of the ROI is more than 100 points wide: what "
        "single people buy varies ten times as much as its mean beside ads of some cents a person, and a "
        "test that informs easily takes ten million person-weeks.",
        columns=tuple(found),
        rows=rows_of(ROWS, columns),
        found=_found(found[ACCOUNT], columns[ACCOUNT], flown),
        differs=_differs(sums, found[ACCOUNT], columns[ACCOUNT], flown),
        figure=_figure({name: found[name] for name in (ACCOUNT, *_DRAWN) if name in found}, flown),
        caption="Half of the 95 % interval of what a dollar returns, by people tested; dashed what it truly "
        "returns; circles as seen in the spread of tests.",
    )


class _Flown(NamedTuple):
    """What was flown, for intervals in its units."""

    file: MarketFile
    terms: Terms
    n_worlds: int

    @property
    def months(self) -> float:
        """Of a flight."""
        return self.terms.days / DAYS_PER_MONTH

    @property
    def person_months(self) -> float:
        """Of all worlds."""
        return self.n_worlds * self.terms.n_people * self.months

    @property
    def points_a_sale(self) -> float:
        """What a sale brings, in hundredths of a dollar: points of a return where a dollar was spent."""
        return 100.0 * self.file.ltv_usd

    def returned(self, test: Tests) -> Interval:
        """What a dollar truly returns, points."""
        ratio = ratio_of_sums_interval(test.truth, test.spend, seed=self.terms.seed)
        return scaled(ratio, self.points_a_sale)

    def width(self, test: Tests) -> float:
        """Half of the 95 % interval of the return with one person-month, points; NaN where nobody bought."""
        told_any = test.spend.sum() > 0 and test.square.sum() > 0  # an error of 0 would be no error
        noise = float(np.sqrt(test.square.sum()) / test.spend.sum()) if told_any else np.nan
        return self.points_a_sale * _Z * noise * float(np.sqrt(self.person_months))

    def spread(self, test: Tests) -> Interval:
        """Half of the 95 % interval of one world's return, as estimates spread around the truth, points."""
        if not test.spend.sum() > 0:
            return UNDEFINED
        away = _root(mean_interval(test.miss, seed=self.terms.seed))
        return scaled(away, self.points_a_sale * _Z / float(test.spend.mean()))


def _column(test: Tests, flown: _Flown) -> dict[str, Interval]:
    """Cells of the table."""
    seed = flown.terms.seed
    returned, width = flown.returned(test), flown.width(test)
    roi, here = _less(returned, 100.0), width / np.sqrt(flown.file.people * flown.months)
    return {
        "spend_usd": mean_interval(test.spend, seed=seed),
        "caused_sales": mean_interval(test.truth, seed=seed),
        "told_sales": mean_interval(test.told, seed=seed),
        "error_sales": _root(mean_interval(test.square, seed=seed)),
        "spread_ratio": _root(ratio_of_sums_interval(test.miss, test.squares, seed=seed)),
        "roi_points": roi,
        "interval_points": _known(here),
        "error_over_roi_ratio": _over(here / _Z, roi),
        "exclude_zero_people": _needed(width, returned),
        "wanted_people": _known(people_for(WANTED_POINTS, width)),
    }


def _found(test: Tests, cells: Mapping[str, Interval], flown: _Flown) -> list[str]:
    return paragraphs(
        _FOUND,
        people=f"{flown.file.people:,}",
        here=ends(cells["interval_points"], "_points"),
        returned=ends(flown.returned(test), "_points"),
        roi=ends(cells["roi_points"], "_points"),
        times=ends(cells["error_over_roi_ratio"], "_ratio"),
        needed=ends(cells["exclude_zero_people"], "_people"),
        points=f"{WANTED_POINTS:g}",
        wanted=ends(cells["wanted_people"], "_people"),
        weeks=ends(scaled(cells["wanted_people"], WEEKS_PER_MONTH), "_people"),
        spread=ends(cells["spread_ratio"], "_ratio"),
        worlds=flown.n_worlds,
        deals=DEALS,
    )


def _differs(
    sums: Mapping[str, Floats], test: Tests, cells: Mapping[str, Interval], flown: _Flown
) -> list[str]:
    sales, people = (sum(sums[f"{name}_held_{what}"].sum() for name in NAMES) for what in ("sales", "people"))
    volatile = _known(float(np.sqrt(people / sales)) if sales > 0 else np.nan)
    return paragraphs(
        _DIFFERS,
        wide=ends(scaled(cells["interval_points"], 2.0), "_points"),
        people=f"{flown.file.people:,}",
        volatile=ends(volatile, "_ratio"),
        cents=f"{100 * test.spend.sum() / (1 - HOLDOUT) / flown.person_months:,.0f}",
        value=f"${flown.file.ltv_usd:,.0f}",
        at_a_tenth=f"{HOLDOUT * (1 - HOLDOUT) / (0.1 * 0.9):.1f}",
    )


def _figure(found: Mapping[str, Tests], flown: _Flown) -> charts.Figure:
    at = flown.terms.n_people * flown.months
    return figures.widths(
        _MONTHS,
        {
            name: (flown.width(test) / np.sqrt(_MONTHS), flown.returned(test).mean)
            for name, test in found.items()
        },
        flown={name: (at, flown.spread(test)) for name, test in found.items()},
        account=flown.file.people * flown.months,
        wanted=WANTED_POINTS,
    )


_FOUND = """
A month of this account ({people} people, half of them held out) measures what a dollar returns to ±{here}
points; in truth it returns {returned}, a ROI of {roi}. The standard error is {times} times the ROI.

An interval that excludes no effect half the time takes {needed} person-months, one of ±{points} points
{wanted}, which is {weeks} person-weeks.

Estimates spread {spread} times as widely around the truth as the formula says ({worlds} worlds, {deals}
deals of each).
"""
_DIFFERS = """
Lewis and Rao's median interval of the ROI is over 100 points wide with millions of people a test; this
account's would be {wide} points wide with {people}.

Their sales of single people vary by ten times the mean, here by {volatile} times, as a person buys once or
not at all; but a month of ads costs {cents} cents a person beside a sale of {value}, which is what makes
the interval wide.

They test single campaigns of display ads; here all channels of an account, and each by itself that takes
half a percent of the money.

The account's test deals people to a flight and its twin without ads; channels are tested as platforms do,
which drops people who leave the market. Late bookings are not waited for, so what is told stands a few per
cent low; the noise is many times that.

Half of the people are held out, which no account does for long: at a tenth the same width takes
{at_a_tenth} times the people.
"""


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
