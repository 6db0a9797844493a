"""What another policy would earn a day, from a log of campaigns; refused where the log cannot say.

A day's reward is weighted by how much likelier the target's draws were than the log's on that day and the
`horizon - 1` days before it, `w = prod target(a_s | x_s) / logged density`; whole campaigns would need
weights over thirty days, which no log has. With a model `q(x, a)` of the day's mean reward, linear in both
and fitted on other worlds than it judges, and `v` the weight of the days before alone,

    IPS = mean w r      SNIPS = sum w r / sum w      DR = mean [ v q(x, mean action) + w (r - q(x, a)) ]

So an estimate is of a policy that *draws* its actions round its mean, and of what its last `horizon` days of
decisions do, in the states that the log met. The gates, in order: the policy must not have learnt from the
same worlds; its actions must lie where the log has some; enough effective rows and worlds must be left, and
weights must average 1 as right densities make them; and what was done `horizon` days before must not show in
rewards.

Source: Precup, Sutton & Singh, ICML 2000 (weights decision by decision); Jiang & Li, ICML 2016 (doubly
robust); Guo, Thomas & Brunskill, NeurIPS 2017, arXiv 1703.03453 (leaving early decisions out); Kong, Liu &
Wong, JASA 89 (1994) (effective sample size).
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from gaelp.core.errors import BadInput
from gaelp.learning.offline_log import CampaignLog
from gaelp.measurement.checks import check_shares
from gaelp.measurement.experiments.off_policy import LEAST_EFFECTIVE

Floats = NDArray[np.float64]

LEAST_WORLDS = 10.0
"""Effective worlds under which an estimate is refused: days of one world share its luck."""
MOST_OUTSIDE = 0.05
"""Share of days on which the target may lie outside all that was logged."""
CARRY_OVER_P = 0.01
"""Chance, were there no effect, under which earlier actions count as moving rewards."""
_FARTHEST_WEIGHT = 4.0  # standard errors of the mean weight from 1
_ROWS_AN_ACTION = 10  # least rows for each coefficient of the carry-over test
_RIDGE = 100.0  # rows' worth of shrinkage of the model, whose inputs have unit variance
_FOLDS = 5


def normal_log_density(z: Floats, deviation: Floats) -> Floats:
    """(n,) log densities of normal draws, all columns together.

    Args:
        z: (n, k) draws less their means, in standard deviations. deviation: (k,) above 0.
    """
    logs = -0.5 * z**2 - np.log(deviation) - 0.5 * np.log(2.0 * np.pi)
    total: Floats = logs.sum(axis=1)
    return total


def estimate(
    log: CampaignLog,
    mean: Floats,
    deviation: Floats,
    *,
    reward: str = "attributed",
    horizon: int = 1,
    level: float = 0.95,
    trained_on: Iterable[str] = (),
) -> dict[str, Any]:
    """What a policy that draws normal actions would earn a day, in daily budgets.

    Args:
        log: that another policy made. mean: (n, n_actions) of the target in the log's states. deviation:
            (n_actions,) of its draws, above 0.
        reward: one of `offline_log.REWARDS`. horizon: days of decisions that a day's reward hangs on.
        level: of the intervals, normal over worlds with the t distribution's width.
        trained_on: names of the worlds that the policy learnt from.

    Returns:
        {"ips", "snips", "dr", "gain": DR less what the log earned, on the same days; "intervals": {each:
        [low, high]}, all None where refused; "logged", "effective_sample_size", "effective_worlds",
        "max_weight", "mean_weight", "outside": share of days outside the log, "carry_over_p", "n",
        "n_worlds", "horizon", "refused", "reason"}.

    Raises:
        BadInput: horizon, level or shapes cannot be, or the log has no such reward.
    """
    check_shares(level=level)
    earned = log.reward(reward)
    n, k = log.actions.shape
    if mean.shape != (n, k) or deviation.shape != (k,) or not (deviation > 0).all():
        allowed = f"must be {(n, k)} means and {(k,)} deviations above 0"
        raise BadInput("target", (mean.shape, deviation.shape), allowed, "Ask it in the log's states.")
    if not 1 <= horizon <= int(log.day.max() - log.day.min()) + 1:
        allowed = "must be from 1 to the days of a campaign"
        raise BadInput("horizon", horizon, allowed, "Few days leave more of the log to judge by.")
    ratio = normal_log_density((log.actions - mean) / deviation, deviation) - log.log_density
    weight = np.exp(np.clip(_summed(log, ratio, horizon), -700.0, 700.0))
    by_world = np.bincount(log.place, weights=weight).astype(float)
    effective, worlds = _effective(weight), _effective(by_world)
    low, high = log.actions.min(axis=0), log.actions.max(axis=0)
    outside = float(((mean < low) | (mean > high)).any(axis=1).mean())
    carry_over = _carry_over_p(log, earned, horizon)
    result: dict[str, Any] = {
        **dict.fromkeys(("ips", "snips", "dr", "gain", "intervals")),
        "logged": float(earned.mean()),
        "effective_sample_size": effective,
        "effective_worlds": worlds,
        "max_weight": float(weight.max()),
        "mean_weight": float(weight.mean()),
        "outside": outside,
        "carry_over_p": carry_over,
        "n": n,
        "n_worlds": len(log.worlds),
        "horizon": horizon,
        "refused": True,
    }
    result["reason"] = _reason(result, sorted(set(trained_on) & set(log.worlds)))
    if result["reason"] is not None:
        return result
    before = np.exp(np.clip(_summed(log, ratio, horizon) - ratio, -700.0, 700.0))
    return result | _figures(log, earned, weight, before, mean, level) | {"refused": False}


def _figures(
    log: CampaignLog, earned: Floats, weight: Floats, before: Floats, mean: Floats, level: float
) -> dict[str, Any]:
    n, n_worlds = earned.size, len(log.worlds)
    taken, target = _model(log, earned, mean)
    snips = float((weight * earned).sum() / weight.sum())
    terms = {  # (n,) each: the mean is the estimate, and the spread its influence's
        "ips": weight * earned,
        "snips": snips + n * weight * (earned - snips) / weight.sum(),
        "dr": before * target + weight * (earned - taken),
    }
    terms["gain"] = terms["dr"] - earned
    width = float(stats.t.ppf(0.5 + level / 2, n_worlds - 1))
    found, intervals = {}, {}
    for name, values in terms.items():
        middle = float(values.mean())
        by_world = np.bincount(log.place, weights=values - middle)
        error = float(np.sqrt((by_world**2).sum() * n_worlds / (n_worlds - 1))) / n
        found[name], intervals[name] = middle, [middle - width * error, middle + width * error]
    return {**found, "intervals": intervals}


def _reason(found: dict[str, Any], known: list[str]) -> str | None:
    """Why the log cannot say, None where it can."""
    if known:
        return (
            f"the policy learnt from {len(known)} of these worlds, {known[0]} among them: what it copied from"
            " their luck would count as skill; judge it on a log of other worlds"
        )
    if found["outside"] > MOST_OUTSIDE:
        return (
            f"on {found['outside']:.0%} of the days the policy's mean lies outside all that was logged; log"
            " with wider draws, or ask about a policy nearer to the one that logged"
        )
    effective, worlds = found["effective_sample_size"], found["effective_worlds"]
    if effective < LEAST_EFFECTIVE or worlds < LEAST_WORLDS:
        return (
            f"the effective sample size is {effective:.1f} days in {worlds:.1f} worlds, where"
            f" {LEAST_EFFECTIVE:g} in {LEAST_WORLDS:g} are needed: too few logged days look like the"
            " policy's; log more, or ask about a policy nearer to the one that logged, or a shorter horizon"
        )
    if abs(found["mean_weight"] - 1.0) > _FARTHEST_WEIGHT / np.sqrt(effective):
        return f"weights average {found['mean_weight']:.3g}, not 1: the logged densities cannot be right"
    p, horizon = found["carry_over_p"], found["horizon"]
    if p is None:
        return "the campaigns are too short to see whether earlier decisions still count; log longer ones"
    if p < CARRY_OVER_P:
        return (
            f"what was done {horizon} days before still moves rewards (p = {p:.2g}): a horizon of {horizon}"
            " leaves that out; ask for a longer one"
        )
    return None


def _summed(log: CampaignLog, ratio: Floats, horizon: int) -> Floats:
    """(n,) sums of a world's last `horizon` days, fewer at its beginning."""
    total = ratio.copy()
    for lag in range(1, horizon):
        total[lag:] += np.where(log.place[lag:] == log.place[:-lag], ratio[:-lag], 0.0)
    return total


def _effective(weight: Floats) -> float:
    shares = weight / (weight.max() or 1.0)  # of the largest: squares stay finite
    return float(shares.sum() ** 2 / max((shares**2).sum(), 1e-300))


def _carry_over_p(log: CampaignLog, earned: Floats, horizon: int) -> float | None:
    """Chance of rewards following the actions of `horizon` days before this closely, were there no effect.

    An F test over the actions, worlds' and days' means taken out. Actions were drawn anew each day, so
    rewards that resemble those of the day before do not upset it. None where there are too few rows.
    """
    k = log.actions.shape[1]
    later = np.flatnonzero(log.place[horizon:] == log.place[:-horizon]) + horizon
    _, day = np.unique(log.day[later], return_inverse=True)
    _, world = np.unique(log.place[later], return_inverse=True)
    spare = later.size - k - int(day.max(initial=0)) - int(world.max(initial=0)) - 1
    if spare < _ROWS_AN_ACTION * k:
        return None
    table = np.column_stack([log.actions[later - horizon], earned[later]])
    for _ in range(20):  # worlds and days in turn: exact at once where all campaigns are as long
        for code in (world, day):
            count = np.bincount(code)
            means = np.stack([np.bincount(code, weights=column) / count for column in table.T], axis=1)
            table = table - means[code]
    x, y = table[:, :k], table[:, k]
    fitted = x @ np.linalg.lstsq(x, y, rcond=None)[0]
    rest = float(((y - fitted) ** 2).sum())
    if rest <= 1e-12 * max(float((y**2).sum()), 1e-300):
        return 1.0 if not y.any() else 0.0
    return float(stats.f.sf((fitted**2).sum() / k / (rest / spare), k, spare))


def _model(log: CampaignLog, earned: Floats, mean: Floats) -> tuple[Floats, Floats]:
    """(n,) each: mean reward at what was done, and at the target's mean, from worlds of other folds."""
    seen = log.observations - log.observations.mean(axis=0)
    seen = seen / np.where(seen.std(axis=0) > 1e-6, seen.std(axis=0), np.inf)
    spread = np.maximum(log.actions.std(axis=0), 1e-9)
    taken, target = np.empty(earned.size), np.empty(earned.size)
    fold = log.place % min(_FOLDS, len(log.worlds))
    for each in np.unique(fold):
        mine, other = fold == each, fold != each
        x = np.hstack([seen[other], log.actions[other] / spread])
        level, middle = float(earned[other].mean()), x.mean(axis=0)
        gram = (x - middle).T @ (x - middle) + _RIDGE * np.eye(x.shape[1])
        slope = np.linalg.solve(gram, (x - middle).T @ (earned[other] - level))
        for values, actions in ((taken, log.actions), (target, mean)):
            at = np.hstack([seen[mine], actions[mine] / spread])
            values[mine] = level + (at - middle) @ slope
    return taken, target
