"""`gaelp plan`: what it takes to prove what ads are worth, and what the next dollar would bring."""

from collections.abc import Mapping
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    DaysOption,
    JsonOption,
    MarketOption,
    RunoffOption,
    SeedOption,
    UsersOption,
    find_market,
    out,
    print_json,
    progress,
    show,
)

if TYPE_CHECKING:
    from gaelp.evaluation.judge import Terms
    from gaelp.evaluation.suites import NamedPolicy
    from gaelp.market.file import MarketFile

plan_app = typer.Typer(
    help="What it takes to prove a CAC, and what another budget, rival or season would do.",
    no_args_is_help=True,
)
PolicyOption = Annotated[str, typer.Option(help="A policy's name, or a checkpoint's path.")]
WorldsOption = Annotated[int, typer.Option(help="Validation worlds.")]
AccountBudgetOption = Annotated[
    float | None,
    typer.Option(
        help="USD a day of the whole account, all people of the market file; panels get their share of it.",
        show_default="the market file's",
    ),
]
_MOST_HOLDOUT, _LEAST_HOLDOUT = 0.95, 0.01
_BUDGETS = (0.1, 10.0)
_MONTHS = 12
_DEAREST_ACCOUNT = 1e9


@plan_app.command("proof")
def proof_command(
    market: MarketOption = DEFAULT_MARKET,
    policy: PolicyOption = "pacing",
    target_cac: Annotated[float, typer.Option(help="Incremental CAC to be proven to be under, USD.")] = 100.0,
    holdout: Annotated[
        str, typer.Option(metavar="SHARES", help="Shares of people, or regions, without ads.")
    ] = "0.05,0.1,0.2,0.5",
    power: Annotated[float, typer.Option(help="Wanted chance of a proof.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Chance of a proof where the CAC is at the target.")] = 0.05,
    true_cac: Annotated[
        float | None, typer.Option(help="Plan as if this were the true CAC.", show_default="measured")
    ] = None,
    wait_days: Annotated[int, typer.Option(help="Days after the last ad in which sales get booked.")] = 0,
    pre_days: Annotated[int, typer.Option(help="Days of sales by region from before the test.")] = 90,
    account_budget_usd: AccountBudgetOption = None,
    worlds: WorldsOption = 16,
    users: UsersOption = 10_000,
    days: DaysOption = 30,
    runoff_days: RunoffOption = 60,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """How many days and dollars, and what holdout, prove that incremental CAC is under a target.

    The market's rates are measured by flying the policy on validation worlds, with and without ads.
    """
    from gaelp.evaluation.planning import LONGEST_DAYS, measure, plan_proof, world_hours
    from gaelp.market.file import load
    from gaelp.worlds.simulate import compile_market
    from gaelp.worlds.splits import split_worlds

    _check_sizes(worlds, users, days, runoff_days, account_budget_usd)
    _within("target_cac", target_cac, 0.01, 1e6, "USD for one customer")
    _within("power", power, 0.5, 0.999, "the chance of a proof, 0.8 is usual")
    _within("alpha", alpha, 0.0001, 0.5, "the chance of a false proof, 0.05 is usual")
    if true_cac is not None:
        _within("true_cac", true_cac, 0.01, 1e6, "USD for one customer")
    _within("wait_days", wait_days, 0, LONGEST_DAYS, "days")
    _within("pre_days", pre_days, 0, LONGEST_DAYS, "days")
    shares = _numbers("holdout", holdout, _LEAST_HOLDOUT, _MOST_HOLDOUT)
    file = load(find_market(market))
    make = _flyable(policy, file)
    chosen = split_worlds(file, "validation", worlds, seed)
    compile_market(file)
    with progress("flying", world_hours(worlds, days, runoff_days), quiet=as_json) as tick:
        terms = _terms(file, users, days, runoff_days, account_budget_usd, seed)
        measured = measure(chosen, make, terms, tick)
    plan = plan_proof(
        measured,
        shares,
        target_usd=target_cac,
        alpha=alpha,
        power=power,
        wait_days=wait_days,
        pre_days=pre_days,
        true_cac_usd=true_cac,
    )
    budget = file.daily_budget_usd if account_budget_usd is None else account_budget_usd
    result = {
        **_flown(file, make, worlds, users, days, runoff_days, seed),
        "target_cac_usd": target_cac,
        "power": power,
        "alpha": alpha,
        "wait_days": wait_days,
        "pre_days": pre_days,
        "account": {"people": file.people, "daily_budget_usd": budget},
        "rates": measured.evidence,
        **plan,
    }
    if as_json:
        print_json(result)
    else:
        _print_proof(result)


@plan_app.command("scenario")
def scenario_command(
    market: MarketOption = DEFAULT_MARKET,
    policy: PolicyOption = "pacing",
    budgets: Annotated[
        str, typer.Option(metavar="FACTORS", help="Factors on the daily budget.")
    ] = "0.8,1,1.2",
    rival_enters: Annotated[
        bool, typer.Option("--rival-enters", help="Ask what one more rival of mean strength does.")
    ] = False,
    season_months: Annotated[
        int, typer.Option(help="Months by which the flight starts later; 0 does not ask.")
    ] = 0,
    no_channels: Annotated[
        bool, typer.Option("--no-channels", help="Skip the channels, most of the time it takes.")
    ] = False,
    account_budget_usd: AccountBudgetOption = None,
    worlds: WorldsOption = 16,
    users: UsersOption = 10_000,
    days: DaysOption = 30,
    runoff_days: RunoffOption = 60,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """What the next dollar brings by channel and budget, and what a rival or another season would do."""
    from gaelp.evaluation.scenarios import Question, explore, world_hours
    from gaelp.market.file import load
    from gaelp.worlds.simulate import compile_market
    from gaelp.worlds.splits import split_worlds

    _check_sizes(worlds, users, days, runoff_days, account_budget_usd)
    factors = _numbers("budgets", budgets, *_BUDGETS)
    _within("season_months", season_months, -_MONTHS, _MONTHS, "months, or 0 to leave the season")
    question = Question(
        budgets=tuple(factor for factor in factors if factor != 1.0),
        rival_enters=rival_enters,
        season_months=season_months,
        channels=not no_channels,
    )
    file = load(find_market(market))
    make = _flyable(policy, file)
    chosen = split_worlds(file, "validation", worlds, seed)
    compile_market(file)
    with progress("flying", world_hours(worlds, question, days, runoff_days), quiet=as_json) as tick:
        terms = _terms(file, users, days, runoff_days, account_budget_usd, seed)
        answers = explore(chosen, make, question, terms, tick)
    budget = file.daily_budget_usd if account_budget_usd is None else account_budget_usd
    result = {
        **_flown(file, make, worlds, users, days, runoff_days, seed),
        "season_months": season_months,
        "account": {"people": file.people, "daily_budget_usd": budget},
        **answers,
    }
    if as_json:
        print_json(result)
    else:
        _print_scenario(result)


def _check_sizes(worlds: int, users: int, days: int, runoff_days: int, budget: float | None) -> None:
    from gaelp.worlds.simulate import check_sizes

    check_sizes(worlds=worlds, users=users, days=days, runoff_days=runoff_days)
    if budget is not None:
        _within("account_budget_usd", budget, 0.0, _DEAREST_ACCOUNT, "USD a day for the whole account")


def _terms(
    file: "MarketFile", users: int, days: int, runoff_days: int, budget: float | None, seed: int
) -> "Terms":
    """The account's budget a person is the panel's."""
    from gaelp.evaluation.judge import Terms
    from gaelp.worlds.warmed import default_cache

    return Terms(
        n_people=users,
        days=days,
        runoff_days=runoff_days,
        daily_budget_usd=None if budget is None else budget / file.people * users,
        seed=seed,
        cache=default_cache(),
    )


def _flyable(policy: str, file: "MarketFile") -> "NamedPolicy":
    """A maker of the policy; a yardstick that sees the truth is refused."""
    from gaelp.core.errors import BadInput
    from gaelp.evaluation.leaderboard import REFERENCES
    from gaelp.evaluation.suites import contender

    if policy in REFERENCES:
        raise BadInput("policy", policy, "must be one that could be flown", "Name a policy or a checkpoint.")
    return contender(policy, file)


def _flown(
    file: "MarketFile", make: "NamedPolicy", worlds: int, users: int, days: int, runoff_days: int, seed: int
) -> dict[str, Any]:
    return {
        "market": file.name,
        "market_sha256": file.sha256,
        "policy": make.name,
        "model_sha256": make.sha256,
        "split": "validation",
        "worlds": worlds,
        "users": users,
        "days": days,
        "runoff_days": runoff_days,
        "seed": seed,
    }


def _within(name: str, value: float, low: float, high: float, what: str) -> None:
    from gaelp.core.errors import BadInput

    if not low <= value <= high:  # NaN is refused too
        remedy = f"Give --{name.replace('_', '-')} {what}."
        raise BadInput(name, value, f"must be from {low:,g} to {high:,g}", remedy)


def _numbers(name: str, text: str, low: float, high: float) -> list[float]:
    """Different numbers of a list like `0.1,0.5`, in order."""
    from gaelp.core.errors import BadInput

    allowed = f"must list numbers from {low:g} to {high:g}, with commas between them"
    remedy = f"Write it like --{name} {'0.1,0.5' if name == 'holdout' else '0.8,1.2'}."
    try:
        found = sorted({float(part) for part in text.split(",")})
    except ValueError:
        raise BadInput(name, text, allowed, remedy) from None
    if not all(isfinite(value) and low <= value <= high for value in found):
        raise BadInput(name, text, allowed, remedy)
    return found


def _money(interval: Mapping[str, float | None] | None, separator: str = " ") -> str:
    from gaelp.evaluation.leaderboard import format_interval

    return "n/a" if interval is None else format_interval(interval, "cac_usd", separator)


def _dollars(value: float | None) -> str:
    return "n/a" if value is None else f"${value:,.0f}"


def _table(title: str, *columns: str) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for i, column in enumerate(columns):
        table.add_column(column, justify="right" if i else "left", no_wrap=i == 0)
    return table


def _say(text: str) -> None:
    out().print(text, highlight=False, soft_wrap=True)


def _print_proof(result: Mapping[str, Any]) -> None:
    console, rates, account = out(), result["rates"], result["account"]
    _say(
        f"{result['policy']} on {account['people']:,} people of {result['market']} at"
        f" ${account['daily_budget_usd']:,.0f} a day: incremental CAC under ${result['target_cac_usd']:,.0f}?"
    )
    _say(result["statement"])
    if result["assumed_cac"]:
        _say(f"planned as if the true CAC were ${result['true_cac_usd']:,.2f}")
    _say(f"measured incremental CAC: {_money(rates['incremental_cac_usd'])}")
    table = _table(
        f"Days of ads until the proof succeeds {result['power']:.0%} of the time",
        "held out",
        "people: days",
        "dollars",
        "sales given up",
        "regions: days",
        "dollars",
    )
    by = {(row["unit"], row["holdout"]): row for row in result["plans"]}
    for holdout in sorted({row["holdout"] for row in result["plans"]}):
        people, regions = by["people", holdout], by["regions", holdout]
        given_up = people["conversions_given_up"]
        table.add_row(
            f"{holdout:.0%}",
            _days(people["days"]),
            _dollars(people["spend_usd"]),
            "n/a" if given_up is None else f"{given_up:,.0f}",
            _days(regions["days"]),
            _dollars(regions["spend_usd"]),
        )
    console.print(table)
    table = _table(
        "The dearest true CAC that could be proven, people held out",
        "held out",
        "30 days",
        "60 days",
        "90 days",
    )
    for row in result["detectable_cac_usd"]:
        if row["unit"] == "people":
            cells = (_money({"mean": cac, "low": None, "high": None}) for cac in row["by_days"].values())
            table.add_row(f"{row['holdout']:.0%}", *cells)
    console.print(table)
    table = _table("Were the true CAC ..., at the same spend", "true CAC", "held out", "days", "dollars")
    for row in result["if_true_cac"]:
        share = "n/a" if row["holdout"] is None else f"{row['holdout']:.0%}"
        days, dollars = _days(row["days"]), _dollars(row["spend_usd"])
        table.add_row(_dollars(row["true_cac_usd"]), share, days, dollars)
    console.print(table)
    booked = rates["booked_within_days"]
    _say(
        f"only booked sales count: {show(booked['1'], '%')} of decisions are booked within a day,"
        f" {show(booked['7'], '%')} within 7, {show(booked['30'], '%')} within 30; read"
        f" {result['wait_days']} days after the last ad"
    )
    _say(
        f"variance over mean of sales: {rates['dispersion_between_people']:.2f} between groups of people,"
        f" {rates['dispersion_between_regions']:.2f} between regions (their rates differ by"
        f" {show(rates['region_spread'], '%')}, adjusted by {result['pre_days']} days before the test),"
        f" {show(rates['dispersion_between_worlds'])} between worlds"
        " (which cancels: both groups live in one)"
    )


def _days(days: int | None) -> str:
    return "never" if days is None else f"{days:,}"


def _print_scenario(result: Mapping[str, Any]) -> None:
    console, account, days = out(), result["account"], result["days"]
    scale = account["people"] / result["users"] / days

    def a_day(interval: Mapping[str, float | None]) -> float:
        return (interval["mean"] or 0.0) * scale

    def spend(row: Mapping[str, Any]) -> str:
        value = a_day(row["spend_usd"])
        return f"{'-' if value < -0.5 else ''}${abs(value):,.0f}"

    def sales(row: Mapping[str, Any]) -> str:
        return f"{a_day(row['incremental_conversions']):,.2f}"

    today = result["today"]
    _say(
        f"{result['policy']} on {account['people']:,} people of {result['market']}, {days} days: today"
        f" {spend(today)} a day causes {sales(today)} customers a day, each for"
        f" {_money(today['incremental_cac_usd'])}"
    )
    if result["channels"]:
        table = _table(
            "By channel: all of it, and the next dollar (bids up by a fifth)",
            "channel",
            "costs a day",
            "customers a day",
            "average CAC",
            "CAC of the next dollar",
        )
        for row in result["channels"]:
            cells = (_money(row[key], "\n") for key in ("incremental_cac_usd", "marginal_cac_usd"))
            table.add_row(row["channel"], spend(row), sales(row), *cells)
        console.print(table)
    table = _table(
        "By budget",
        "budget",
        "spent a day",
        "customers a day",
        "average CAC",
        "CAC of the difference to today",
    )
    for row in result["budgets"]:
        name = "today" if row["factor"] == 1.0 else f"{row['factor'] - 1:+.0%}"
        cells = (_money(row[key], "\n") for key in ("incremental_cac_usd", "marginal_cac_usd"))
        table.add_row(name, spend(row), sales(row), *cells)
    console.print(table)
    if result["scenarios"]:
        table = _table("What if, against today", "", "CAC then", "change", "customers a day", "spend a day")
        for name, row in result["scenarios"].items():
            moved = f"{result['season_months']:+d} months"
            label = "a rival enters" if name == "rival_enters" else moved
            change = row["difference"]
            table.add_row(
                label,
                _money(row["incremental_cac_usd"], "\n"),
                _money(change["incremental_cac_usd"], "\n"),
                _scaled_interval(change["incremental_conversions"], scale),
                spend(change),
            )
        console.print(table)
    _say("n/a: nothing gained, or nothing spent (no bid raises the price of e-mail); intervals are 95 %")


def _scaled_interval(interval: Mapping[str, float | None], scale: float) -> str:
    mean, low, high = (interval[key] for key in ("mean", "low", "high"))
    if mean is None:
        return "n/a"
    text = f"{mean * scale:+,.2f}"
    return text if low is None or high is None else f"{text}\n[{low * scale:+,.2f}, {high * scale:+,.2f}]"
