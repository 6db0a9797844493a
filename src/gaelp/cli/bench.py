"""`gaelp bench`: how fast, beside what it should be."""

from typing import Annotated

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    JsonOption,
    MarketOption,
    find_market,
    out,
    print_json,
    progress,
    say,
)

AREAS = ("market",)
LATER = ("learning", "measurement", "service")


def bench_command(
    area: Annotated[str, typer.Argument(metavar="AREA", help="market")],
    market: MarketOption = DEFAULT_MARKET,
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes: a look, not a measurement.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Time the market at real sizes; compilation is apart."""
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known
    from gaelp.evaluation.bench import FULL, QUICK, bench_market, steps
    from gaelp.market.file import load
    from gaelp.worlds.simulate import compile_market

    if area in LATER:
        raise BadInput("area", area, f"must be {', '.join(AREAS)}", "The others come with what they time.")
    require_known("area", area, AREAS)
    file = load(find_market(market))
    sizes = QUICK if quick else FULL
    compile_market(file, say)
    with progress("timing the market", steps(sizes), quiet=as_json) as tick:
        found = bench_market(file, sizes, tick)
    if as_json:
        print_json(found)
        return
    console = out()
    for users, cells in found["ns_per_opportunity"].items():
        for rivals, ns in cells.items():
            console.print(
                f"{users:>9} people, {rivals:>2} rivals: {ns:7.1f} ns of one thread per opportunity"
            )
    worlds, people, days = found["hundred_worlds"]
    console.print(f"bytes a person: {found['bytes_per_user']:.0f}")
    console.print(
        f"{worlds} worlds x {people:,} people x {days} days: {found['hundred_worlds_wall_s']:.2f} s wall"
    )
    console.print(f"opportunities per person and day: {found['opportunities_per_user_day']:.2f}")
    for threads, ratio in found["thread_scaling"].items():
        console.print(f"{threads} threads: {ratio:.2f} times as fast as one")
