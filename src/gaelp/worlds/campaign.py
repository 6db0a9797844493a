"""A campaign as a game: observation in, action out, hour by hour, on a batch of worlds that live on.

The three faces in `env.py` (one world, a vector of worlds, one agent per seat) all play this one. The account
stands between the player and the market as it does everywhere else: reports come late, the gate checks.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import observer_for, scaled
from gaelp.agents.baselines import PacingPolicy
from gaelp.control.delivery import STRICT, DeliveryRule
from gaelp.control.profile import ControlProfile
from gaelp.core.errors import BadInput
from gaelp.market.file import MarketFile
from gaelp.market.market import Market
from gaelp.observation.campaign import CampaignObserver
from gaelp.platforms.simulated import SimulatedPlatform
from gaelp.worlds.account import Account
from gaelp.worlds.flight import make_brief, make_market, open_account, panel_budget, warm_up
from gaelp.worlds.splits import training_worlds
from gaelp.worlds.tuned import tuned_for

Floats = NDArray[np.float64]
Reward = Literal["incremental", "attributed"]
REWARDS: tuple[Reward, ...] = ("incremental", "attributed")


class Turn(NamedTuple):
    """What a seat is told after an hour; arrays over worlds.

    Attributes:
        observation: (n_worlds, n_features) float32. reward: (n_worlds,) in daily budgets.
        spend_usd, value_usd: (n_worlds,) of the hour; value is what the reward counts.
        denials: refused controls of the hour.
    """

    observation: NDArray[np.float32]
    reward: Floats
    spend_usd: Floats
    value_usd: Floats
    denials: int


class Campaign:
    """Worlds of one market with one or more external seats that play against each other and the rivals.

    An action is one number from -1 to 1 per line: the factor, from 1/4 to 4 on a log scale, on the bid of
    tuned dual pacing, which keeps the daily budget (e-mail: on, or off below 0). All zeros is dual pacing.

    The reward of an hour is value less spend, over the daily budget. By default value is *incremental*: LTV
    times expected decisions (the chance before the draw), less those of a twin that lives the same hours with
    all seats silent. It uses truth, as training may; `attributed` counts shown conversions instead.

    Args:
        file: the market. n_worlds: side by side. n_people: per world. days: of a campaign.
        n_seats: external seats. split: `train` or `validation`. reward: see above.
        daily_budget_usd: per panel; None takes the market's budget a person.
        profile, delivery: of the account, see `Account`.
    """

    def __init__(
        self,
        file: MarketFile,
        *,
        n_worlds: int,
        n_people: int,
        days: int,
        n_seats: int = 1,
        split: str = "train",
        reward: Reward = "incremental",
        daily_budget_usd: float | None = None,
        profile: ControlProfile | None = None,
        delivery: DeliveryRule = STRICT,
    ) -> None:
        training_worlds(file, split, 1)  # refuses the test split, and splits and sizes that are none
        if reward not in REWARDS:
            raise BadInput("reward", reward, f"must be one of {', '.join(REWARDS)}", "Choose one of these.")
        if days < 1:
            raise BadInput("days", days, "must be at least 1", "Play at least one day.")
        self.file = file
        self.n_worlds = n_worlds
        self.n_people = n_people
        self.days = days
        self.n_seats = n_seats
        self.split = split
        self.reward: Reward = reward
        self.daily_budget_usd = daily_budget_usd
        self.profile = profile
        self.delivery = delivery
        self.tuned = tuned_for(file)
        self.hour = 0
        self._market: Market | None = None
        self._traffic: Floats = np.ones((n_worlds, 168))

    @property
    def hours(self) -> int:
        """Length of a campaign."""
        return self.days * 24

    @property
    def lives(self) -> bool:
        """Whether there are people to go on with."""
        return self._market is not None

    @property
    def market(self) -> Market:
        """The living worlds; `begin` makes them."""
        if self._market is None:
            raise BadInput("campaign", "not begun", "must be reset first", "Call reset before step.")
        return self._market

    def begin(self, seed: int | None) -> list[NDArray[np.float32]]:
        """Begin a campaign and return each seat's first observation.

        Args:
            seed: names new worlds, warmed up under the status quo; None goes on with those that live.
        """
        if seed is not None or self._market is None:
            name = 0 if seed is None else seed
            worlds = training_worlds(self.file, self.split, self.n_worlds, name)
            self._market = make_market(worlds, self.n_people, n_seats=self.n_seats)
            self._traffic = warm_up(self._market)
        elif self._market.hour % 24:
            self._finish_day()
        market = self.market
        budget = panel_budget(market, self.daily_budget_usd)
        brief = make_brief(market, budget, self._traffic, self.tuned, 0)
        self._budget = np.maximum(budget, 1e-9)
        self._platform = SimulatedPlatform(market)
        self._twin = market.copy() if self.reward == "incremental" else None
        self._silent = SimulatedPlatform(self._twin) if self._twin is not None else None
        self._accounts: list[Account] = []
        self._pacers: list[PacingPolicy] = []
        self._observers: list[CampaignObserver] = []
        for seat in range(self.n_seats):
            self._platform.open(seat=seat, hours=self.hours, delivery=self.delivery)
            self._accounts.append(
                open_account(
                    self._platform,
                    brief,
                    seat=seat,
                    days=self.days,
                    profile=self.profile,
                    delivery=self.delivery,
                )
            )
            pacer = self.tuned.pacing()
            pacer.start(brief)
            self._pacers.append(pacer)
            self._observers.append(observer_for(brief, self.hours))
        self.hour = 0
        self._expected = market.books.expected[..., 1].copy()
        self._without = self._expected.copy()
        return self._look()

    def step(self, actions: list[NDArray[np.floating]]) -> list[Turn]:
        """Play an hour.

        Args:
            actions: for each seat (n_worlds, n_lines) from -1 to 1; see `agents.actions.scaled`.

        Raises:
            BadInput: the campaign has not begun or is over, or an action has another shape.
        """
        _ = self.market  # says so where nothing has begun
        if len(actions) != self.n_seats:
            raise BadInput("actions", len(actions), f"must be {self.n_seats}, one a seat", "Act for each.")
        if self.hour >= self.hours:
            raise BadInput(
                "hour", self.hour, f"must be below {self.hours}", "The campaign is over: reset it."
            )
        refused = []
        for account, pacer, view, action in zip(
            self._accounts, self._pacers, self._views, actions, strict=True
        ):
            refused.append(len(account.submit(scaled(pacer.act(view), action))))
        self._platform.advance()
        if self._silent is not None:
            self._silent.advance()
        self.hour += 1
        observations = self._look()
        turns = []
        gained = self._gained()
        for seat, observation in enumerate(observations):
            report = self._platform.reports[seat]
            spend = report.spend_micros[:, self.hour - 1].sum(axis=1) / 1e6
            if self.reward == "incremental":
                value = gained[:, seat]
            else:
                value = np.nansum(self._views[seat].conversions, axis=1) * self.file.ltv_usd
            turns.append(Turn(observation, (value - spend) / self._budget, spend, value, refused[seat]))
        return turns

    def _gained(self) -> Floats:
        """(n_worlds, n_seats) USD of expected decisions of the hour, less the twin's."""
        now = self.market.books.expected[..., 1]
        gained: Floats = now - self._expected
        self._expected = now.copy()
        if self._twin is not None:
            silent = self._twin.books.expected[..., 1]
            gained = gained - (silent - self._without)
            self._without = silent.copy()
        return gained

    def _look(self) -> list[NDArray[np.float32]]:
        self._views = [account.view() for account in self._accounts]
        return [observer.observe(view) for observer, view in zip(self._observers, self._views, strict=True)]

    def _finish_day(self) -> None:
        """A campaign that was left in the middle of a day ends at midnight, silent."""
        platform = SimulatedPlatform(self.market)
        while self.market.hour % 24:
            platform.advance()
