"""The leaderboard: per-world sums of each policy in, the `evaluate` JSON and its tables out.

Counts and money are means per world; ratios are ratios of sums over worlds; an
undefined figure is None. Pairs compare policies on the same worlds.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rich import box
from rich.table import Table
from rich.text import Text

from gaelp.core.errors import BadInput
from gaelp.evaluation.intervals import (
    UNDEFINED,
    Interval,
    PairedInterval,
    mean_interval,
    paired_interval,
    paired_ratio_interval,
    ratio_of_sums_interval,
)

Floats = NDArray[np.float64]

# metric -> (numerator, denominator) among the per-world sums; no denominator: mean per world
METRICS: dict[str, tuple[str, str | None]] = {
    "spend_usd": ("spend_usd", None),
    "spend_share": ("spend_usd", "budget_usd"),
    "conversions": ("attributed_conversions", None),
    "cac_usd": ("spend_usd", "attributed_conversions"),
    "roas": ("revenue_usd", "spend_usd"),
    "incremental_conversions": ("incremental_conversions", None),
    "incremental_decisions": ("incremental_decisions", None),
    "incremental_cac_usd": ("spend_usd", "incremental_conversions"),
    "incremental_roas": ("incremental_revenue_usd", "spend_usd"),
    "incremental_profit_usd": ("incremental_profit_usd", None),
    "expected_profit_usd": ("expected_profit_usd", None),
    "worst_decile_profit_usd": ("incremental_profit_usd", None),
    "probability_of_improvement": ("better", None),
    "gap_closed": ("gained", "to_gain"),
    "win_rate": ("wins", "bids"),
    "impression_share": ("impressions", "opportunities"),
}
"""Where a sum below is derived or may be missing, the metric is undefined without it:

- `expected_profit_usd`: as the incremental profit, but of decisions as expected before their last draw, and
  whenever they are booked; less noise.
- `worst_decile_profit_usd`: mean incremental profit of the worst tenth of worlds.
- `probability_of_improvement`: share of worlds with more incremental profit than the baseline, a tie is half.
- `gap_closed`: what a policy gains over the baseline / what the oracle does, in incremental profit.
"""
PAIR_METRICS = ("incremental_profit_usd", "incremental_conversions", "incremental_cac_usd")
LOWER_IS_BETTER = frozenset({"cac_usd", "incremental_cac_usd"})
_DERIVED = {"incremental_profit_usd", "expected_profit_usd", "better", "gained", "to_gain"}
NEEDED_SUMS = frozenset(name for pair in METRICS.values() for name in pair if name and name not in _DERIVED)
EXPECTED_SUM = "incremental_expected_value_usd"
"""An optional sum; `expected_profit_usd` needs it."""
ORACLE = "line_oracle"
REFERENCES = frozenset({"line_oracle", "informed", "clairvoyant"})  # they see truth: yardsticks, no rivals
FULL_SPEND = 0.9  # a CAC below this spend share is bought by not spending

# what the tables show, in this order
COLUMNS = {
    "incremental_profit_usd": "incremental profit",
    "incremental_cac_usd": "incremental CAC",
    "incremental_roas": "incremental ROAS",
    "incremental_conversions": "incremental conversions",
    "spend_share": "budget spent",
    "cac_usd": "attributed CAC",
    "roas": "attributed ROAS",
    "win_rate": "win rate",
    "impression_share": "impression share",
}
_WIDE_ONLY = ("incremental_roas", "roas", "win_rate", "impression_share")  # not in a terminal


def leaderboard(
    results: Mapping[str, Mapping[str, ArrayLike]],
    *,
    baseline: str = "pacing",
    level: float = 0.95,
    seed: int = 0,
    n_resamples: int = 2000,
    families: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Judge policies flown on the same worlds: the object `gaelp evaluate --json` prints.

    Args:
        results: policy -> name of a sum -> (n_worlds,) that sum in each world;
            `NEEDED_SUMS` names the sums that must be there, others are ignored.
        baseline: every other policy is paired with this one where it was flown.
        level: coverage of the intervals.
        seed: names the resamples; all policies share them.
        n_resamples: bootstrap resamples.
        families: results per family of worlds, passed on as they are.

    Returns:
        {"policies": {policy: {metric: {mean, low, high}}},
         "pairs": {"a - b": {metric: {mean, low, high, p_improvement}}}, "families": {...}}

    Raises:
        BadInput: if a sum is missing or not finite, or the numbers of worlds differ.
    """
    sums = {policy: _checked(policy, given) for policy, given in results.items()}
    sizes = {policy: columns["spend_usd"].size for policy, columns in sums.items()}
    if len(set(sizes.values())) > 1:
        raise BadInput(
            "results",
            sizes,
            "must be the same number of worlds for every policy",
            "Fly every policy on the same worlds.",
        )
    _compare(sums, baseline)
    options = {"level": level, "seed": seed, "n_resamples": n_resamples}
    rivals_of_baseline = [policy for policy in sums if policy != baseline] if baseline in sums else []
    return {
        "policies": {
            policy: {metric: _interval(columns, metric, options).as_dict() for metric in METRICS}
            for policy, columns in sums.items()
        },
        "pairs": {
            f"{policy} - {baseline}": {
                metric: _pair(sums[policy], sums[baseline], metric, options).as_dict()
                for metric in PAIR_METRICS
            }
            for policy in rivals_of_baseline
        },
        "families": dict(families or {}),
    }


def ranked(board: Mapping[str, Any]) -> list[str]:
    """Policies by mean incremental profit, best first; undefined ones last."""

    def profit(policy: str) -> float:
        mean = board["policies"][policy].get("incremental_profit_usd", {}).get("mean")
        return -np.inf if mean is None else float(mean)

    return sorted(board["policies"], key=profit, reverse=True)


def underspenders(board: Mapping[str, Any], *, baseline: str = "pacing") -> set[str]:
    """Policies whose CAC does not count: under 90 % spent and fewer conversions than the baseline."""
    policies = board["policies"]

    def mean(policy: str, metric: str) -> float | None:
        value = policies.get(policy, {}).get(metric, {}).get("mean")
        return None if value is None else float(value)

    to_reach = mean(baseline, "incremental_conversions")
    return {
        policy
        for policy in policies
        if (mean(policy, "spend_share") or 0) < FULL_SPEND
        and (
            policy == baseline
            or to_reach is None
            or (reached := mean(policy, "incremental_conversions")) is None
            or reached < to_reach
        )
    }


def marks(board: Mapping[str, Any], policy: str) -> str:
    """What to put behind a policy's name; `notes` explains it."""
    return (" †" if policy in underspenders(board) else "") + (" *" if policy in REFERENCES else "")


def notes(board: Mapping[str, Any]) -> list[str]:
    """A sentence for each mark that the board's names carry."""
    marked = "".join(marks(board, policy) for policy in board["policies"])
    sentences = {
        "†": "† under 90 % of its budget spent, without matching pacing's conversions: no CAC to compare.",
        "*": "* sees the truth: a yardstick, not a policy that could be flown.",
    }
    return [sentence for mark, sentence in sentences.items() if mark in marked]


def as_table(board: Mapping[str, Any]) -> Table:
    """The leaderboard for a terminal, without the columns that would not fit there."""
    table = Table(
        title="Leaderboard: incremental means per world, intervals below them",
        caption="\n".join(notes(board)) or None,
        box=box.SIMPLE_HEAD,
        padding=(0, 0),
    )
    shown = [metric for metric in COLUMNS if metric not in _WIDE_ONLY]
    headings = [COLUMNS[metric].removeprefix("incremental ").replace(" ", "\n", 1) for metric in shown]
    table.add_column("policy", no_wrap=True)
    for heading in headings:
        table.add_column(heading.replace("conversions", "conver-\nsions"), justify="right", overflow="fold")
    for policy, *cells in _rows(board, shown, separator="\n"):
        table.add_row(Text(policy), *(Text(cell) for cell in cells))
    return table


def as_markdown(board: Mapping[str, Any]) -> str:
    """The leaderboard, and under it the pairs, as Markdown tables."""
    rows = [["policy", *COLUMNS.values()], ["---", *["---:"] * len(COLUMNS)]]
    rows += [[cell.replace("|", "\\|") for cell in row] for row in _rows(board, list(COLUMNS), separator=" ")]
    lines = [_markdown_row(row) for row in rows]
    for note in notes(board):
        lines += ["", note]
    if board.get("pairs"):
        head = ["pair", *(COLUMNS[metric] for metric in PAIR_METRICS), "P(more profit)"]
        lines += ["", _markdown_row(head), _markdown_row(["---", *["---:"] * (len(head) - 1)])]
    for pair, metrics in board.get("pairs", {}).items():
        cells = [format_interval(metrics[metric], metric) for metric in PAIR_METRICS]
        p_improvement = metrics["incremental_profit_usd"]["p_improvement"]
        cells.append("n/a" if p_improvement is None else f"{p_improvement:.3f}")
        lines.append(_markdown_row([pair.replace("|", "\\|"), *cells]))
    return "\n".join(lines) + "\n"


def format_value(value: float | None, metric: str) -> str:
    """One figure the way people write it, in the metric's unit.

    >>> format_value(-1234.5, "spend_usd"), format_value(0.934, "spend_share"), format_value(None, "roas")
    ('-$1,234', '93.4 %', 'n/a')
    """
    if value is None or not np.isfinite(value):
        return "n/a"
    if metric.endswith("_usd"):
        digits = 0 if abs(value) >= 100 else 2
        return f"{'-' if value < 0 else ''}${abs(value):,.{digits}f}"
    if metric.endswith(("_share", "_rate", "_closed")) or metric.startswith("probability_"):
        return f"{100 * value:.1f} %"
    return f"{value:,.2f}" if metric.endswith("roas") else f"{value:,.1f}"


def format_interval(interval: Mapping[str, float | None], metric: str, separator: str = " ") -> str:
    """A figure with its interval; an end without bound is written as infinity.

    >>> format_interval({"mean": 120.0, "low": 90.0, "high": None}, "cac_usd")
    '$120 [$90.00, ∞)'
    """
    mean, low, high = interval["mean"], interval["low"], interval["high"]
    if mean is None or (low is None and high is None):
        return format_value(mean, metric)
    left = "(-∞" if low is None else f"[{format_value(low, metric).removesuffix(' %')}"
    right = "∞)" if high is None else f"{format_value(high, metric).removesuffix(' %')}]"
    return f"{format_value(mean, metric)}{separator}{left}, {right}"


def _rows(board: Mapping[str, Any], metrics: list[str], separator: str) -> list[list[str]]:
    undefined = Interval(None, None, None).as_dict()
    return [
        [policy + marks(board, policy)]
        + [format_interval(board["policies"][policy].get(m, undefined), m, separator) for m in metrics]
        for policy in ranked(board)
    ]


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _checked(policy: str, given: Mapping[str, ArrayLike]) -> dict[str, Floats]:
    missing = sorted(NEEDED_SUMS - given.keys())
    if missing:
        raise BadInput(
            f"results[{policy!r}]",
            sorted(given),
            f"must also have {', '.join(missing)}",
            "Sum them in each world; incremental ones need the twin with our ads off.",
        )
    names = sorted(NEEDED_SUMS | ({EXPECTED_SUM} & given.keys()))
    columns = {name: np.asarray(given[name], dtype=np.float64) for name in names}
    for name, values in columns.items():
        if values.ndim != 1 or values.size != columns["spend_usd"].size or not np.isfinite(values).all():
            raise BadInput(
                f"results[{policy!r}][{name!r}]",
                values.tolist(),
                f"must be one finite number for each of {columns['spend_usd'].size} worlds",
                "Check the run of the world that lacks it.",
            )
    if EXPECTED_SUM in columns:
        columns["expected_profit_usd"] = columns[EXPECTED_SUM] - columns["spend_usd"]
    return columns | {"incremental_profit_usd": columns["incremental_revenue_usd"] - columns["spend_usd"]}


def _compare(sums: dict[str, dict[str, Floats]], baseline: str) -> None:
    """Add to each policy what it gains over the baseline, and what the oracle does, where they were flown."""
    if baseline not in sums:
        return
    least = sums[baseline]["incremental_profit_usd"]
    for columns in sums.values():
        gained = columns["incremental_profit_usd"] - least
        columns["better"] = (gained > 0) + 0.5 * (gained == 0)
        if ORACLE in sums:
            columns["gained"] = gained
            columns["to_gain"] = sums[ORACLE]["incremental_profit_usd"] - least


def worst_mean_interval(
    values: ArrayLike, share: float = 0.1, level: float = 0.95, seed: int = 0, n_resamples: int = 2000
) -> Interval:
    """Mean of the lowest `share` of worlds, at least of one, with its percentile bootstrap interval.

    Args:
        values: (n_worlds,) one finite number per world.
        share: of the worlds, above 0 and at most 1.
        level, seed, n_resamples: as `intervals.mean_interval`.

    >>> worst_mean_interval([5.0] * 9 + [-4.0]).mean
    -4.0
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64))
    if ordered.size == 0:
        return UNDEFINED
    worst = int(np.ceil(share * ordered.size - 1e-9))
    mean = float(ordered[:worst].mean())
    if ordered.size == 1:
        return Interval(mean, None, None)
    drawn = np.random.default_rng(seed).integers(ordered.size, size=(n_resamples, ordered.size))
    drawn.partition(worst - 1, axis=1)  # places in the order: the lowest places are the worst worlds
    means = ordered[drawn[:, :worst]].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high))


def _interval(sums: dict[str, Floats], metric: str, options: dict[str, Any]) -> Interval:
    numerator, denominator = METRICS[metric]
    if numerator not in sums:
        return UNDEFINED
    if metric == "worst_decile_profit_usd":
        return worst_mean_interval(sums[numerator], **options)
    if denominator is None:
        return mean_interval(sums[numerator], **options)
    return ratio_of_sums_interval(sums[numerator], sums[denominator], **options)


def _pair(a: dict[str, Floats], b: dict[str, Floats], metric: str, options: dict[str, Any]) -> PairedInterval:
    numerator, denominator = METRICS[metric]
    options = options | {"lower_is_better": metric in LOWER_IS_BETTER}
    if denominator is None:
        return paired_interval(a[numerator], b[numerator], **options)
    return paired_ratio_interval((a[numerator], a[denominator]), (b[numerator], b[denominator]), **options)
