"""Families of worlds: named ways in which a market can turn out other than the one that was practised on.

A family takes effect at the flight's first hour, or later in it, so one warm-up in the default market serves
all of them. It changes rules, budgets and people on the day; everybody keeps the draws they were born with,
so a world and its family member share their luck and can be paired. Values are held inside the ranges that
the market file states; a family that would need more than its range uses another lever.

    flown = market.copy()
    FAMILIES["crisis_wave"].apply(flown, flown.hour, days=30)
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.core.random import named_seed
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.market.parameters import AUCTIONS

Revision = Callable[[MarketFile, int, int], MarketFile]
"""(file, day on which the flight starts, days of the flight) -> the file that holds from then on."""

_CONSENT_BITS = 0b0111000
_LOGIN_BIT = 0b1000000
_WEEKS = 52


@dataclass(frozen=True, kw_only=True)
class Family:
    """One family of worlds.

    Attributes:
        name: how commands and results call it.
        about: what is different, one sentence.
        outside_spread: parameters go where the training `[spread]` does not reach.
        revision: the file that a world lives by from the flight's first hour.
        later: the file from `later_share` of the flight on, made from the revised one.
        people_keep: share of the people who live at the start that keep their consent and login; None leaves
            all as they are.
        budget_factor: on the daily budget of every policy.
        outage_days: days of the flight, from and up to, on which the site's tag is down: no conversion is
            reported, no cookie is set and nobody joins an audience list.
    """

    name: str
    about: str
    outside_spread: bool = False
    revision: Revision | None = None
    later: Revision | None = None
    later_share: float = 1 / 3
    people_keep: float | None = None
    budget_factor: float = 1.0
    outage_days: tuple[int, int] | None = None

    @property
    def changes_market(self) -> bool:
        """Whether worlds live differently; where not, the twin without ads is the default's."""
        return any(
            what is not None for what in (self.revision, self.later, self.people_keep, self.outage_days)
        )

    def apply(self, market: Market, start_hour: int, days: int = 30) -> None:
        """Let worlds that live by their own files become members of this family.

        Args:
            market: worlds between two hours; changed in place.
            start_hour: hour of the market at which the flight begins, the first of a day.
            days: length of the flight; what happens in mid-flight happens at a share of it.

        Raises:
            BadInput: `start_hour` has passed, or people would have to change in the future.
        """
        if self.people_keep is not None:
            if start_hour != market.hour:
                remedy = "Apply it when the flight starts."
                raise BadInput("start_hour", start_hour, f"must be {market.hour}, the present one", remedy)
            _withdraw_identity(market, self.people_keep)
        files = [world.file for world in market.worlds]
        start_day = start_hour // 24
        if self.revision is not None:
            files = [self.revision(file, start_day, days) for file in files]
            market.change(files, at=start_hour)
        if self.later is not None:
            after = int(self.later_share * days)
            files = [self.later(file, start_day, days) for file in files]
            market.change(files, at=start_hour + 24 * after)
        if self.outage_days is not None:
            for day, tracking in zip(self.outage_days, (False, True), strict=True):
                at = start_hour + 24 * min(day, days)
                market.change([replace(file, tracking=tracking) for file in files], at=at)


def family(name: str) -> Family:
    """The family of that name.

    Raises:
        UnknownName: there is none.
    """
    return FAMILIES[require_known("family", name, FAMILIES)]


def with_factors(file: MarketFile, factors: dict[str, float | NDArray[np.float64]]) -> MarketFile:
    """The file with some parameters times a factor, held inside their stated ranges."""
    values = {}
    for name, factor in factors.items():
        stated = file.parameters[name]
        values[name] = np.clip(stated.value * factor, stated.low, stated.high)
    return file.with_values(values)


def _peak_season(file: MarketFile, start_day: int, days: int) -> MarketFile:
    """Start some weeks later, so that as many days as possible fall into the month of highest need."""
    peak = int(np.argmax(file.parameters["season_demand"].value))
    born = file.start.timetuple().tm_yday - 1
    flown = born + start_day + np.arange(days)

    def peak_days(weeks: int) -> int:
        month = ((flown + 7 * weeks) % 365) * 12 // 365  # as `market.hour.midnight` reads the calendar
        return int((month == peak).sum())

    weeks = max(range(_WEEKS), key=peak_days)  # whole weeks: the days of the week stay where they are
    return replace(file, start=file.start + dt.timedelta(weeks=weeks))


def _crisis(file: MarketFile, start_day: int, days: int) -> MarketFile:
    return with_factors(file, {"trigger_per_day": 6.0})


def _rival(file: MarketFile, start_day: int, days: int) -> MarketFile:
    first = file.rivals[0]
    stronger = replace(
        first, strength=min(2.0 * first.strength, 10.0), budget_usd_per_1000=5.0 * first.budget_usd_per_1000
    )
    return replace(file, rivals=(stronger, *file.rivals[1:]))


def _first_price(file: MarketFile, start_day: int, days: int) -> MarketFile:
    """Every auction as display is: the winner pays its bid, and rivals shade as they do there."""
    shade = file.parameters["shade"].value
    display = float(shade[AUCTIONS.index("display")])
    return replace(file.with_values({"shade": np.minimum(shade, display)}), first_price=AUCTIONS)


def _long_lag(file: MarketFile, start_day: int, days: int) -> MarketFile:
    """Half of the buyers begin with a free trial of seven weeks."""
    later = with_factors(file, {"lag_start_hours": 3.5})
    return later.with_values({"lag_share": np.array([0.15, 0.35, 0.5])})


def _poor_identity(file: MarketFile, start_day: int, days: int) -> MarketFile:
    return with_factors(file, {"consent_share": _KEEP, "login_share": _KEEP})


def _less_attention(file: MarketFile, start_day: int, days: int) -> MarketFile:
    flat = np.zeros_like(file.parameters["hour_tilt"].value)
    return with_factors(file.with_values({"hour_tilt": flat}), {"search_per_day": 0.6, "viewability": 0.65})


def _bargain_hunters(file: MarketFile, start_day: int, days: int) -> MarketFile:
    """One segment turns into people who click on everything, want it cheap and are worth little."""
    n_segments = len(file.segments)
    which = np.arange(n_segments) == min(1, n_segments - 1)  # the first is where trigger events lead
    creatives = np.where(which[:, None], np.array([0.6, 2.0, 0.6]), 1.0)
    return with_factors(
        file,
        {
            "click_segment": np.where(which, 2.0, 1.0),
            "price_sensitivity": np.where(which, 1.8, 1.0),
            "value_segment": np.where(which, 0.5, 1.0),
            "creative_fit": creatives,
        },
    )


def _withdraw_identity(market: Market, keep: float) -> None:
    """Some of the living withdraw consent and login, and lose the cookies that they carried.

    Who does is drawn by world and slot, so it does not depend on the other worlds of the batch.
    """
    for w, world in enumerate(market.worlds):
        generator = np.random.default_rng(named_seed("poor identity", world.seed))
        gone = generator.random(market.n_people) >= keep
        devices = market.pop.people["devices"][w]
        devices[gone] &= ~np.uint8(_CONSENT_BITS | _LOGIN_BIT)
        market.pop.memory["cookies"][w][gone] = 0


_KEEP = 0.15

DEFAULT = Family(name="default", about="The market as its file states it.")

FAMILIES: dict[str, Family] = {
    each.name: each
    for each in (
        Family(
            name="season_peak",
            about="The flight falls into the month of highest need.",
            revision=_peak_season,
        ),
        Family(
            name="crisis_wave",
            about="Events that make the need urgent are several times as frequent.",
            outside_spread=True,
            revision=_crisis,
        ),
        Family(
            name="aggressive_rival",
            about="One rival values people twice as high and has five times the budget.",
            outside_spread=True,
            revision=_rival,
        ),
        Family(
            name="first_price",
            about="Every auction is first price, and rivals shade as they do in display.",
            revision=_first_price,
        ),
        Family(name="half_budget", about="Half the usual budget a person.", budget_factor=0.5),
        Family(
            name="long_lag",
            about="Half of all sales are booked after a free trial of seven weeks.",
            revision=_long_lag,
        ),
        Family(
            name="poor_identity",
            about="Most people withdraw consent and login, and lose their cookies.",
            revision=_poor_identity,
            people_keep=_KEEP,
        ),
        Family(
            name="tracking_outage",
            about="For ten days in mid-flight the site's tag is down: no conversions, cookies or lists.",
            outage_days=(10, 20),
        ),
        Family(
            name="traffic_shift",
            about="From a third of the flight on people search less, look less, and at all hours alike.",
            outside_spread=True,
            later=_less_attention,
        ),
        Family(
            name="new_segment",
            about="Another kind of people: they click on everything, want it cheap and are worth little.",
            revision=_bargain_hunters,
        ),
    )
}
"""The ten families of `gaelp evaluate --suite families`, by name."""
