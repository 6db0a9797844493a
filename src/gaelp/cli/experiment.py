"""`gaelp experiment`: what caused it, and how sure we are."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import JsonOption, out, print_json, say, show

if TYPE_CHECKING:
    from gaelp.measurement.experiments.ab import Counts

experiment_app = typer.Typer(
    help="Tests of two arms, at one look or watched, their size, geo holdouts, and logged decisions.",
    no_args_is_help=True,
)
LevelOption = Annotated[float, typer.Option(help="Of the intervals.")]
AlphaOption = Annotated[float, typer.Option(help="Chance of seeing an effect where there is none.")]
ShareOption = Annotated[float, typer.Option(help="Share of units meant for treatment.")]
FileArgument = Annotated[str, typer.Argument(metavar="FILE", help="A table: CSV, TSV or Parquet.")]


@experiment_app.command("ab")
def ab_command(
    file: Annotated[
        str | None, typer.Argument(metavar="[FILE]", help="A table, one row a unit, instead of counts.")
    ] = None,
    control: Annotated[
        str | None, typer.Option(metavar="TRIALS,SUCCESSES", help="Counts of the control arm.")
    ] = None,
    treatment: Annotated[
        str | None, typer.Option(metavar="TRIALS,SUCCESSES", help="Counts of the treatment arm.")
    ] = None,
    group: Annotated[str | None, typer.Option(metavar="COL", help="FILE: which arm a unit is in.")] = None,
    treated: Annotated[str | None, typer.Option(metavar="VALUE", help="FILE: the treatment arm.")] = None,
    response: Annotated[str | None, typer.Option(metavar="COL", help="FILE: what is compared.")] = None,
    covariate: Annotated[
        list[str] | None,
        typer.Option(metavar="COL", help="FILE: known before the test (CUPED); may be given again."),
    ] = None,
    treated_share: ShareOption = 0.5,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Two arms at one look decided on before: rates by counts, or means (Welch) by a table.

    Counts come with a check that units were dealt as meant; where that fails no other figure can be trusted.
    """
    from gaelp.core.errors import BadInput
    from gaelp.measurement.experiments.report import rates_report

    counts: dict[str, Any] = {"control": control, "treatment": treatment}
    named: dict[str, Any] = {"group": group, "treated": treated, "response": response}
    kind = "counts" if file is None else "a table"
    for name, value in ((named | {"covariate": covariate}) if file is None else counts).items():
        if value:
            remedy = "Give --control and --treatment, or else FILE, --group, --treated and --response."
            raise BadInput(name, value, f"must be left out with {kind}", remedy)
    if file is None:
        result = rates_report(
            _arm("control", control), _arm("treatment", treatment), treated_share=treated_share, level=level
        )
    else:
        for name, value in named.items():
            if value is None:
                raise BadInput(name, None, "must be named for a table", f"Give --{name}.")
        result = _means(
            file, group or "", treated or "", response or "", covariate or [], treated_share, level
        )
    _tell(result, as_json, _AB)


@experiment_app.command("sequential")
def sequential_command(
    control: Annotated[
        list[str],
        typer.Option(metavar="TRIALS,SUCCESSES", help="All counts at a look; again for the next look."),
    ],
    treatment: Annotated[list[str], typer.Option(metavar="TRIALS,SUCCESSES", help="The same looks.")],
    tau: Annotated[
        float | None,
        typer.Option(
            help="About the smallest difference of interest; fix it before the first look.",
            show_default="a tenth of control's rate at the first look",
        ),
    ] = None,
    alpha: AlphaOption = 0.05,
    treated_share: ShareOption = 0.5,
    as_json: JsonOption = False,
) -> None:
    """Two rates watched: p-value and interval hold at every look, and whenever one stops (mSPRT)."""
    from gaelp.measurement.experiments.report import watched_report

    result = watched_report(
        [_arm("control", look) for look in control],
        [_arm("treatment", look) for look in treatment],
        tau=tau,
        alpha=alpha,
        treated_share=treated_share,
    )
    _tell(result, as_json, _SEQUENTIAL)


@experiment_app.command("power")
def power_command(
    base: Annotated[float | None, typer.Option(help="Rate of control, such as 0.03.")] = None,
    lift: Annotated[float | None, typer.Option(help="Relative change of the rate, such as 0.1.")] = None,
    effect: Annotated[float | None, typer.Option(help="Means: change; with --deviation.")] = None,
    deviation: Annotated[float | None, typer.Option(help="Means: standard deviation of a unit.")] = None,
    variance_ratio: Annotated[
        float | None,
        typer.Option(help="Means: variance that CUPED leaves, 1 - corr^2.", show_default="no CUPED"),
    ] = None,
    trials: Annotated[
        float | None, typer.Option(help="Both arms together; tells power and what could be seen.")
    ] = None,
    power: Annotated[float, typer.Option(help="Wanted chance to see the effect.")] = 0.8,
    alpha: AlphaOption = 0.05,
    treated_share: ShareOption = 0.5,
    daily: Annotated[float | None, typer.Option(help="Trials a day in both arms; tells the days.")] = None,
    as_json: JsonOption = False,
) -> None:
    """How many trials and days show an effect, or what some trials would show (two-sided, one look)."""
    from gaelp.measurement.experiments.report import power_report

    result = power_report(
        base=base,
        lift=lift,
        effect=effect,
        deviation=deviation,
        variance_ratio=variance_ratio,
        trials=trials,
        power=power,
        alpha=alpha,
        treated_share=treated_share,
        daily=daily,
    )
    _tell(result, as_json, _POWER)


@experiment_app.command("geo")
def geo_command(
    file: FileArgument,
    geo: Annotated[str, typer.Option(metavar="COL", help="The region.")],
    date: Annotated[str, typer.Option(metavar="COL", help="The day.")],
    response: Annotated[str, typer.Option(metavar="COL", help="What was sold there that day.")],
    cost: Annotated[str, typer.Option(metavar="COL", help="What was spent there that day.")],
    pre: Annotated[str, typer.Option(metavar="FROM:TO", help="Days before the test, both included.")],
    test: Annotated[str, typer.Option(metavar="FROM:TO", help="Days of the test, both included.")],
    group: Annotated[
        str | None,
        typer.Option(
            metavar="COL", help="The region's group.", show_default="treated where cost > 0 in the test"
        ),
    ] = None,
    treated: Annotated[str | None, typer.Option(metavar="VALUE", help="The treated group.")] = None,
    by: Annotated[str, typer.Option(metavar="days|regions", help="What the regression runs over.")] = "days",
    population: Annotated[
        str | None, typer.Option(metavar="COL", help="People of the region; with --by regions.")
    ] = None,
    level: LevelOption = 0.95,
    placebos: Annotated[int, typer.Option(min=19, max=99_999, help="Random deals of regions.")] = 999,
    seed: Annotated[int, typer.Option(min=0, help="Names the deals.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """A geo holdout: incremental response per dollar, its interval, and a placebo p-value.

    By days the regions' sums are compared day by day, which needs days that sell much; by regions each region
    is compared with itself before the test, which needs its people. Warns where days do not tell.
    """
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known
    from gaelp.journeys.columns import days, names, numbers, read_columns
    from gaelp.measurement.experiments.geo import geo_lift, group_of, panel, people_of, window

    require_known("by", by, ("days", "regions"))
    if (population is None) == (by == "regions"):
        allowed = "must be named with --by regions, and only then"
        remedy = "Give --population COL." if population is None else "Leave it out, or give --by regions."
        raise BadInput("population", population, allowed, remedy)
    asked = (geo, date, response, cost, group, population)
    cells = read_columns(file, [name for name in asked if name is not None])
    region = names(geo, cells[geo])
    regions = panel(
        region, days(date, cells[date]), numbers(response, cells[response]), numbers(cost, cells[cost])
    )
    chosen = None
    if group is not None or treated is not None:
        groups = names(group, cells[group]) if group else None
        chosen = group_of(regions, region, groups, treated)
    people = None
    if population is not None:
        people = people_of(regions, region, numbers(population, cells[population]))
    result = geo_lift(
        regions,
        window("pre", pre),
        window("test", test),
        chosen,
        people=people,
        level=level,
        n_placebos=placebos,
        seed=seed,
    )
    _tell(result, as_json, _GEO)


@experiment_app.command("ope")
def ope_command(
    file: FileArgument,
    reward: Annotated[str, typer.Option(metavar="COL", help="What the logged choice earned.")],
    propensity: Annotated[str, typer.Option(metavar="COL", help="The chance with which it was made.")],
    action: Annotated[str, typer.Option(metavar="COL", help="The choice.")],
    target: Annotated[
        str,
        typer.Option(
            metavar="uniform|FILE",
            help="The policy asked about; a FILE has --action's and --context's columns and `probability`.",
        ),
    ],
    context: Annotated[
        list[str] | None,
        typer.Option(metavar="COL", help="What it, and mean rewards, depend on; may be given again."),
    ] = None,
    level: LevelOption = 0.95,
    as_json: JsonOption = False,
) -> None:
    """What another policy would have earned, from a log with propensities (IPS, SNIPS, DR).

    Refused where the effective sample size is under 100.
    """
    from gaelp.journeys.columns import names, numbers, read_columns, require, texts
    from gaelp.measurement.experiments.off_policy import (
        PROPENSITY,
        checked_target,
        is_propensity,
        joined,
        off_policy,
        uniform_target,
    )

    by = context or []
    log = read_columns(file, [reward, propensity, action, *by])
    earned, chance = numbers(reward, log[reward]), numbers(propensity, log[propensity])
    require(propensity, log[propensity], is_propensity(chance), *PROPENSITY)
    actions = names(action, log[action])
    contexts = joined([texts(name, log[name]) for name in by], actions.size)
    if target == "uniform":
        wanted = uniform_target(contexts, actions)
    else:
        rows = read_columns(target, [action, "probability", *by])
        probability = numbers("probability", rows["probability"], 0.0, 1.0)
        situations = joined([texts(name, rows[name]) for name in by], probability.size)
        wanted = checked_target(situations, names(action, rows[action]), probability)
    result = off_policy(earned, chance, actions, wanted, contexts, level=level)
    _tell(result, as_json, _OPE)


def _arm(name: str, text: str | None) -> "Counts":
    from gaelp.core.errors import BadInput
    from gaelp.measurement.experiments.ab import checked_counts

    try:
        return checked_counts(name, [float(part) for part in (text or "").split(",")])
    except BadInput as error:
        raise BadInput(name, text, error.allowed, error.remedy) from None
    except ValueError:
        raise BadInput(name, text, "must be TRIALS,SUCCESSES", f"Write it like --{name} 10000,310.") from None


def _means(
    file: str,
    group: str,
    treated: str,
    response: str,
    covariates: Sequence[str],
    treated_share: float,
    level: float,
) -> dict[str, Any]:
    import numpy as np

    from gaelp.journeys.columns import names, numbers, read_columns
    from gaelp.measurement.experiments.report import means_report

    cells = read_columns(file, [group, response, *covariates])
    known = [numbers(name, cells[name]) for name in covariates]
    return means_report(
        numbers(response, cells[response]),
        names(group, cells[group]),
        treated,
        np.column_stack(known) if known else None,
        treated_share=treated_share,
        level=level,
    )


_AB = {
    "difference": "treatment less control",
    "low": "from",
    "high": "to",
    "lift": "relative lift",
    "z": "z",
    "t": "t",
    "p_value": "p-value",
    "variance_ratio": "variance left by CUPED",
    "srm_p_value": "p-value that units were dealt as meant",
    "trusted": "dealt as meant",
}
_SEQUENTIAL = {
    "looks": "looks",
    "difference": "treatment less control",
    "low": "from, at any look",
    "high": "to, at any look",
    "p_value": "always-valid p-value",
    "decision": "decision",
    "tau": "tau",
    "srm_p_value": "p-value that units were dealt as meant",
    "trusted": "dealt as meant",
}
_POWER = {
    "trials": "trials in both arms",
    "trials_control": "in control",
    "trials_treatment": "in treatment",
    "power": "power",
    "effect": "effect",
    "detectable": "smallest effect seen with the wanted power",
    "days": "days",
}
_GEO = {
    "iroas": "incremental response per dollar",
    "low": "from",
    "high": "to",
    "effect": "incremental response",
    "effect_low": "from",
    "effect_high": "to",
    "incremental_cost": "incremental cost",
    "lift": "relative lift",
    "placebo_p": "placebo p-value",
    "by": "regression over",
    "carried": "weight on sales before",
    "slope": "slope on control",
    "r_squared": "fit before the test, R squared",
    "residual_autocorrelation": "autocorrelation of its residuals",
    "geos_treated": "regions treated",
    "geos_control": "regions in control",
    "absent_rows": "rows absent, counted as nothing sold",
}
_OPE = {
    "ips": "IPS",
    "snips": "SNIPS",
    "dr": "DR",
    "logged": "the log's own mean reward",
    "effective_sample_size": "effective sample size",
    "max_weight": "largest weight",
    "mean_weight": "mean weight, near 1 where propensities are right",
    "refused": "refused",
    "reason": "reason",
}


def _tell(result: Mapping[str, Any], as_json: bool, labels: Mapping[str, str]) -> None:
    if as_json:
        print_json(result)
        return
    if result.get("trusted") is False:
        say("units were not dealt as meant (sample-ratio mismatch): find out why before believing a figure")
    from rich.table import Table

    shown = Table(box=None, show_header=False, pad_edge=False)
    for key, label in labels.items():
        if key not in result or (result[key] is None and key == "reason"):
            continue
        ends = (result.get("intervals") or {}).get(key)
        span = f"  ({show(ends[0])} to {show(ends[1])})" if ends else ""
        shown.add_row(label, f"{show(result[key])}{span}")
    console = out()
    console.print(shown)
    for warning in result.get("warnings", ()):
        console.print(f"warning: {warning}", highlight=False, soft_wrap=True)
