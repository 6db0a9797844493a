"""What another policy would have earned, from the log of one that chose by known chances.

With `w_i = target(a_i) / propensity_i`, rewards `r_i` and a model `q(x, a)` of the mean reward,

    IPS   = mean w r
    SNIPS = sum w r / sum w
    DR    = mean [ sum_a target(a) q(x, a) + w (r - q(x, a_i)) ]

IPS is unbiased where propensities are right, SNIPS bounded and steadier, DR right where either propensities
or the model are. All fail where few logged choices look like the target's: the weights' effective sample
size `(sum w)^2 / sum w^2` says so, and under `LEAST_EFFECTIVE` no figure is given.

The model is each action's mean reward in each context, drawn to the overall mean; it is fitted on other folds
than it judges.

Source: Horvitz & Thompson, JASA 47 (1952); Swaminathan & Joachims, NeurIPS 2015; Dudik, Langford & Li, ICML
2011; Kong, Liu & Wong, JASA 89 (1994) (effective sample size).
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtri

from gaelp.core.errors import BadInput
from gaelp.journeys.columns import Floats, Texts
from gaelp.measurement.checks import check_shares

LEAST_EFFECTIVE = 100.0
"""Effective rows under which an estimate is refused."""
_FOLDS = 5
_PSEUDO_ROWS = 10.0  # of the overall mean, for each action and context
_SUMS_TO_ONE = 1e-6
_LEAST_PROPENSITY = 1e-100  # smaller ones are no chances, and their inverses no numbers

Target = Mapping[tuple[str, str], float]
"""Chance of each (context, action); a context is its columns joined by `|`, empty where there are none."""


PROPENSITY = (
    "must be above 0 and at most 1",
    "Log the chance with which each choice was made; it cannot be had afterwards.",
)
"""What an error says of another propensity: what is allowed, and what to do."""


def is_propensity(chance: Floats) -> NDArray[np.bool_]:
    """Which numbers can be the chance of a choice that was made, any shape."""
    return (chance > _LEAST_PROPENSITY) & (chance <= 1)


def joined(columns: Sequence[Sequence[str]], n_rows: int) -> Texts:
    """(n_rows,) contexts of a target: the texts of several columns, (n_rows,) each, with `|` between them.

    >>> joined([["top", "low"], ["mobile", "mobile"]], 2).tolist(), joined([], 2).tolist()
    (['top|mobile', 'low|mobile'], ['', ''])
    """
    rows = ["|".join(row) for row in zip(*columns, strict=True)]
    return np.array(rows if columns else [""] * n_rows, np.str_)


def uniform_target(context: Texts, action: Texts) -> dict[tuple[str, str], float]:
    """Every logged action equally likely in every context.

    >>> uniform_target(np.array(["", ""]), np.array(["red", "blue"]))
    {('', 'blue'): 0.5, ('', 'red'): 0.5}
    """
    actions = np.unique(action)
    return {(str(c), str(a)): 1.0 / actions.size for c in np.unique(context) for a in actions}


def checked_target(context: Texts, action: Texts, probability: Floats) -> dict[tuple[str, str], float]:
    """A target policy from rows.

    Args:
        context, action, probability: (n_rows,) chances of an action in a context; those left out are 0.

    Raises:
        BadInput: if a row stands twice, or a context's chances do not sum to 1.
    """
    found: dict[tuple[str, str], float] = {}
    sums: dict[str, float] = {}
    for c, a, p in zip(context.tolist(), action.tolist(), probability.tolist(), strict=True):
        if (c, a) in found:
            raise BadInput("target", f"{c} {a}".strip(), "must stand once", "Add up its rows.")
        found[c, a] = p
        sums[c] = sums.get(c, 0.0) + p
    for c, total in sums.items():
        if abs(total - 1) > _SUMS_TO_ONE:
            name = f"target in {c}" if c else "target"
            raise BadInput(name, total, "must have probabilities that sum to 1", "Divide them by their sum.")
    return found


def off_policy(
    reward: ArrayLike,
    propensity: ArrayLike,
    action: ArrayLike,
    target: Target,
    context: ArrayLike | None = None,
    *,
    level: float = 0.95,
) -> dict[str, Any]:
    """What the target policy would have earned a row.

    Args:
        reward: (n,) what the logged choice earned.
        propensity: (n,) the chance with which the logging policy made it, above 0, at most 1.
        action: (n,) what was chosen.
        target: chances of the policy asked about.
        context: (n,) what the target and the reward model may depend on; None: nothing.
        level: of the normal intervals.

    Returns:
        {"ips", "snips", "dr": None where refused, "intervals": {each: [low, high]}, "effective_sample_size",
        "max_weight", "mean_weight": near 1 where propensities are right, "logged": mean reward of the log,
        "n", "n_actions", "refused", "reason"}.

    Raises:
        BadInput: if a column or the level cannot be, or the target lacks a logged context.
    """
    check_shares(level=level)
    r, e, a, c = _checked(reward, propensity, action, context)
    actions, a_code = np.unique(a, return_inverse=True)
    contexts, c_code = np.unique(c, return_inverse=True)
    known = {k for k, _ in target}
    for name in contexts.tolist():
        if name not in known:
            raise BadInput("target", name, "must tell each context logged", "Add rows for it.")
    chance = np.array([[target.get((str(k), str(v)), 0.0) for v in actions] for k in contexts])
    w = chance[c_code, a_code] / e
    n, total, largest = r.size, float(w.sum()), float(w.max())
    shares = w / (largest or 1.0)  # of the largest: squares stay finite
    effective = float(shares.sum() ** 2 / max((shares**2).sum(), 1.0))
    result: dict[str, Any] = {
        "ips": None,
        "snips": None,
        "dr": None,
        "intervals": None,
        "effective_sample_size": effective,
        "max_weight": largest,
        "mean_weight": total / n,
        "logged": float(r.mean()),
        "n": n,
        "n_actions": int(actions.size),
        "refused": True,
        "reason": _reason(effective, contexts, actions, target),
    }
    if result["reason"] is not None:
        return result
    q = _model(r, a_code, c_code, (contexts.size, actions.size))  # (n, n_actions)
    snips = float((w * r).sum() / total)
    terms = {  # (n,) each: the mean is the estimate, and the spread its influence's
        "ips": w * r,
        "snips": snips + n * w * (r - snips) / total,
        "dr": np.einsum("ij,ij->i", chance[c_code], q) + w * (r - q[np.arange(n), a_code]),
    }
    z = float(ndtri(0.5 + level / 2))
    intervals = {}
    for name, values in terms.items():
        mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(n))
        result[name] = mean
        intervals[name] = [mean - z * error, mean + z * error]
    return result | {"intervals": intervals, "refused": False}


def _reason(effective: float, contexts: Texts, actions: Texts, target: Target) -> str | None:
    seen, logged = set(contexts.tolist()), set(actions.tolist())
    never = sorted({a for (c, a), p in target.items() if c in seen and p > 0 and a not in logged})
    if never:
        return f"the target takes actions that were never logged: {', '.join(never[:5])}"
    if effective < LEAST_EFFECTIVE:
        return (
            f"the effective sample size is {effective:.1f}, under {LEAST_EFFECTIVE:g}: too few logged choices"
            " look like the target's; log more, or ask about a policy nearer to the one that logged"
        )
    return None


def _model(r: Floats, action: Any, context: Any, shape: tuple[int, int]) -> Floats:
    """(n, n_actions) mean reward by context and action, from the folds that a row is not in."""
    fold = np.arange(r.size) % _FOLDS
    cell = context * shape[1] + action
    q = np.empty((r.size, shape[1]))
    for k in range(_FOLDS):
        other = fold != k
        mean = r[other].mean() if other.any() else 0.0
        rows = np.bincount(cell[other], minlength=shape[0] * shape[1])
        sums = np.bincount(cell[other], weights=r[other], minlength=rows.size)
        table = ((sums + _PSEUDO_ROWS * mean) / (rows + _PSEUDO_ROWS)).reshape(shape)
        q[~other] = table[context[~other]]
    return q


def _checked(
    reward: ArrayLike, propensity: ArrayLike, action: ArrayLike, context: ArrayLike | None
) -> tuple[Floats, Floats, Texts, Texts]:
    r, e, a = np.asarray(reward, float), np.asarray(propensity, float), np.asarray(action).astype(np.str_)
    c = np.full(a.shape, "") if context is None else np.asarray(context).astype(np.str_)
    if r.ndim != 1 or r.size < 2 or not r.shape == e.shape == a.shape == c.shape:
        shapes = (r.shape, e.shape, a.shape, c.shape)
        raise BadInput("reward", shapes, "must be one number a row, at least two rows", "Pass equal columns.")
    wrong = np.flatnonzero(~np.isfinite(r))
    if wrong.size:
        raise BadInput(f"reward[{wrong[0]}]", r[wrong[0]], "must be finite", "Mend that row.")
    wrong = np.flatnonzero(~is_propensity(e))
    if wrong.size:
        raise BadInput(f"propensity[{wrong[0]}]", e[wrong[0]], *PROPENSITY)
    return r, e, a, c
