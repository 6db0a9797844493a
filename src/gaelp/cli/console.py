"""What every command shares: where output goes, progress, common options, finding a market file."""

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

DEFAULT_MARKET = "markets/family_safety.toml"
REPOSITORY = Path(__file__).parents[3]

MarketOption = Annotated[str, typer.Option("--market", metavar="FILE", help="Market file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Names the luck of the worlds.")]
OutOption = Annotated[str | None, typer.Option("--out", metavar="DIR", help="Keep the run in this folder.")]
UsersOption = Annotated[int, typer.Option(help="People per world.")]
DaysOption = Annotated[int, typer.Option(help="Length of the campaign.")]
BudgetOption = Annotated[
    float | None,
    typer.Option(help="USD a day for each simulated panel.", show_default="the market's, per person"),
]
RunoffOption = Annotated[int, typer.Option(help="Days after the campaign in which sales still count.")]
ExecutorOption = Annotated[str, typer.Option(help="inline, processes or ray; the figures are the same.")]
WorkersOption = Annotated[
    int | None, typer.Option(help="Processes or Ray workers.", show_default="one per core")
]


def find_market(name: str) -> Path:
    """A market file by path, also from outside the repository, or by its bare name.

    Args:
        name: what the user typed; returned as it is where nothing is found, for the error to name it.
    """
    for candidate in (Path(name), REPOSITORY / name, REPOSITORY / "markets" / f"{name}.toml"):
        if candidate.is_file():
            return candidate
    return Path(name)


def typed(words: Sequence[str], options: Mapping[str, tuple[object, object]]) -> str:
    """The command that makes a run's figures again, as a person would type it.

    Args:
        words: after `gaelp`. options: name -> (value, the usual one); usual ones and None are left out.

    >>> typed(["evaluate", "pacing"], {"worlds": (64, None), "seed": (0, 0)})
    'gaelp evaluate pacing --worlds 64'
    """
    given = {name: value for name, (value, usual) in options.items() if value not in (None, usual)}
    return shlex.join(
        ["gaelp", *words, *(word for name, value in given.items() for word in (f"--{name}", str(value)))]
    )


def say(text: str) -> None:
    """Tell a person something on standard error."""
    print(text, file=sys.stderr, flush=True)


def out() -> "Console":
    """Standard output for people."""
    from rich.console import Console

    return Console()


def print_json(data: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output."""
    from gaelp.core.plain import as_json

    print(as_json(data), flush=True)


def bars(*, quiet: bool) -> "Progress":
    """Progress bars on standard error, hidden where nobody watches.

    Args:
        quiet: output is for machines.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=quiet and not sys.stderr.isatty(),
    )


@contextmanager
def progress(label: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show one progress bar; see `bars`.

    Args:
        label: what is going on.
        total: units of work.
        quiet: output is for machines.

    Yields:
        Tell it how many units are done.
    """
    with bars(quiet=quiet) as shown:
        task = shown.add_task(label, total=total)
        yield lambda done: shown.advance(task, done)


def show(value: object, unit: str = "") -> str:
    """One figure the way people read it."""
    if value is None:
        return "n/a"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if unit == "$":
        return f"{'-' if value < 0 else ''}${abs(value):,.2f}"
    if unit == "%":
        return f"{100 * value:.1f} %"
    text = (
        f"{value:,}" if isinstance(value, int) else f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    )
    return f"{text} {unit}".strip()
