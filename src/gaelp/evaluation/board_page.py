"""The board report as one self-contained HTML page, and its answers in a few sentences."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from typing import Any

from gaelp.core.files import write_text_atomic
from gaelp.core.plain import plain
from gaelp.evaluation import board_charts as drawn
from gaelp.evaluation import report_tables as tables
from gaelp.evaluation.report import assembled
from gaelp.evaluation.report_page import NoData, Page, or_no_data, reading, source
from gaelp.prediction.board import CTR, CVR
from gaelp.prediction.board_figures import CANNOT, MET, MISSED, NO_DATA

Found = Mapping[str, Any]

RATES = {CTR: "click rates", CVR: "conversion rates"}
"""What each target's predictions are of."""
TRIALS = {CTR: "impressions", CVR: "clicks"}
"""What each target's trials are."""
_RECENT = "database of predictions, {first} to {last}"


def figures_of(found: Found) -> list[tuple[str, Mapping[str, Any]]]:
    """(title, `Judged` as a dictionary) of each figure with a target, as of `prediction.board.board`."""
    named = [("accuracy of ROAS", found["roas"]["figure"])]
    for target, rates in RATES.items():
        figures = found["targets"][target]["figures"]
        named += [(f"R² of {rates}", figures["r2"]), (f"MAE of {rates}", figures["mae"])]
    return named


def sentences(found: Found) -> list[str]:
    """The answers in a few sentences; `found` as of `prediction.board.board`."""
    said = []
    for title, figure in figures_of(found):
        if figure["verdict"] == NO_DATA:
            continue
        shown = partial(show, figure["name"])
        said.append(
            f"{_sentence_case(title)} was {shown(figure['value'])}; the target is {_asks(figure)}, and a"
            f" perfect model would show {shown(figure['best'])}: {told(figure)}."
        )
    empty = [title for title, figure in figures_of(found) if figure["verdict"] == NO_DATA]
    if empty:
        said.append(f"No data, so no verdict: {', '.join(empty)}.")
    said.append(_reliability_said(found["reliability"]))
    money = found["money"]
    if money["usd"] is None:
        said.append(f"What retraining was worth cannot be told: {money['reason']}.")
    else:
        said.append(
            f"Retraining was worth an estimated {_usd(money['usd'])} ({_usd(money['usd_low'])} to"
            f" {_usd(money['usd_high'])}) in these days, if impressions won grow as the bid to the power"
            f" {money['bid_elasticity']:g}."
        )
    return said


def show(name: str, value: float | None) -> str:
    """A figure of `Judged` the way people read it; `name` as there."""
    if value is None:
        return "n/a"
    if name == "mae":
        return f"{value:z.4f}"
    return f"{100 * value:.1f} %" if name == "roas_accuracy" else f"{value:z.2f}"


def told(figure: Mapping[str, Any]) -> str:
    """A verdict in words, with what it does not say by itself."""
    verdict = str(figure["verdict"])
    if verdict == MET and _meets(figure, "useless"):
        return f"{verdict}, as it would be knowing nothing"
    if verdict == MET and figure["is_luck"] is False:
        return f"{verdict}, yet worse than luck explains"
    if verdict == MISSED and not _meets(figure, "best"):
        return f"{verdict}, and out of reach at these impressions"
    return verdict


def render(head: Mapping[str, Any], found: Found) -> str:
    """Write the page.

    Args:
        head: `title`, `created`, `commit`, `command`. found: as of `prediction.board.board`.

    Returns:
        A whole HTML document.
    """
    page = Page(plain({**head, "summary": sentences(found)}))
    parts: dict[str, tuple[str, str, Callable[[], str]]] = {
        "verdicts": ("Verdicts", "Each figure beside its target and beside luck", lambda: _verdicts(found)),
        **{
            target: (
                rates.capitalize(),
                f"Accuracy of {rates} by day",
                partial(_daily, page, found, target),
            )
            for target, rates in RATES.items()
        },
        "roas": ("ROAS", "Return on ad spend, foretold and realised", partial(_roas, page, found)),
        "retrainings": ("Retrainings", "R² before and after each retraining", partial(_runs, page, found)),
        "reliability": ("Reliability", "How reliably the loop ran", partial(_reliability, found)),
        "money": ("Money", "What retraining is estimated to have been worth", partial(_money, page, found)),
    }
    body = "".join(
        f'<section id="{name}"><h2>{escape(title)}</h2>{or_no_data(build)}</section>'
        for name, (_, title, build) in parts.items()
    )
    links = "".join(f'<a href="#{name}">{escape(short)}</a>' for name, (short, _, _) in parts.items())
    return assembled(page, str(head.get("title", "Board report")), links, body)


def write(path: str | os.PathLike[str], head: Mapping[str, Any], found: Found) -> None:
    """Render and write the page whole or not at all; see `render`."""
    write_text_atomic(path, render(head, found))


def _verdicts(found: Found) -> str:
    rows = []
    for title, figure in figures_of(found):
        shown = partial(show, figure["name"])
        rows.append(
            [
                escape(title),
                shown(figure["value"]),
                _asks(figure),
                f"{shown(figure['best'])}<small>1 in 20 beyond {shown(figure['luck'])}</small>"
                if figure["best"] is not None
                else "n/a",
                shown(figure["useless"]),
                _needed(figure),
                _badge(figure),
            ]
        )
    head = ["figure", "seen", "target", "a perfect model", "knowing nothing", "takes", "verdict"]
    return reading(
        "A perfect model predicts every rate exactly, and clicks still come by chance. What it would show at"
        " these impressions is the best that any model can. Knowing nothing is to say the overall rate of"
        " every creative. “Takes” is what a perfect model needs to meet the target; a row is"
        " a creative on a day, of impressions for click rates, of clicks for conversion rates."
    ) + tables.table(head, rows, text=(6,))


def _daily(page: Page, found: Found, target: str) -> str:
    rates, moves = found["targets"][target], found["promotions"]
    daily, figures = rates["by_day"], rates["figures"]
    if not daily["day"]:
        raise NoData(f"no outcomes of predictions of {RATES[target]} from {rates['first']} on.")
    charts = (
        ("R², each day beside its ceiling", drawn.r2_by_day(daily, figures["r2"]["target"], moves)),
        ("Mean absolute error, beside its floor", drawn.mae_by_day(daily, figures["mae"]["target"], moves)),
        ("Events for each event predicted", drawn.calibration_by_day(daily, moves)),
        (f"{TRIALS[target].capitalize()} judged", drawn.trials_by_day(daily, TRIALS[target], moves)),
    )
    panels = "".join(
        page.chart(figure, f"{title} of {RATES[target]}", f"<h4>{title}</h4>") for title, figure in charts
    )
    text = (
        "Where the line keeps to the ceiling, the floor or the band, the model is as right as luck allows."
        " Upright lines are promotions and rollbacks."
    )
    return f'{reading(text)}<div class="grid">{panels}</div>{source(_RECENT.format(**rates))}'


def _roas(page: Page, found: Found) -> str:
    roas = found["roas"]
    if not roas["by_day"]["day"]:
        raise NoData("no predictions of conversions that are old enough to be judged.")
    figure = drawn.conversions_by_day(roas["by_day"])
    accuracy = drawn.accuracy_by_day(roas["by_day"], roas["figure"]["target"])
    if roas["predicted"] is None:
        levels = f"ROAS itself cannot be told: {escape(_unknown(roas))}."
    else:
        levels = (
            f"Over all days ROAS was foretold as {roas['predicted']:.2f} and came to {roas['realised']:.2f}:"
            f" {_usd(roas['spend_usd'])} spent ({escape(roas['spend_source'])}), a conversion worth"
            f" {_usd(roas['value_usd'], 2)} ({escape(roas['value_source'])})."
        )
    return (
        reading(
            "Conversions foretold for the clicks that came, beside those that came of them. Value and spend"
            " stand in both and cancel, so accuracy is that of conversions."
        )
        + f"<p class=reading>{levels}</p>"
        + '<div class="grid">'
        + page.chart(figure, "Conversions by day", "<h4>Conversions, foretold and seen</h4>")
        + page.chart(accuracy, "Accuracy of ROAS by day", "<h4>Accuracy by day, beside luck</h4>")
        + "</div>"
        + source(_RECENT.format(**roas))
    )


def _runs(page: Page, found: Found) -> str:
    runs = found["retrains"]
    if not runs:
        raise NoData("no challenger was trained or judged in these days.")
    rows = []
    for run in runs:
        rows.append(
            [
                escape(str(run["started"])[:16].replace("T", " ")),
                escape(str(run["challenger"])),
                escape(run["status"].replace("_", " ")),
                f"{show('r2', run['r2']['before'])} → {show('r2', run['r2']['after'])}",
                show("r2", run["r2"]["best"]),
                f"{show('mae', run['mae']['before'])} → {show('mae', run['mae']['after'])}",
                _share(run["gain"])
                + (f"<small>at least {_share(run['gain_low'])}</small>" if run["gain"] is not None else ""),
                _seconds(run["training_s"]),
                escape(run["r2"]["verdict"]),
            ]
        )
    head = ["began", "version", "came to", "R²", "ceiling", "MAE", "logloss saved", "training", "R² target"]
    chart = ""
    if any(run["r2"]["after"] is not None for run in runs):
        chart = page.chart(drawn.r2_by_run(runs), "R² before and after each retraining")
    return (
        reading(
            "Champion and challenger on the same days, which neither has learnt from. R² of different"
            " retrainings differs with the impressions of those days: compare before with after."
        )
        + chart
        + tables.table(head, rows, text=(1, 2, 8))
    )


def _reliability(found: Found) -> str:
    told = found["reliability"]
    if not told["runs"]:
        raise NoData("the loop did not run in these days.")
    success, seconds = told["success"], told["training_s"]
    ends = f"{_share(success['low'])} to {_share(success['high'])}"
    tiles = [
        (_share(success["value"]), ends, "of runs ended well"),
        (f"{told['runs']}", f"{told['running']} still on", "runs"),
        (f"{told['errors_a_week']:.1f}", f"{told['errors']} in all, {told['died']} died", "errors a week"),
        (_seconds(seconds["mean"]), f"longest {_seconds(seconds['longest'])}", "mean training time"),
        (f"{told['promoted']} of {told['trainings']}", "", "models trained were promoted"),
    ]  # fmt: skip
    shown = "".join(
        f"<div class=tile><b>{escape(value)}</b><small>{escape(small)}</small><span>{caption}</span></div>"
        for value, small, caption in tiles
    )
    rows = [[escape(name.replace("_", " ")), str(count)] for name, count in told["by_status"].items()]
    return f'<div class=tiles style="--mark:var(--sim)">{shown}</div>' + tables.table(
        ["runs came to", "times"], rows, narrow=True
    )


def _money(page: Page, found: Found) -> str:
    money = found["money"]
    taken = "".join(f"<li>{escape(each)}</li>" for each in money["assumptions"])
    formula = (
        "<p class=reading>Money saved = spend × (1 + elasticity) × logloss saved, in nats per event on the"
        f" same outcomes. Elasticity: {money['bid_elasticity']:g}. Spend: {escape(money['spend_source'])}."
        "</p>"
    )
    granted = f"<h3>What this takes for granted</h3><ul class=summary>{taken}</ul>"
    if money["usd"] is None:
        return or_no_data(partial(_raise, f"it cannot be told: {money['reason']}.")) + formula + granted
    known = [each for each in money["promotions"] if each["usd"] is not None]
    rows = [
        [
            escape(f"{each['version']} over {each['over'] or 'none'}"),
            escape(str(each["at"])[:10]),
            str(each["days"]),
            _usd(each["spend_usd"]),
            "n/a" if each["nats_per_event"] is None else f"{each['nats_per_event']:.4f}",
            f"{_usd(each['usd'])}<small>{_usd(each['usd_low'])} to {_usd(each['usd_high'])}</small>"
            if each["usd"] is not None
            else "cannot be told",
            escape(each["reason"] or f"{each['basis']}, {each['events']:,} events"),
        ]
        for each in money["promotions"]
    ]
    head = ["promoted", "on", "days since", "spend", "nats per event", "worth, 98 %", "by"]
    figure = drawn.worth(known, money)
    chart = page.chart(figure, "Worth of each promotion")
    return formula + chart + tables.table(head, rows, text=(6,)) + granted


def _raise(reason: str) -> str:
    raise NoData(reason)


def _reliability_said(told: Found) -> str:
    if told["success"]["value"] is None:
        return "The retraining loop ended no run in these days."
    success, seconds = told["success"], told["training_s"]["mean"]
    trained = f"; training took {_seconds(seconds)} on average" if seconds is not None else ""
    runs = "1 run" if told["runs"] == 1 else f"{told['runs']} runs"
    return (
        f"{runs}, {told['errors']} with an error: {_share(success['value'])} ended well"
        f" ({_share(success['low'])} to {_share(success['high'])}){trained}."
    )


def _asks(figure: Mapping[str, Any]) -> str:
    sign = "at least" if figure["at_least"] else "at most"
    return f"{sign} {show('r2' if figure['name'] != 'roas_accuracy' else figure['name'], figure['target'])}"


def _meets(figure: Mapping[str, Any], which: str) -> bool:
    value, target = figure[which], figure["target"]
    return value is not None and bool(value >= target if figure["at_least"] else value <= target)


def _needed(figure: Mapping[str, Any]) -> str:
    needed = figure["needed"]
    if needed is None:
        return "n/a"
    if figure["name"] == "roas_accuracy":
        return f"{needed:,.0f} conversions<small>has {figure['events']:,}</small>"
    return f"{needed:,.0f} a row<small>has {figure['trials'] / figure['rows']:,.0f}</small>"


def _badge(figure: Mapping[str, Any]) -> str:
    verdict = figure["verdict"]
    tone = {MET: " good", MISSED: " bad"}.get(verdict, "")
    mark = {MET: "✓ ", MISSED: "✗ ", CANNOT: "– "}.get(verdict, "")
    return f'<b class="badge{tone}">{mark}{escape(told(figure))}</b>'


def _unknown(roas: Found) -> str:
    reasons: Sequence[tuple[Any, str]] = (
        (roas["value_usd"], f"value of a conversion: {roas['value_source']}"),
        (roas["spend_usd"], f"spend: {roas['spend_source']}"),
    )
    return "; ".join(reason for value, reason in reasons if not value)


def _sentence_case(title: str) -> str:
    return title[:1].upper() + title[1:]


def _usd(value: float, digits: int = 0) -> str:
    return f"{'-' if value < 0 else ''}${abs(value):,.{digits}f}"


def _share(value: float | None) -> str:
    return "n/a" if value is None else f"{100 * value:.1f} %"


def _seconds(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.1f} s" if value < 120 else f"{value / 60:.0f} min"
