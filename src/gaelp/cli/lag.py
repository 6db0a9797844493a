"""`gaelp lag`: how long conversions take, and how many are still to come."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, show


def lag_command(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A table, one row a click: CSV, TSV, Parquet.")],
    duration: Annotated[
        str, typer.Option(metavar="COL", help="Time to the conversion, or watched without one.")
    ],
    event: Annotated[str, typer.Option(metavar="COL", help="1 where the conversion was seen, else 0.")],
    at: Annotated[
        str | None,
        typer.Option(metavar="T,T", help="Times to tell the curve at.", show_default="those of conversions"),
    ] = None,
    horizon: Annotated[
        float | None,
        typer.Option(metavar="T", help="Later conversions count as none by then.", show_default="all count"),
    ] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(metavar="COL", help="Compare and fit by this column; may be given again."),
    ] = None,
    cohort: Annotated[
        str | None, typer.Option(metavar="COL", help="Tell what is still to come by this column.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Names the draws of the nowcast.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """How long conversions take, with clicks that are still open counted for what they are.

    Kaplan-Meier curve, four fits, the age after which a journey can be given up, and conversions to come.
    """
    from gaelp.journeys.columns import flags, names, numbers, read_columns, values
    from gaelp.measurement.lag.summary import lag_summary

    times = _times(at)
    by = covariate or []
    cells = read_columns(file, [duration, event, *by, *([cohort] if cohort else [])])
    result = lag_summary(
        numbers(duration, cells[duration], low=0.0),
        flags(event, cells[event]),
        at=times,
        horizon=horizon,
        covariates={name: values(name, cells[name]) for name in by},
        cohort=names(cohort, cells[cohort]) if cohort else None,
        seed=seed,
    )
    if as_json:
        print_json(result)
    else:
        _print(result, bool(times))


def _times(at: str | None) -> list[float]:
    from gaelp.core.errors import BadInput

    try:
        return [] if at is None else [float(part) for part in at.split(",")]
    except ValueError:
        allowed = "must list numbers with commas between them"
        raise BadInput("at", at, allowed, "Write it like --at 7,14,30.") from None


def _print(result: Mapping[str, Any], asked: bool) -> None:
    from rich import box
    from rich.table import Table

    console = out()
    console.print(
        f"{result['events']:,} conversions of {result['n']:,} clicks; half have converted after"
        f" {show(result['median'])}; mean time open within {show(result['rmst_horizon'])}:"
        f" {show(result['rmst'])}",
        highlight=False,
        soft_wrap=True,
    )
    if asked or len(result["km"]) <= 40:
        curve = Table(title="Not converted yet (Kaplan-Meier)", title_justify="left", box=box.SIMPLE_HEAD)
        for heading in ("after", "share", "95 %"):
            curve.add_column(heading, justify="right")
        for time, share in result["km"].items():
            curve.add_row(time, show(share, "%"), _span(result["km_interval"][time], "%"))
        console.print(curve)
    fits = Table(title="Fits, the lowest AIC fits best", title_justify="left", box=box.SIMPLE_HEAD)
    for heading in ("", "parameters with 95 % intervals", "log-likelihood", "AIC"):
        fits.add_column(
            heading, justify="left" if heading in ("", "parameters with 95 % intervals") else "right"
        )
    for family in ("weibull", "lognormal", "cure_weibull", "mixture"):
        found = result[family]
        if found is not None:
            fits.add_row(family, _parameters(found), f"{found['loglik']:,.2f}", f"{found['aic']:,.2f}")
    console.print(fits)
    _print_to_come(result)
    for name, group in result.get("groups", {}).items():
        console.print(
            f"{name}: log-rank {show(group['log_rank'])}, p = {group['p_value']:.3g};"
            " half have converted after "
            + ", ".join(f"{show(told['median'])} ({value})" for value, told in group["by"].items()),
            highlight=False,
            soft_wrap=True,
        )
    for family, found in result.get("covariates", {}).items():
        if found is not None:
            console.print(
                f"{family} by covariate, p = {found['p_value']:.3g}: "
                + "; ".join(
                    f"{row['column']} on {row['on']} {row['value']:+.3g} {_span([row['low'], row['high']])}"
                    for row in found["coefficients"]
                ),
                highlight=False,
                soft_wrap=True,
            )
    for note in result["notes"]:
        console.print(note, highlight=False, soft_wrap=True)


def _print_to_come(result: Mapping[str, Any]) -> None:
    console, told = out(), result["nowcast"]
    if told is None:
        return
    for name, row in {"still to come": told, **result.get("cohorts", {})}.items():
        console.print(
            f"{name}: {row['to_come']:,.1f} conversions {_span([row['low'], row['high']])} besides"
            f" {row['observed']:,} seen ({result['best']})",
            highlight=False,
            soft_wrap=True,
        )
    ages = ", ".join(f"{float(left):.0%} after {show(age)}" for left, age in result["timeout"].items())
    console.print(f"conversions still to come: {ages}", highlight=False, soft_wrap=True)


def _parameters(found: Mapping[str, Any]) -> str:
    said = []
    for name, ends in found["interval"].items():
        values = found[name] if isinstance(found[name], list) else [found[name]]
        spans = ends if isinstance(found[name], list) else [ends]
        said.append(
            f"{name} " + " and ".join(f"{show(v)} {_span(s)}" for v, s in zip(values, spans, strict=True))
        )
    return ", ".join(said)


def _span(ends: list[float | None], unit: str = "") -> str:
    return f"({show(ends[0], unit)} to {show(ends[1], unit)})"
