"""`gaelp evaluate`: policies on the same worlds of a split, with intervals and paired differences."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gaelp.cli.console import (
    DEFAULT_MARKET,
    BudgetOption,
    DaysOption,
    ExecutorOption,
    JsonOption,
    MarketOption,
    OutOption,
    RunoffOption,
    SeedOption,
    UsersOption,
    WorkersOption,
    find_market,
    out,
    print_json,
    progress,
    say,
    typed,
)

if TYPE_CHECKING:
    from gaelp.evaluation.parts import Parts
    from gaelp.market.file import MarketFile

PER_WORLD = "per_world.json"
_SPLITS = ("validation", "test")
_OPEN_ONCE = (
    "the test split is sealed: it is opened once per release, and each opening is logged in docs/log.md"
)


def evaluate_command(
    policies: Annotated[list[str], typer.Argument(metavar="POLICY...", help="Names or checkpoints' paths.")],
    market: MarketOption = DEFAULT_MARKET,
    suite: Annotated[str, typer.Option(help="default, families, or all: both.")] = "default",
    split: Annotated[
        str, typer.Option(help="validation; or test: sealed worlds, opened once per release and logged.")
    ] = "validation",
    worlds: Annotated[int, typer.Option(help="Worlds of the split.")] = 16,
    users: UsersOption = 10_000,
    days: DaysOption = 30,
    daily_budget_usd: BudgetOption = None,
    seed: SeedOption = 0,
    runoff_days: RunoffOption = 60,
    folder: OutOption = None,
    profile: Annotated[
        str | None,
        typer.Option(
            help="Cadence and limits of a real account: manual_bid or target_cpa; none if not given."
        ),
    ] = None,
    executor: ExecutorOption = "inline",
    workers: WorkersOption = None,
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Live every warm-up instead of keeping the worlds after it.")
    ] = False,
    yes_open_test: Annotated[
        bool, typer.Option("--yes-open-test", help="With --split test: open the sealed worlds and log it.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the leaderboard as Markdown, with what was flown.")
    ] = False,
    into: Annotated[
        Path | None,
        typer.Option(help="Markdown file to write the leaderboard into, between its marking comments."),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with an evaluation into --out that was stopped.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Judge policies against each other and against the same worlds without our ads.

    line_oracle, informed and clairvoyant see the truth: yardsticks, not policies that could be flown.
    """
    from gaelp.control.profile import CONTROL_PROFILES
    from gaelp.core.errors import BadInput
    from gaelp.core.files import check_block, replace_block
    from gaelp.core.names import require_known
    from gaelp.evaluation.judge import Terms, judge_families, world_hours
    from gaelp.evaluation.leaderboard import as_table
    from gaelp.evaluation.parts import Parts
    from gaelp.evaluation.report import REPORT, report_head
    from gaelp.evaluation.suites import (
        SUITES,
        board_of,
        contender,
        families_table,
    )
    from gaelp.learning.seat_checkpoint import is_seat, trained_seat
    from gaelp.market.file import load
    from gaelp.worlds.executors import EXECUTORS, checked_workers, make_executor
    from gaelp.worlds.runs import (
        RESULT,
        RunConfig,
        refuse_unless_replaceable,
        run_folder,
        write_json,
    )
    from gaelp.worlds.simulate import ATTRIBUTION, check_sizes, compile_market
    from gaelp.worlds.splits import split_worlds
    from gaelp.worlds.warmed import default_cache

    if markdown and as_json:
        raise BadInput("markdown", markdown, "must not come with --json", "Ask for one of them.")
    if into:
        check_block(into, _block(suite))
    check_sizes(worlds=worlds, users=users, days=days, runoff_days=runoff_days, budget=daily_budget_usd)
    families = SUITES[require_known("suite", suite, SUITES)]
    if profile is not None:
        require_known("profile", profile, CONTROL_PROFILES)
    require_known("executor", executor, EXECUTORS)
    checked_workers(workers)
    _check_split(split, yes_open_test)
    file = load(find_market(market))
    makers = {
        label: trained_seat(name, file) if is_seat(name) else contender(name, file)
        for label, name in _labels(policies).items()
    }
    digests = {label: maker.sha256 for label, maker in makers.items() if maker.sha256}
    of_files = [f"{label} is the file of SHA-256 {digest}." for label, digest in digests.items()]
    if folder:
        refuse_unless_replaceable(folder)
    elif resume:
        raise BadInput("resume", resume, "needs --out", "Name the --out it was begun with.")
    chosen = split_worlds(file, split, worlds, seed)
    settings: dict[str, Any] = {
        "policies": policies,
        "suite": suite,
        "split": split,
        "worlds": worlds,
        "users": users,
        "days": days,
        "daily_budget_usd": daily_budget_usd,
        "runoff_days": runoff_days,
        "profile": profile,
    }
    command = _command(settings, seed, market)
    config = RunConfig(
        command="evaluate", settings=settings, seed=seed, market=market, market_sha256=file.sha256
    )
    parts, noted = Parts.of(folder) if folder else None, {}
    if parts:
        contenders = {label: str(maker) for label, maker in makers.items()}
        asked = {**settings, "seed": seed, "market_sha256": file.sha256, **contenders}
        noted = parts.begin(asked, resume=resume)
    notice = noted.get("notice")
    if split == "test" and notice is None:
        notice = _opened(file, policies, " ".join([command, *of_files]), parts)
    with run_folder(folder, config) if folder else nullcontext() as run:
        compile_market(file, say)
        total = world_hours(worlds, len(makers), days, runoff_days, families)
        terms = Terms(
            n_people=users,
            days=days,
            runoff_days=runoff_days,
            daily_budget_usd=daily_budget_usd,
            seed=seed,
            cache=None if no_cache else default_cache(),
            profile=profile,
        )
        with (
            kept_on_interrupt(parts, f"{command} --out {folder} --resume"),
            progress("judging", total, quiet=as_json) as tick,
            make_executor(executor, workers) as where,
        ):
            judged = judge_families(
                chosen, makers, families, terms=terms, tick=tick, executor=where, parts=parts
            )
        board = board_of(judged, seed)
        result = {
            **board,
            **settings,
            "policies": board["policies"],
            "seed": seed,
            "market": file.name,
            "market_sha256": file.sha256,
            "attribution": ATTRIBUTION,
            "model_sha256": digests,
            "notice": notice,
        }
        if run:
            write_json(run / RESULT, result)
            flown = {name: judgement.results for name, judgement in judged.items()}
            write_json(run / PER_WORLD, flown if board["families"] else next(iter(flown.values())))
            head = report_head(file, "GAELP evaluation", command, seed) | {"summary": of_files}
            _write_report(run / REPORT, head, board)
    if parts:
        parts.remove()
    if into or markdown:
        page = _markdown(board, file, settings, seed, " ".join([f"`{command}`.", *of_files]))
        if into:
            replace_block(into, _block(suite), page)
        if markdown:
            print(page, end="", flush=True)
    if as_json:
        print_json(result)
    elif not markdown:
        out().print(as_table(board))
        if board["families"]:
            out().print(families_table(board))
    if folder and not as_json:
        say(f"kept in {folder}")


def _check_split(split: str, yes_open_test: bool) -> None:
    from gaelp.core.errors import BadInput
    from gaelp.core.names import require_known

    require_known("split", split, _SPLITS)
    if split == "test" and not yes_open_test:
        raise BadInput("split", split, f"needs --yes-open-test; {_OPEN_ONCE}", "Choose by validation worlds.")


def _opened(file: "MarketFile", policies: list[str], reason: str, parts: "Parts | None") -> str:
    """Enter in the log that sealed worlds are opened, before anything flies; returns the entry."""
    from gaelp.core.errors import BadInput
    from gaelp.evaluation.suites import log_opening

    try:
        notice = log_opening(file, policies, reason, today=datetime.now(UTC).date())
    except BadInput:
        if parts:
            parts.remove()
        raise
    say(f"notice: {_OPEN_ONCE}; entered in docs/log.md: {notice}")
    if parts:
        parts.note(notice=notice)
    return notice


def _write_report(path: Path, head: dict[str, Any], board: dict[str, Any]) -> None:
    from gaelp.evaluation.report import write

    sections = ["leaderboard", *(["families"] if board["families"] else [])]
    write(path, {**head, "leaderboard": board, "families": board["families"]}, sections)


def _markdown(
    board: dict[str, Any], file: "MarketFile", settings: dict[str, Any], seed: int, made_by: str
) -> str:
    """The leaderboard with what was flown, and the command that flies it again."""
    from gaelp.evaluation.leaderboard import as_markdown
    from gaelp.evaluation.suites import families_markdown
    from gaelp.worlds.runs import git_commit

    worlds, users, split = settings["worlds"], settings["users"], settings["split"]
    said = (
        f"Means and 95 % intervals over {worlds:,} {split} worlds of {users:,} people of {file.name}"
        f" (`{file.sha256[:12]}`), {settings['days']} days and {settings['runoff_days']} of run-off, seed"
        f" {seed}, commit {(git_commit() or 'unknown')[:12]}: {made_by}"
    )
    by_family = f"\n{families_markdown(board)}" if board["families"] else ""
    return f"{as_markdown(board)}{by_family}\n{said}\n"


@contextmanager
def kept_on_interrupt(parts: "Parts | None", again: str) -> Iterator[None]:
    """Say after Ctrl-C how to go on with what was flown; nothing is left where nothing was."""
    try:
        yield
    except KeyboardInterrupt:
        if parts and parts.begun:
            say(f"what was flown is kept in {parts.folder}; to go on: {again}")
        elif parts:
            parts.remove()
        raise


def _block(suite: str) -> str:
    """Name of the marked part of a page that holds a suite's leaderboard."""
    return "leaderboard" if suite == "default" else suite


def _command(settings: dict[str, Any], seed: int, market: str) -> str:
    """The command that makes these figures again."""
    options = {
        "market": (market, DEFAULT_MARKET),
        "suite": (settings["suite"], "default"),
        "split": (settings["split"], "validation"),
        "worlds": (settings["worlds"], None),
        "users": (settings["users"], None),
        "days": (settings["days"], 30),
        "daily-budget-usd": (settings["daily_budget_usd"], None),
        "runoff-days": (settings["runoff_days"], 60),
        "seed": (seed, 0),
        "profile": (settings["profile"], None),
    }
    words = typed(["evaluate", *settings["policies"]], options)
    return f"{words} --yes-open-test" if settings["split"] == "test" else words


def _labels(policies: list[str]) -> dict[str, str]:
    """Short names for the table, the full ones where two would be equal or one is a known policy's.

    Raises:
        BadInput: one is named twice.
    """
    from gaelp.core.errors import BadInput
    from gaelp.evaluation.leaderboard import REFERENCES
    from gaelp.worlds.registry import POLICIES, policy_label

    for name in policies:
        if policies.count(name) > 1:
            remedy = "Leave the others out: it would do the same again."
            raise BadInput("policies", name, "must be named once", remedy)
    reserved = {*POLICIES, *REFERENCES}
    short = [policy_label(name, reserved) for name in policies]
    return {
        (label if short.count(label) == 1 else name): name
        for label, name in zip(short, policies, strict=True)
    }
