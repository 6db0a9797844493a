"""A choice among a few experts, once a period: bounded exploration, de-selection, and a way back after drift.

One expert is the incumbent, at first the default. Another is tried with a stated chance, and only while the
periods given to others stay within a share of all, with some ahead because early knowledge pays longest. An
expert that passes the incumbent by so many standard errors takes its place; one that falls as far short is
de-selected and not tried again. When the incumbent's own scores drop, what was known is forgotten from where
the drop began, everybody is open again, and exploration gets its lead anew.

Sources: Wu et al., "Conservative bandits", ICML 2016 (arXiv 1602.04282): stay, at any time, above a share of
what the default earns. Where an untried expert may earn nothing in its periods, that is a limit on their
number, which needs no estimate and holds on every path; so that is what is kept here. Even-Dar, Mannor,
Mansour, "Action elimination and stopping conditions", JMLR 2006 (de-selection by confidence). Page,
"Continuous inspection schemes", Biometrika 1954, in Hinkley's form with a running mean (drift). EXP3.S,
sliding-window UCB and discounted Thompson sampling (arXiv 2305.10718) forget all the time and never stop
exploring: with a month of days and scores this noisy they pay more to learn than there is to win.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class ChoiceRule:
    """How an incumbent is tried, replaced and doubted. Scores are in budgets: 1 is a period's budget.

    Attributes:
        explore: share of the periods that may go to others than the incumbent, at any time.
        lead: periods whose share may be explored ahead, at the start and after each drift.
        chance: of trying another where one may be tried; the others share it evenly.
        sure: standard errors of the difference that replace the incumbent or de-select another.
        noise: standard deviation of a score before any was seen. prior: scores that this counts as.
        slack, alarm: of the drift test, in standard deviations: a drop of less than `slack` is let pass.
    """

    explore: float = 0.15
    lead: int = 14
    chance: float = 0.5
    sure: float = 2.0
    noise: float = 0.15
    prior: float = 4.0
    slack: float = 0.5
    alarm: float = 8.0

    def __post_init__(self) -> None:
        for name in ("explore", "chance"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise BadInput(name, getattr(self, name), "must be from 0 to below 1", "Give a share.")
        for name in ("sure", "noise", "prior", "slack", "alarm"):
            if not (np.isfinite(getattr(self, name)) and getattr(self, name) > 0.0):
                raise BadInput(name, getattr(self, name), "must be above 0", "Give a positive number.")
        if self.lead < 0:
            raise BadInput("lead", self.lead, "must be at least 0", "Give a number of periods.")


class Drop(NamedTuple):
    """What the drift test says of a row of scores.

    Attributes:
        size: (n_worlds,) how far the test's sum lies below its highest, in standard deviations.
        began: (n_worlds,) the period after that highest: where the drop began, if there is one.
    """

    size: Floats
    began: Ints


def page_hinkley(score: Floats, counts: Flags, noise: Floats, slack: float) -> Drop:
    """Page's test for a drop of the mean, against the running mean.

    With z_t = (score_t - mean of scores up to t) / noise, the sum of z_t + slack stays near its highest
    while the mean holds, and falls below it by about (drop - slack) a score once the mean has dropped.

    Args:
        score: (n_periods, n_worlds). counts: which of them to look at, same shape.
        noise: (n_worlds,) standard deviation of a score. slack: a drop to let pass, in these.

    >>> one = np.array([[0.0], [0.0], [0.0], [-4.0], [-4.0]])
    >>> drop = page_hinkley(one, np.ones((5, 1), bool), np.ones(1), 0.5)
    >>> drop.size.round(1).tolist(), drop.began.tolist()
    ([4.4], [3])
    """
    n_seen = np.cumsum(counts, axis=0)
    running = np.cumsum(np.where(counts, score, 0.0), axis=0) / np.maximum(n_seen, 1)
    total = np.cumsum(np.where(counts, (score - running) / noise + slack, 0.0), axis=0)
    began = np.zeros(score.shape[1], np.int64)
    if not len(score):
        return Drop(np.zeros(score.shape[1]), began)
    highest = np.maximum(total.max(axis=0), 0.0)
    # the last time that the sum stood at its highest; never, where it only fell
    last = len(total) - np.argmax(total[::-1] >= highest, axis=0)
    began[:] = np.where((total >= highest).any(axis=0), last, 0)
    return Drop(highest - total[-1], began)


class Chooser:
    """Keeps the choice of a batch of worlds; each world's is its own.

    Args:
        rule: of the choice. n_worlds: side by side. n_experts: the first is the default.

    Attributes:
        incumbent: (n_worlds,) who flies but for exploration.
        out: (n_worlds, n_experts) who is de-selected.
        explored: (n_worlds,) periods given to others than the incumbent of the time.
        alarms: (n_worlds,) drifts found.
        choices, propensity: lists over periods of (n_worlds,): who flew, and its chance of being chosen.
    """

    def __init__(self, rule: ChoiceRule, n_worlds: int, n_experts: int) -> None:
        self.rule = rule
        self.n_experts = n_experts
        self.incumbent = np.zeros(n_worlds, np.int64)
        self.out = np.zeros((n_worlds, n_experts), np.bool_)
        self.explored = np.zeros(n_worlds, np.int64)
        self.alarms = np.zeros(n_worlds, np.int64)
        self.choices: list[Ints] = []
        self.propensity: list[Floats] = []
        self._since = np.zeros(n_worlds, np.int64)

    def allowance(self) -> Floats:
        """(n_worlds,) periods that exploration may have taken by the end of the coming one."""
        granted = len(self.choices) + 1 + self.rule.lead * (1 + self.alarms)
        return np.asarray(self.rule.explore * granted, np.float64)

    def chances(self) -> Floats:
        """(n_worlds, n_experts) each expert's chance in the coming period; rows add up to 1."""
        worlds = np.arange(len(self.incumbent))
        others = ~self.out
        others[worlds, self.incumbent] = False
        others[self.explored + 1 > self.allowance() + 1e-9] = False
        n_others = others.sum(axis=1, keepdims=True)
        found = others * self.rule.chance / np.maximum(n_others, 1)
        found[worlds, self.incumbent] = np.where(n_others[:, 0] > 0, 1.0 - self.rule.chance, 1.0)
        return found

    def choose(self, draw: Floats) -> Ints:
        """Choose for the coming period and log it.

        Args:
            draw: (n_worlds,) uniforms, each a world's own.

        Returns:
            (n_worlds,) experts.
        """
        chances = self.chances()
        upper = np.cumsum(chances, axis=1)
        # an expert without a chance is never met, however the sum was rounded
        reached = (draw[:, None] < upper) & (chances > 0.0)
        last = self.n_experts - 1 - np.argmax(chances[:, ::-1] > 0.0, axis=1)
        choice: Ints = np.where(reached.any(axis=1), reached.argmax(axis=1), last)
        self.explored += choice != self.incumbent
        self.choices.append(choice)
        self.propensity.append(chances[np.arange(len(choice)), choice])
        return choice

    def learn(self, score: Floats) -> None:
        """Judge by all scores so far; earlier ones may have been restated since the last call.

        Args:
            score: (n_periods, n_worlds) of whoever flew, for the first of the periods chosen.
        """
        choices = np.array(self.choices[: len(score)]).reshape(score.shape)
        noise = self._noise(score, choices)
        self._doubt(score, choices, noise)
        fresh = np.arange(len(score))[:, None] >= self._since
        flown = (choices[..., None] == np.arange(self.n_experts)) & fresh[..., None]
        n = flown.sum(axis=0)  # (n_worlds, n_experts)
        mean = np.where(flown, score[..., None], 0.0).sum(axis=0) / np.maximum(n, 1)
        lead = _lead_of(mean, n, self.incumbent, noise)
        best = lead.argmax(axis=1)
        passed = np.take_along_axis(lead, best[:, None], 1)[:, 0] > self.rule.sure
        self.incumbent = np.where(passed, best, self.incumbent)
        short = _lead_of(mean, n, self.incumbent, noise)
        self.out |= short < -self.rule.sure

    def _noise(self, score: Floats, choices: Ints) -> Floats:
        """(n_worlds,) standard deviation of a score: what was expected, and neighbours of one expert.

        Differences of successive scores of the same expert are blind to a shift of its mean.
        """
        total, n = np.zeros(score.shape[1]), np.zeros(score.shape[1])
        for expert in range(self.n_experts):
            last, known = np.zeros(score.shape[1]), np.zeros(score.shape[1], np.bool_)
            for t in range(len(score)):
                here = choices[t] == expert
                both = here & known
                total += np.where(both, 0.5 * (score[t] - last) ** 2, 0.0)
                n += both
                last, known = np.where(here, score[t], last), known | here
        rule = self.rule
        spread: Floats = np.sqrt((rule.prior * rule.noise**2 + total) / (rule.prior + n))
        return spread

    def _doubt(self, score: Floats, choices: Ints, noise: Floats) -> None:
        """Where the incumbent's scores have dropped, forget what was before and open the choice again."""
        period = np.arange(len(score))[:, None]
        counts = (choices == self.incumbent) & (period >= self._since)
        drop = page_hinkley(score, counts, noise, self.rule.slack)
        dropped = drop.size > self.rule.alarm
        self._since = np.where(dropped, np.maximum(drop.began, self._since), self._since)
        self.alarms += dropped
        self.out[dropped] = False


def _lead_of(mean: Floats, n: Ints, incumbent: Ints, noise: Floats) -> Floats:
    """(n_worlds, n_experts) each expert's lead on the incumbent in standard errors; 0 where not known."""
    own = np.take_along_axis(mean, incumbent[:, None], 1), np.take_along_axis(n, incumbent[:, None], 1)
    error = noise[:, None] * np.sqrt(1.0 / np.maximum(n, 1) + 1.0 / np.maximum(own[1], 1))
    lead: Floats = np.where((n > 0) & (own[1] > 0), (mean - own[0]) / error, 0.0)
    return lead
