"""The report's sections: each takes the page and its own name and returns HTML."""

from collections.abc import Callable
from functools import partial
from html import escape
from typing import Any

from gaelp.core.errors import BadInput
from gaelp.evaluation import report_charts as charts
from gaelp.evaluation import report_tables as tables
from gaelp.evaluation.leaderboard import ranked
from gaelp.evaluation.report_page import NoData, Page, columns, has_values, or_no_data, reading, source


def _leaderboard(page: Page, name: str) -> str:
    board = page.section(name, "policies")
    order = ranked(board)

    def rows(metric: str) -> list[tuple[str, Any, str]]:
        figures = {policy: tables.as_interval(board["policies"][policy].get(metric)) for policy in order}
        return [(policy, figures[policy], page.colours.policy(policy)) for policy in order]

    targets = {"target": page.data.get("cac_target_usd"), "LTV": page.data.get("ltv_usd")}
    plots = page.chart(
        charts.forest(
            rows("incremental_profit_usd"), x_title="USD per world", lines={"zero": 0.0}, money=True
        ),
        "Incremental profit of each policy with its interval",
        "<h4>Incremental profit</h4>",
    ) + page.chart(
        charts.forest(
            rows("incremental_cac_usd"),
            x_title="USD per incremental conversion",
            lines=targets,
            money=True,
            cost=True,
        ),
        "Incremental cost per conversion of each policy with its interval",
        "<h4>Incremental CAC</h4>",
    )
    return (
        reading("Profit to the right of zero pays; where intervals overlap, the paired table below decides.")
        + tables.leaderboard_table(board, page.colours)
        + f"<div class=grid>{plots}</div>"
        + _pairs(page, board)
        + source(
            page.origin(policy=False)
            + "; BCa bootstrap intervals over worlds; CAC and ROAS are ratios of sums over worlds"
        )
    )


def _families(page: Page, name: str) -> str:
    boards = page.section(name)
    order = ranked(next(iter(boards.values())))
    plots = []
    for policy in order:
        rows = [
            (family, tables.as_interval(board["policies"][policy].get("incremental_profit_usd")), "ink")
            for family, board in boards.items()
        ]
        plots.append(
            page.chart(
                charts.forest(rows, x_title="USD per world", lines={"zero": 0.0}, money=True),
                f"Incremental profit of {policy} in each family with its interval",
                f"<h4>{escape(policy)}</h4>",
            )
        )
    return (
        reading("Each family is the market turned out otherwise: a robust policy pays in all of them.")
        + tables.families_table(boards, order)
        + f"<div class=grid>{''.join(plots)}</div>"
        + source(page.origin(policy=False) + "; BCa bootstrap intervals over worlds")
    )


def _pairs(page: Page, board: dict[str, Any]) -> str:
    rows = [
        (pair, tables.as_interval(metrics.get("incremental_profit_usd")), _pair_colour(pair, page))
        for pair, metrics in (board.get("pairs") or {}).items()
    ]
    if not rows:
        return ""
    return (
        "<h3>Differences on the same worlds</h3>"
        + reading("An interval that stays clear of zero is a difference; one across it shows none.")
        + tables.pairs_table(board)
        + page.chart(
            charts.forest(rows, x_title="USD per world", lines={"no difference": 0.0}, money=True),
            "Difference in incremental profit of each pair with its interval",
        )
    )


def _spend_plan(page: Page, name: str) -> str:
    plans = page.section(name)
    values = [
        v for given in plans.values() for key in ("spend_usd", "plan_usd") for v in given.get(key) or []
    ]
    top = max((v for v in values if v is not None), default=1.0)

    def panel(policy: str) -> str:
        hours, spend, plan = columns(
            f"{name}.{policy}", plans[policy], "hour", "spend_usd", optional=("plan_usd",)
        )
        figure = charts.spend_by_hour(hours, spend, plan, page.colours.policy(policy), top)
        return page.chart(figure, f"Spend and plan by hour of day for {policy}")

    plots = "".join(
        tables.panel(policy, page.colours.policy(policy), or_no_data(partial(panel, policy)))
        for policy in plans
    )
    return (
        reading(
            "Bars should follow the dotted plan; bars that stop early mean the budget missed the evening."
        )
        + f"<div class=grid>{plots}</div>"
        + source(page.origin(policy=False) + "; means over days and worlds, all panels on one scale.")
    )


def _spend_by_day(page: Page, name: str) -> str:
    policies = page.section(name)
    series = {
        policy: (
            *columns(f"{name}.{policy}", given, "day", "spend_usd"),
            given.get("budget_usd"),
            page.colours.policy(policy),
        )
        for policy, given in policies.items()
        if has_values(given.get("spend_usd"))
    }
    if not series:
        raise NoData("no policy came with its spend by day.")
    return (
        reading("Look for lines that stay near the dotted budget without passing it for long.")
        + page.chart(charts.spend_by_day(series), "Spend by day for each policy beside the budget")
        + source(page.origin(policy=False) + "; means over worlds.")
    )


def _funnel(page: Page, name: str) -> str:
    given = page.section(name, "stages", "people")
    stages, people = columns(name, given, "stages", "people")
    return (
        reading("Everybody, when the campaign ends; converted are customers of any brand, ours or a rival's.")
        + page.chart(charts.funnel(stages, people), "How many people stand at each stage")
        + source(page.origin())
    )


def _sankey(page: Page, name: str) -> str:
    given = page.section(name, "nodes", "links")
    n_nodes = len(given["nodes"])
    for i, link in enumerate(given["links"]):
        for end in ("source", "target"):
            if not 0 <= link[end] < n_nodes:
                raise BadInput(
                    f"sankey.links[{i}].{end}",
                    link[end],
                    f"must be at least 0 and below {n_nodes}",
                    "Links refer to nodes by position.",
                )
    return (
        reading("Wide bands are common routes; follow which first touches end in a conversion.")
        + page.chart(charts.sankey(given["nodes"], given["links"], page.colours), "Journeys by route")
        + source(page.origin() + "; width is the number of journeys.")
    )


def _lag(page: Page, name: str) -> str:
    given = page.section(name, "days", "share_booked")
    days, share = columns(name, given, "days", "share_booked")
    measured = given.get("measured") or []
    sources = dict.fromkeys(str(point["source"]) for point in measured if point.get("source"))
    return (
        reading(
            "The line should pass through the diamonds; its slow tail is what a campaign's last day misses."
        )
        + page.chart(charts.lag(days, share, measured), "Share of decisions booked by day")
        + tables.arms_table(given.get("arms") or [])
        + source("; ".join([page.origin(), *sources]) + ("" if measured else "; no measured points given."))
    )


def _hour_of_week(page: Page, name: str) -> str:
    given = page.section(name)
    simulated, measured = given.get("simulated"), given.get("measured")
    if not has_values(simulated) and not has_values(measured):
        raise NoData("neither a simulated nor a measured week was given.")
    for key, series in (("simulated", simulated), ("measured", measured)):
        if series and len(series) != 168:
            raise BadInput(
                f"{name}.{key}",
                f"{len(series)} values",
                "must have 168",
                "Give one value per hour from Monday.",
            )
    notes = [page.origin(), given.get("source")]
    notes += [f"no {key} week given" for key in ("simulated", "measured") if not given.get(key)]
    return (
        reading("The two lines should rise and fall together.")
        + page.chart(charts.hour_of_week(simulated, measured), "Activity by hour of the week")
        + source("; ".join(str(note) for note in notes if note))
    )


def _prices(page: Page, name: str) -> str:
    given = page.section(name)

    def panel(row: dict[str, Any]) -> str:
        probability, simulated, measured = columns(
            f"{name}.{row['channel']}", row, "probability", "simulated", optional=("measured",)
        )
        figure = charts.prices(probability, simulated, measured, str(row.get("unit") or "USD"))
        origin = f"Measured: {row.get('source') or 'source not given'}" if measured else "No measured prices"
        return page.chart(figure, f"Price quantiles of {row['channel']}") + source(origin, start="")

    plots = "".join(
        tables.panel(
            str(row["channel"]),
            page.colours.channel(str(row["channel"])),
            or_no_data(partial(panel, row)),
        )
        for row in given
    )
    return (
        reading(
            "The line should run through the diamonds; a flat step is a price many auctions share, a floor."
        )
        + f"<div class=grid>{plots}</div>"
        + source(page.origin() + "; each panel names where its measured prices come from")
    )


def _rivals(page: Page, name: str) -> str:
    given = page.section(name, "days", "bids")
    bids = {
        str(rival): columns(name, given | {rival: bid}, "days", rival)[1]
        for rival, bid in given["bids"].items()
    }
    return (
        reading("Lines should settle: learners drift as they meet us, and none may explode or fall to zero.")
        + page.chart(charts.rivals(given["days"], bids), "Bid multiplier × pace of each rival by day")
        + source(page.origin())
    )


def _learning(page: Page, name: str) -> str:
    rows = page.section(name)
    worlds, profit = ([row[key] for row in rows] for key in ("worlds", "profit_usd"))
    return (
        reading(
            "From one target for all lines, on the left, to what each line is worth: expected incremental"
            " profit on practice worlds that were not looked at."
        )
        + page.chart(charts.learning(worlds, profit), "Profit by the training worlds looked at")
        + source(page.origin() + ", training worlds; the level is tuned on the same practice worlds.")
    )


def _channels(page: Page, name: str) -> str:
    rows = sorted(page.section(name), key=lambda row: -(row.get("spend_usd") or 0))

    def compared(measure: str, words: str, **options: Any) -> str:
        names = [str(row["channel"]) for row in rows]
        intervals = [tables.as_interval(row.get(f"incremental_{measure}")) for row in rows]
        colours = [page.colours.channel(name) for name in names]
        claims = [row.get(f"attributed_{measure}") for row in rows]
        figure = charts.forest(list(zip(names, intervals, colours, strict=True)), claims=claims, **options)
        heading = f"<h4>{words}: ◇ attributed, ● incremental</h4>"
        return page.chart(figure, f"{words} by channel, attributed and incremental", heading)

    return (
        reading("Where the diamond (claimed) lies far from the dot (caused), the platform's report misleads.")
        + tables.channels_table(rows, page.colours)
        + "<div class=grid>"
        + compared("conversions", "Conversions", x_title="conversions")
        + compared("cac_usd", "CAC", x_title="USD per conversion", money=True, cost=True)
        + "</div>"
        + source(page.origin() + "; incremental is this run minus its twin with that channel off.")
    )


def _person(page: Page, name: str) -> str:
    given = page.section(name, "lines")
    lines = "".join(f"<li>{escape(str(line))}</li>" for line in given["lines"])
    title = f"<h3>{escape(str(given['title']))}</h3>" if given.get("title") else ""
    return (
        reading("Read what this one person met and did; an advertiser would see only part of it.")
        + f"{title}<ol class=timeline>{lines}</ol>"
        + source(page.origin() + "; a simulated person.")
    )


def _targets(page: Page, name: str) -> str:
    given = page.section(name)
    within = sum(bool(target.get("ok")) for target in given)
    return (
        reading(f"{within} of {len(given)} targets lie within their range, the shaded half of each strip.")
        + tables.targets_table(given)
        + source(page.origin() + " beside the source in each row.")
    )


# key -> (in the list of sections, heading, builder)
SECTIONS: dict[str, tuple[str, str, Callable[[Page, str], str]]] = {
    "leaderboard": ("Leaderboard", "Leaderboard", _leaderboard),
    "families": ("Families", "Families of worlds", _families),
    "learning": ("Learning", "What training brought", _learning),
    "channels": ("Channels", "Channels: what is claimed, what is caused", _channels),
    "spend_plan": ("Hourly spend", "Spend against plan by hour of day", _spend_plan),
    "spend_by_day": ("Daily spend", "Spend against budget by day", _spend_by_day),
    "funnel": ("Stages", "Where people stand", _funnel),
    "sankey": ("Journeys", "Journeys from first touch to outcome", _sankey),
    "lag": ("Lag", "Lag from decision to booking", _lag),
    "hour_of_week": ("Week", "Activity by hour and weekday", _hour_of_week),
    "prices": ("Prices", "Auction prices beside measured ones", _prices),
    "rivals": ("Rivals", "Rivals' bid multiplier × pace over time", _rivals),
    "person": ("One person", "One person's story", _person),
    "targets": ("Targets", "The market beside its measured targets", _targets),
}


def _pair_colour(pair: str, page: Page) -> str:
    first = pair.split(" - ")[0]
    return page.colours.policy(first) if first in page.data["leaderboard"]["policies"] else "ink"
