"""The command line: parses, calls one function, prints.

Heavy modules are imported inside the commands, so that help and bad input answer at once.
"""

import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from gaelp import __version__
from gaelp.cli.attribute import attribute_command
from gaelp.cli.bench import bench_command
from gaelp.cli.calibrate import calibrate_command
from gaelp.cli.competition import competition_command
from gaelp.cli.ctr import ctr_app
from gaelp.cli.demo import demo_command
from gaelp.cli.discover import discover_command
from gaelp.cli.doctor import doctor_command
from gaelp.cli.evaluate import evaluate_command
from gaelp.cli.experiment import experiment_app
from gaelp.cli.export import export_app
from gaelp.cli.identity import identity_command
from gaelp.cli.journeys import journeys_app
from gaelp.cli.lag import lag_command
from gaelp.cli.offline import offline_app
from gaelp.cli.plan import plan_app
from gaelp.cli.regret import regret_command
from gaelp.cli.replicate import replicate_command
from gaelp.cli.retrain import retrain_app
from gaelp.cli.retrain_report import report_command
from gaelp.cli.serve import serve_app
from gaelp.cli.simulate import simulate_command
from gaelp.cli.train import train_command
from gaelp.cli.understand import understand_command
from gaelp.cli.update import update_command
from gaelp.core.errors import GaelpError

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
_USAGE_ERROR: Any = typer.BadParameter.__mro__[2]  # typer keeps its parser's errors private
assert _USAGE_ERROR.__name__ == "ClickException"

app = typer.Typer(
    name="gaelp",
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="A flight simulator and autopilot for advertising budgets.",
)


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    """A flight simulator and autopilot for advertising budgets."""
    if version:
        print(f"gaelp {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit


app.command("demo")(demo_command)
app.command("simulate")(simulate_command)
app.command("train")(train_command)
app.command("evaluate")(evaluate_command)
app.command("attribute")(attribute_command)
app.command("bench")(bench_command)
app.command("lag")(lag_command)
app.command("identity")(identity_command)
app.command("competition")(competition_command)
app.command("replicate")(replicate_command)
app.command("regret")(regret_command)
app.command("understand")(understand_command)
app.command("calibrate")(calibrate_command)
app.command("discover")(discover_command)
app.command("update")(update_command)
app.command("doctor")(doctor_command)
app.add_typer(journeys_app, name="journeys")
app.add_typer(experiment_app, name="experiment")
app.add_typer(plan_app, name="plan")
app.add_typer(export_app, name="export")
app.add_typer(ctr_app, name="ctr")
app.add_typer(offline_app, name="offline")
retrain_app.command("report")(report_command)
app.add_typer(retrain_app, name="retrain")
app.add_typer(serve_app, name="serve")


def run(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: as typed after `gaelp`; None takes the process's own.

    Returns:
        The exit code: 0 success, 1 failure at work, 2 bad input. Errors are one line on standard error.
    """
    try:
        code = app(
            args=None if arguments is None else list(arguments), prog_name="gaelp", standalone_mode=False
        )
    except GaelpError as error:
        return _failed(str(error), error.exit_code)
    except _USAGE_ERROR as error:
        said = error.format_message().rstrip(".") or "A sub-command is missing"
        return _failed(f"{said}. See `gaelp --help`.", BAD_INPUT)
    except (KeyboardInterrupt, typer.Abort):
        return _failed("interrupted", INTERRUPTED)
    except BrokenPipeError:
        sys.stdout = None  # the reader has gone; nothing is left to flush
        return FAILED
    except MemoryError:
        return _failed("not enough memory; ask for fewer --worlds or --users", FAILED)
    except OSError as error:
        return _failed(str(error), FAILED)
    if code == INTERRUPTED:  # the command line library answers Ctrl-C by this code and says nothing
        return _failed("interrupted", INTERRUPTED)
    return code if isinstance(code, int) else 0


def app_entry() -> None:
    """The `gaelp` command."""
    sys.exit(run())


def _failed(message: str, code: int) -> int:
    print(f"error: {' '.join(message.split())}", file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    app_entry()
