"""The report's tables and words as HTML; everything that comes from data is escaped here."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from gaelp.evaluation.leaderboard import format_interval, format_value, ranked, underspenders
from gaelp.evaluation.report_charts import Colours

Interval = Mapping[str, float | None]

UNDEFINED: Interval = {"mean": None, "low": None, "high": None}
_LEADERBOARD = {
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
_PAIRS = {
    "incremental_profit_usd": "incremental profit",
    "incremental_conversions": "incremental conversions",
    "incremental_cac_usd": "incremental CAC",
}


def as_interval(value: Any) -> Interval:
    """A {mean, low, high} as it is; a bare number as one whose ends are not known."""
    if isinstance(value, Mapping):
        return {key: value.get(key) for key in UNDEFINED}
    return {"mean": value, "low": None, "high": None}


def leaderboard_table(board: Mapping[str, Any], colours: Colours) -> str:
    """Every policy, best incremental profit first, each figure over its interval."""
    marked = underspenders(board)
    rows = []
    for policy in ranked(board):
        metrics = board["policies"][policy]
        name = _dot(colours.policy(policy)) + escape(policy)
        name += '<abbr title="under 90 % of the budget spent">†</abbr>' if policy in marked else ""
        rows.append([name, *(_figure(metrics.get(metric), metric) for metric in _LEADERBOARD)])
    note = "† spent under 90 % of its budget without reaching pacing's conversions: its CAC does not count."
    return table(["policy", *_LEADERBOARD.values()], rows) + (f'<p class="note">{note}</p>' if marked else "")


def pairs_table(board: Mapping[str, Any]) -> str:
    """Differences between two policies on the same worlds, and what they allow one to say."""
    rows = []
    for pair, metrics in board.get("pairs", {}).items():
        profit = metrics.get("incremental_profit_usd", {})
        chance = profit.get("p_improvement")
        cells = [_figure(metrics.get(metric), metric) for metric in _PAIRS]
        rows.append(
            [escape(pair), *cells, "n/a" if chance is None else f"{100 * chance:.1f} %", _say(profit)]
        )
    head = ["pair", *_PAIRS.values(), "resamples with more profit", "verdict on profit"]
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
    return table(["arm", "share of decisions", "mean lag, days"], rows) if rows else ""


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
    return table(["target", "simulated", "allowed", "unit", "position", "", "source"], rows, wide=(6,))


def table(head: Sequence[str], rows: Iterable[Sequence[str]], wide: tuple[int, ...] = ()) -> str:
    """An HTML table of cells that are HTML already; it scrolls sideways where the screen is narrow."""
    cells = "".join(f'<th scope="col">{escape(name)}</th>' for name in head)
    body = "".join(
        "<tr>"
        + f'<th scope="row">{row[0]}</th>'
        + "".join(
            f'<td class="text">{cell}</td>' if i in wide else f"<td>{cell}</td>"
            for i, cell in enumerate(row[1:], start=1)
        )
        + "</tr>"
        for row in rows
    )
    return (
        f'<div class="scroll" tabindex="0"><table><thead><tr>{cells}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
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
