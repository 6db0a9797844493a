"""`experts`: while it serves, chooses among safe policies, for each account and period.

What it goes by: an account shows spend, clicks, impressions and attributed conversions. Attributed value
comes days late, stands at no expert's period, and flatters lines that only collect sales. So the score of a
period is what its clicks and impressions are worth by what was learnt of each line on training worlds, less
spend; it is there within hours and has the noise of clicks, not of sales. A line's worth is that of people
met at random; the platform's own bidder picks better ones, so what it bought counts `picked` times. No
report shows that: it is measured on training worlds too. `attributed` scores by reported conversions as they
are shown instead; docs/reference/experts.md compares the two.

Who flies changes at midnight only. An expert that is not flying is not asked and keeps its state: a pacer
that watched another's spend would wind itself up against it. When it leaves it closes its day with
the midnight view, and what it then proposes is what it comes back with. Each world has its own experts,
started on a brief of that world alone, so a choice never depends on the neighbours.

Limits of money and of controls stay the gate's; this one limits who may propose. The choice itself:
`bandit.py`.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.bandit import ChoiceRule, Chooser
from gaelp.agents.baselines import begun
from gaelp.agents.policy import Brief, Policy
from gaelp.control.controls import ProposedControls
from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.core.random import named_seed
from gaelp.core.words import LINES, N_LINES, Channel
from gaelp.observation.view import View

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SCORES = ("worth", "attributed")
"""What a period can be scored by."""
_SEARCH = np.array([line.channel is Channel.SEARCH for line in LINES])
_AT_ONCE = np.zeros(N_LINES, np.int64)
PICKED = 2.3
"""Sixteen training worlds of the reference market gave 2.1 to 2.3, see docs/reference/experts.md.
Checkpoints of `value` hold their market's own number; the reference market's was trained before they did."""
PICKED_ON = "fc1130e8b4324b37"
"""First digits of that market's SHA-256."""


@dataclass
class ExpertsPolicy:
    """Flies one of several policies, chosen anew each period.

    Attributes:
        experts: name -> function that makes a fresh one; the first is the default.
        worth_usd: of a click (search) or of 1000 impressions per line name, 0 where not named.
        picked: worth of what the platform's own bidder bought over that of what was bought by hand.
        late_hours: (n_lines,) how late the account shows clicks (search) and impressions of each line.
        rule: of the choice. every_days: length of a period.
        score: one of `SCORES`.
        name: for tables.
    """

    experts: Mapping[str, Callable[[], Policy]]
    worth_usd: Mapping[str, float] = field(default_factory=dict)
    late_hours: Ints = field(default_factory=lambda: _AT_ONCE)
    picked: float = PICKED
    rule: ChoiceRule = field(default_factory=ChoiceRule)
    every_days: int = 1
    score: str = "worth"
    name: str = "experts"
    _brief: Brief | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        require_known("score", self.score, SCORES)
        if not self.experts:
            raise BadInput("experts", "none", "must be at least one", "Name a policy that may fly.")
        if self.every_days < 1:
            allowed = "must be at least 1"
            raise BadInput("every_days", self.every_days, allowed, "Give a period of whole days.")
        if self.score == "worth" and len(self.experts) > 1 and not any(self.worth_usd.values()):
            remedy = "Take it from a checkpoint of `value`, or score by `attributed`."
            raise BadInput("worth_usd", 0, "must be above 0 for some line", remedy)

    def start(self, brief: Brief) -> None:
        """Begin a campaign with fresh experts, the default's turn, and an empty log."""
        self._brief = brief
        self._teams = [[make() for make in self.experts.values()] for _ in range(brief.n_worlds)]
        for world, team in enumerate(self._teams):
            for expert in team:
                expert.start(_brief_of(brief, world))
        self._wanted: list[list[ProposedControls]] = []
        self._chooser = Chooser(self.rule, brief.n_worlds, len(self.experts))
        self._ledger = _Ledger(brief, self)

    def act(self, view: View) -> ProposedControls:
        """What the chosen expert of each world proposes; a period's first hour chooses."""
        brief = begun(self._brief)
        views = [_view_of(view, world) for world in range(brief.n_worlds)]
        if not self._wanted:
            self._wanted = [
                [expert.act(one) for expert in team] for team, one in zip(self._teams, views, strict=True)
            ]
        else:
            for world, flying in enumerate(self._chooser.choices[-1].tolist()):
                self._wanted[world][flying] = self._teams[world][flying].act(views[world])
        if view.hour > 0:
            self._ledger.book(view)
        if view.hour % (24 * self.every_days) == 0:
            self._choose(brief)
        flying = self._chooser.choices[-1].tolist()
        return _stacked([wanted[expert] for wanted, expert in zip(self._wanted, flying, strict=True)])

    @property
    def choices(self) -> Ints:
        """(n_periods, n_worlds) who flew, by place in `experts`."""
        return np.array(self._chooser.choices)

    @property
    def propensity(self) -> Floats:
        """(n_periods, n_worlds) the chance with which it was chosen, given all before."""
        return np.array(self._chooser.propensity)

    @property
    def score_usd(self) -> Floats:
        """(n_periods, n_worlds) what each period earned by the score, less spend, as far as is shown."""
        return self._ledger.earned_usd()

    @property
    def de_selected(self) -> NDArray[np.bool_]:
        """(n_worlds, n_experts) who is no longer tried."""
        return self._chooser.out.copy()

    def _choose(self, brief: Brief) -> None:
        period = len(self._chooser.choices)
        if period:
            budget = np.maximum(brief.daily_budget_usd * self.every_days, 1e-9)
            self._chooser.learn(self._ledger.earned_usd()[:period] / budget)
        keys = [(named_seed("experts", brief.seed, int(seed)), period) for seed in brief.world_seeds]
        self._chooser.choose(np.array([np.random.default_rng(key).random() for key in keys]))


class _Ledger:
    """Books what is shown to the period in which it happened.

    Args:
        brief: of the campaign. policy: whose scores these are.
    """

    def __init__(self, brief: Brief, policy: ExpertsPolicy) -> None:
        self.by_worth = policy.score == "worth"
        self.period_hours = 24 * policy.every_days
        self.late = policy.late_hours
        self.ltv_usd = brief.ltv_usd
        self.worth = np.array([policy.worth_usd.get(line.name, 0.0) for line in LINES])
        self.worth = np.where(_SEARCH, self.worth, self.worth / 1000.0)
        self.picked = policy.picked
        self._empty = np.zeros((brief.n_worlds, N_LINES))
        self._by_target: deque[NDArray[np.bool_]] = deque(maxlen=int(self.late.max()) + 1)
        self.periods: list[dict[str, Floats]] = []

    def book(self, view: View) -> None:
        """Book one hour's news."""
        last = view.hour - 1
        while len(self.periods) <= last // self.period_hours:
            self.periods.append({name: self._empty.copy() for name in ("spend", "cost", "gain")})
        self.periods[-1]["spend"] += view.spend_usd
        if not self.by_worth:
            self.periods[-1]["gain"] += self.ltv_usd * np.nan_to_num(view.conversions)
            return
        self._by_target.append(view.target_cpa_usd > 0.0)
        units = np.where(_SEARCH, view.clicks, view.impressions)
        for late in np.unique(self.late).tolist():
            if last < late:
                continue
            lines = self.late == late
            period = self.periods[(last - late) // self.period_hours]
            picked = np.where(self._by_target[-1 - late], self.picked, 1.0)
            period["gain"][:, lines] += np.nan_to_num(units * self.worth * picked)[:, lines]
            period["cost"][:, lines] += np.nan_to_num(view.cost_usd)[:, lines]

    def earned_usd(self) -> Floats:
        """(n_periods, n_worlds) gain less spend.

        Where spend is known and what it bought is not shown yet, a line's gain grows in proportion to spend.
        """
        rows = []
        for period in self.periods:
            spend, cost, gain = period["spend"], period["cost"], period["gain"]
            known = (cost > 0.0) & (spend > cost)
            gain = np.where(known, gain * spend / np.where(known, cost, 1.0), gain)
            rows.append((gain - spend).sum(axis=1))
        return np.array(rows).reshape(len(rows), len(self._empty))


def _brief_of(brief: Brief, world: int) -> Brief:
    """The brief of one world alone."""
    one = slice(world, world + 1)
    return replace(
        brief,
        n_worlds=1,
        daily_budget_usd=brief.daily_budget_usd[one],
        traffic=brief.traffic[one],
        world_seeds=brief.world_seeds[one],
    )


def _view_of(view: View, world: int) -> View:
    """The view of one world alone."""
    one = slice(world, world + 1)
    shown: dict[str, Any] = {
        name: value[one] if isinstance(value, np.ndarray) else value for name, value in vars(view).items()
    }
    return View(**shown)


def _stacked(proposed: Sequence[ProposedControls]) -> ProposedControls:
    """Proposals of single worlds as one."""
    names = [each.name for each in fields(ProposedControls)]
    return ProposedControls(
        **{name: np.concatenate([getattr(one, name) for one in proposed]) for name in names}
    )
