"""Charts of the board report as plain Plotly figures, in the style of `report_charts`."""

from collections.abc import Mapping, Sequence
from typing import Any

from gaelp.evaluation import report_charts as charts

Daily = Mapping[str, list[Any]]
Moves = Sequence[Mapping[str, Any]]
_TWO_SIDED = 1.96
_LOWEST_R2 = -1.0


def r2_by_day(daily: Daily, target: float, moves: Moves) -> charts.Figure:
    """R² of each day and its ceiling; `daily` as of `board_figures.rates_by_day`, days in ISO 8601."""
    seen = sorted(value for value in daily["r2"] if value is not None)
    options: dict[str, Any] = {"tickformat": ".2f"}
    if seen and seen[0] < _LOWEST_R2:  # a few wild days leave the plot
        options["range"] = [1.1 * min(seen[len(seen) // 10], _LOWEST_R2), 1.05]
    lines = [
        _line(daily["day"], daily["r2_best"], "a perfect model", "muted", dash="dash"),
        _line(daily["day"], daily["r2"], "seen", "sim"),
    ]
    return _figure(lines, "R²", target, moves, **options)


def mae_by_day(daily: Daily, target: float, moves: Moves) -> charts.Figure:
    """Mean absolute error of each day above its floor, and where luck ends for 19 perfect models in 20."""
    lines = [
        _line(daily["day"], daily["mae_luck"], "19 in 20 of them below", "muted/0.5", width=1),
        _line(daily["day"], daily["mae_best"], "a perfect model", "muted", dash="dash")
        | {"fill": "tonexty", "fillcolor": "@muted/0.15"},
        _line(daily["day"], daily["mae"], "seen", "sim"),
    ]
    return _figure(lines, "mean absolute error", target, moves, tickformat=".4~f", rangemode="tozero")


def calibration_by_day(daily: Daily, moves: Moves) -> charts.Figure:
    """Events seen for each event predicted, in the band of 95 % of right predictions."""
    reach = [_TWO_SIDED * noise for noise in daily["calibration_noise"]]
    lines = _band(daily["day"], [max(1 - r, 0) for r in reach], [1 + r for r in reach])
    lines.append(_line(daily["day"], daily["calibration"], "seen", "sim"))
    return _figure(lines, "events for each predicted", None, moves, tickformat=".2f")


def trials_by_day(daily: Daily, title: str, moves: Moves) -> charts.Figure:
    """How many trials each day is judged on; `title` of the axis."""
    lines = [_line(daily["day"], daily["trials"], title, "sim")]
    return _figure(lines, title, None, moves, rangemode="tozero")


def conversions_by_day(daily: Daily) -> charts.Figure:
    """Conversions of each day's clicks in the band of 95 % of right forecasts."""
    pairs = list(zip(daily["predicted"], daily["noise"], strict=True))
    low = [max(mean - _TWO_SIDED * noise, 0) for mean, noise in pairs]
    lines = _band(daily["day"], low, [mean + _TWO_SIDED * noise for mean, noise in pairs])
    lines += [
        _line(daily["day"], daily["predicted"], "foretold", "muted", dash="dash"),
        _line(daily["day"], daily["conversions"], "seen", "sim"),
    ]
    return _figure(lines, "conversions", None, (), tickformat=",", rangemode="tozero")


def accuracy_by_day(daily: Daily, target: float) -> charts.Figure:
    """Accuracy of ROAS of each day beside what a perfect model shows on average."""
    lines = [
        _line(daily["day"], daily["best"], "a perfect model", "muted", dash="dash"),
        _line(daily["day"], daily["accuracy"], "seen", "sim"),
    ]
    return _figure(lines, "accuracy of ROAS", target, (), tickformat=".0%")


def r2_by_run(runs: Sequence[Mapping[str, Any]]) -> charts.Figure:
    """R² of champion and challenger of each retraining, and the ceiling on those days."""
    judged = [run for run in runs if run["r2"]["after"] is not None]
    names = [f"{charts.label(run['challenger'])}<br>{str(run['started'])[:10]}" for run in judged]
    at = list(range(len(judged)))
    marks: list[charts.Figure] = []
    for side, name, colour, symbol in (
        ("best", "a perfect model", "muted", "line-ew"),
        ("before", "champion before", "c6", "circle-open"),
        ("after", "challenger", "sim", "circle"),
    ):
        line = {"width": 3 if side == "best" else 2, "color": f"@{colour}"}
        marks.append(
            {
                "type": "scatter",
                "mode": "markers",
                "name": name,
                "x": at,
                "y": [run["r2"][side] for run in judged],
                "marker": {"symbol": symbol, "size": 26 if side == "best" else 12, "color": f"@{colour}"}
                | {"line": line},
                "hovertemplate": "%{y:.3f}<extra>%{fullData.name}</extra>",
            }
        )
    axis = {"tickvals": at, "ticktext": names, "range": [-0.6, len(at) - 0.4], "showgrid": False}
    layout = charts.layout_of(
        340,
        xaxis=charts.axis_style("", **axis, zeroline=False),
        yaxis=charts.axis_style("R²", tickformat=".2f"),
    )
    return {"data": marks, "layout": layout}


def worth(known: Sequence[Mapping[str, Any]], money: Mapping[str, Any]) -> charts.Figure:
    """What each promotion was worth, and all of them, with their intervals."""
    rows = [(f"{each['version']} over {each['over']}", _ends(each), "sim") for each in known]
    if len(known) > 1:
        rows.append(("all of them", _ends(money), "p0"))
    return charts.forest(rows, x_title="USD in these days, 98 %", lines={"nothing": 0.0}, money=True)


def _ends(each: Mapping[str, Any]) -> dict[str, charts.Number]:
    return {"mean": each["usd"], "low": each["usd_low"], "high": each["usd_high"]}


def _line(days: list[Any], values: list[Any], name: str, colour: str, **style: Any) -> charts.Figure:
    trace = charts.line_trace(days, values, name, colour, hover="%{x}: %{y}", **style)
    return trace | {
        "mode": "lines" if style else "lines+markers",
        "marker": {"size": 5, "color": f"@{colour}"},
    }


def _band(days: list[Any], low: list[Any], high: list[Any]) -> list[charts.Figure]:
    edge = {"width": 0}
    return [
        _line(days, low, "", "muted", width=0) | {"showlegend": False, "hoverinfo": "skip", "line": edge},
        _line(days, high, "19 in 20 if right", "muted", width=0)
        | {"fill": "tonexty", "fillcolor": "@muted/0.18", "line": edge, "hoverinfo": "skip"},
    ]


def _figure(
    lines: list[charts.Figure], title: str, target: float | None, moves: Moves, **axis: Any
) -> charts.Figure:
    shapes, notes = [], []
    first, last = lines[0]["x"][0], lines[0]["x"][-1]
    for move in (each for each in moves if first <= each["day"] <= last):
        at = {"x0": move["day"], "x1": move["day"]}
        shapes.append(charts.vertical(0) | at)
        what = move["version"] if move["action"] == "promote" else f"back to {move['version']}"
        words = charts.label(what + (" (dated ahead)" if move.get("dated_ahead") else ""))
        notes.append(charts.note(words, 0, 1, yref="paper", yanchor="bottom") | {"x": move["day"]})
    if target is not None:
        lines = [
            *lines,
            _line([first, last], [target] * 2, "target", "bad", dash="dot", width=1.5),
        ]
    layout = charts.layout_of(
        330,
        xaxis=charts.axis_style("", type="date", tickformat="%d %b", showgrid=False),
        yaxis=charts.axis_style(title, zeroline=False, **axis),
        shapes=shapes,
        annotations=notes,
        margin={"t": 66, "b": 28},
    )
    layout["legend"] |= {"y": 1.09}  # above the names of the versions
    return {"data": lines, "layout": layout}
