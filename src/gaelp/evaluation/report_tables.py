"""The report's tables and words as HTML; everything that comes from data is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from gaelp.evaluation.leaderboard import (
    COLUMNS,
    PAIR_METRICS,
    format_interval,
    format_value,
    marks,
    notes,
    ranked,
)
from gaelp.evaluation.report_charts import Colours

Interval = Mapping[str, float | None]

UNDEFINED: Interval = {"mean": None, "low": None, "high": None}
_MEANS_ONLY = frozenset({"win_rate", "impression_share"})  # their intervals are too narrow to tell anything


def as_interval(value: Any) -> Interval:
    """A {mean, low, high} as it is; a bare number as one whose ends are not known."""
    if isinstance(value, Mapping):
        return {key: value.get(key) for key in UNDEFINED}
    return {"mean": value, "low": None, "high": None}


def leaderboard_table(board: Mapping[str, Any], colours: Colours) -> str:
    """Every policy, best incremental profit first, each figure over its interval."""
    rows = []
    for policy in ranked(board):
        metrics = board["policies"][policy]
        name = _dot(colours.policy(policy)) + escape(policy) + marks(board, policy)
        figures = {metric: as_interval(metrics.get(metric)) for metric in COLUMNS}
        rows.append(
            [name]
            + [
                format_value(interval["mean"], metric) if metric in _MEANS_ONLY else _figure(interval, metric)
                for metric, interval in figures.items()
            ]
        )
    explained = "".join(f'<p class="note">{note}</p>' for note in notes(board))
    return table(["policy", *COLUMNS.values()], rows) + explained


def families_table(boards: Mapping[str, Any], policies: Sequence[str]) -> str:
    """Incremental profit by family and policy, each figure over its interval."""
    metric = "incremental_profit_usd"
    rows = [
        [escape(family), *(_figure(board["policies"][policy].get(metric), metric) for policy in policies)]
        for family, board in boards.items()
    ]
    return table(["family", *policies], rows)


def pairs_table(board: Mapping[str, Any]) -> str:
    """Differences between two policies on the same worlds, and what they allow one to say."""
    rows = []
    for pair, metrics in board.get("pairs", {}).items():
        profit = metrics.get("incremental_profit_usd", {})
        chance = profit.get("p_improvement")
        cells = [_figure(metrics.get(metric), metric) for metric in PAIR_METRICS]
        rows.append(
            [escape(pair), *cells, "n/a" if chance is None else f"{100 * chance:.1f} %", _say(profit)]
        )
    named = [COLUMNS[metric] for metric in PAIR_METRICS]
    head = ["pair", *named, "resamples with more profit", "verdict on profit"]
    return table(head, rows) if rows else ""


def channels_table(rows: Sequence[Mapping[str, Any]], colours: Colours) -> str:
    """Each channel: spend, what the platform claims, what the twin shows."""
    cells = [
        [
            _dot(colours.channel(row["channel"])) + escape(str(row["channel"])),
            format_value(row.get("spend_usd"), "spend_usd"),
            format_value(row.get("attributed_conversions"), "conversions"),
            _figure(row.get("incremental_conversions"), "incremental_conversions"),
            format_value(row.get("attributed_cac_usd"), "cac_usd"),
            _figure(row.get("incremental_cac_usd"), "incremental_cac_usd"),
        ]
        for row in rows
    ]
    return table(
        [
            "channel",
            "spend",
            "attributed conversions",
            "incremental conversions",
            "attributed CAC",
            "incremental CAC",
        ],
        cells,
    )


def arms_table(arms: Sequence[Mapping[str, Any]]) -> str:
    """The parts of the lag's mixture."""
    rows = [
        [escape(str(arm["name"])), _share(arm.get("weight")), _decimal(arm.get("mean_days"), 1)]
        for arm in arms
    ]
    return table(["arm", "share of decisions", "mean lag, days"], rows, narrow=True) if rows else ""


def targets_table(targets: Sequence[Mapping[str, Any]]) -> str:
    """Every measured target beside what the market produced, with where it fell in the range."""
    rows = []
    for target in targets:
        low, high, simulated = target.get("low"), target.get("high"), target.get("simulated")
        limits = f"{_number(low, '-∞')} to {_number(high, '∞')}"
        rows.append(
            [
                escape(str(target["name"])),
                _number(simulated, "n/a"),
                limits,
                escape(str(target.get("unit") or "")),
                _strip(low, high, simulated),
                _badge(target.get("ok"), simulated),
                f'<span class="source">{escape(str(target.get("source") or ""))}</span>',
            ]
        )
    return table(
        ["target", "simulated", "allowed", "unit", "position", "verdict", "source"], rows, text=(3, 6)
    )


def table(
    head: Sequence[str], rows: Iterable[Sequence[str]], text: tuple[int, ...] = (), narrow: bool = False
) -> str:
    """An HTML table of cells that are HTML already; it scrolls sideways where the screen is narrow.

    Args:
        head: column names.
        rows: cells, the first one names the row.
        text: columns of words, set to the left.
        narrow: not as wide as the page.
    """
    side = [' class="text"' if i in text else "" for i in range(len(head))]
    cells = "".join(
        f'<th scope="col"{place}>{escape(name)}</th>' for name, place in zip(head, side, strict=True)
    )
    body = "".join(
        f'<tr><th scope="row">{row[0]}</th>'
        + "".join(f"<td{place}>{cell}</td>" for cell, place in zip(row[1:], side[1:], strict=True))
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table class="{"narrow" if narrow else "full"}">'
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def panel(heading: str, colour: str, body: str) -> str:
    """One of several small charts, under a heading with the colour of what it shows."""
    return f"<div class=panel><h4>{_dot(colour)}{escape(heading)}</h4>{body}</div>"


def _dot(colour: str) -> str:
    return f'<i class="dot" style="background:var(--{colour})"></i>'


def _figure(value: Any, metric: str) -> str:
    interval = as_interval(value)
    written = format_interval(interval, metric, separator="\n").split("\n")
    ends = f"<small>{escape(written[1])}</small>" if len(written) > 1 else ""
    return f"{escape(written[0])}{ends}"


def _say(profit: Interval) -> str:
    low, high = profit.get("low"), profit.get("high")
    if low is None or high is None:
        return "not determined"
    if low > 0:
        return '<b class="good">better</b>'
    return '<b class="bad">worse</b>' if high < 0 else "no difference shown"


def _badge(ok: Any, simulated: float | None) -> str:
    if simulated is None or ok is None:
        return '<b class="badge">no data</b>'
    return '<b class="badge good">✓ within</b>' if ok else '<b class="badge bad">✗ outside</b>'


def _strip(low: float | None, high: float | None, simulated: float | None) -> str:
    """The allowed range as a band in the middle half, the simulated value as a mark."""
    if low is None or high is None or simulated is None or high <= low:
        return ""
    at = 25 + 50 * (simulated - low) / (high - low)
    side = " off" if not 0 <= at <= 100 else ""
    return f'<span class="strip{side}"><i style="left:{min(max(at, 0), 100):.1f}%"></i></span>'


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f} %"


def _decimal(value: float | None, digits: int) -> str:
    return "n/a" if value is None else f"{value:,.{digits}f}"


def _number(value: float | None, otherwise: str) -> str:
    return otherwise if value is None else f"{value:,.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
