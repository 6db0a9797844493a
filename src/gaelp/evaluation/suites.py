"""Frozen suites of worlds to judge on, what may be judged on them, and the log of sealed worlds opened.

`default` flies the market as its file states it, `families` ten ways in which it can turn out otherwise,
`all` both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.table import Table
from rich.text import Text

from gaelp import __version__
from gaelp.agents.policy import Policy
from gaelp.core.errors import BadInput
from gaelp.core.files import sha256_of, write_text_atomic
from gaelp.evaluation.judge import Judgement, Reference
from gaelp.evaluation.leaderboard import REFERENCES, format_interval, format_value, marks, notes, ranked
from gaelp.market.file import MarketFile, load
from gaelp.worlds.families import DEFAULT, FAMILIES, Family
from gaelp.worlds.registry import POLICIES, TrainedLines, files_of, make_policy, trained_lines
from gaelp.worlds.runs import git_commit
from gaelp.worlds.tuned import tuned_for

SUITES: dict[str, tuple[Family, ...]] = {
    "default": (DEFAULT,),
    "families": tuple(FAMILIES.values()),
    "all": (DEFAULT, *FAMILIES.values()),
}
"""Families of worlds that a suite judges on, by the suite's name."""

_OPENINGS = "## Openings of the held-out worlds"


@dataclass(frozen=True)
class NamedPolicy:
    """Makes a policy or a reference by name, wherever it is called: it can be sent to another process.

    Attributes:
        name: a policy's name, a checkpoint's path, or one of `leaderboard.REFERENCES`.
        market: path of the market file that it flies on.
        trained: what the checkpoint held when it was read; None reads it at each call.
        sha256: of the file of a controller's network, of a model that another library saved, or of all files
            that a choice among policies reads, when it was found; None for all else.
    """

    name: str
    market: str
    trained: TrainedLines | None = None
    sha256: str | None = None

    def __call__(self) -> Policy | Reference:
        """A fresh one.

        Raises:
            UnknownName: nothing is called that.
            BadInput: it cannot be used on this market, or its file is no longer the one that was found.
        """
        if self.name in REFERENCES:
            from gaelp.evaluation.references import REFERENCE_POLICIES  # only where one is asked for

            return REFERENCE_POLICIES[self.name]()
        path = self.trained.network if self.trained is not None and self.trained.network else self.name
        file = load(self.market)
        if self.sha256 is not None and _digest(path, file) != self.sha256:
            allowed = f"must stay as it was found, SHA-256 {self.sha256[:12]}"
            raise BadInput("policy", path, allowed, "Leave the file alone while it is flown.")
        if self.trained is not None:
            return self.trained.policy(tuned_for(file))
        return make_policy(self.name, file, others=REFERENCES)()


def contender(name: str, file: MarketFile) -> NamedPolicy:
    """A maker of a policy or reference, found and checked now.

    A checkpoint is read now and only now: one that is written anew while worlds are judged changes nothing
    in them, and the next contender flies it. A network, and the model of another library, is read for every
    flight, and refused if its file has changed since.

    Raises:
        UnknownName: nothing is called that. BadInput: it cannot be used on this market.
    """
    trained = None if name in REFERENCES else trained_lines(name, file, others=REFERENCES)
    named = NamedPolicy(name, str(file.path), trained)
    named()  # whatever is wrong with it is told first
    reads = files_of(name, file) or (trained is None and name not in POLICIES and name not in REFERENCES)
    path = trained.network if trained is not None and trained.network else name if reads else None
    return named if path is None else replace(named, sha256=_digest(path, file))


def _digest(path: str, file: MarketFile) -> str | None:
    """SHA-256 of a file, or of the digests of all files that a choice among policies reads; None without."""
    found = files_of(path, file)
    if found:
        return sha256("".join(sha256_of(each) for each in found).encode()).hexdigest()
    return sha256_of(path) if Path(path).is_file() else None


def board_of(judged: Mapping[str, Judgement], seed: int = 0) -> dict[str, Any]:
    """The leaderboard of a suite, as `gaelp evaluate --json` prints it.

    With several families the policies and pairs on top are of each world's mean over its families, and
    `families` holds `{family: {"policies": ..., "pairs": ...}}`; a suite of the default alone has none.

    Args:
        judged: by family. seed: names the resamples.
    """
    if list(judged) == [DEFAULT.name]:
        return judged[DEFAULT.name].board(seed)
    boards = {name: judgement.board(seed) for name, judgement in judged.items()}
    families = {
        name: {"policies": board["policies"], "pairs": board["pairs"]} for name, board in boards.items()
    }
    return {**pooled(judged.values()).board(seed), "families": families}


def pooled(judgements: Iterable[Judgement]) -> Judgement:
    """Each world's mean over its families: the worlds stay what is resampled."""
    found = list(judgements)
    first = found[0].results
    return Judgement(
        results={
            policy: {
                key: np.mean([judgement.results[policy][key] for judgement in found], axis=0) for key in sums
            }
            for policy, sums in first.items()
        }
    )


def families_table(board: Mapping[str, Any]) -> Table:
    """Incremental profit by family and policy for a terminal; the gap closed below it where it is known."""
    policies = ranked(board)
    table = Table(
        title="Incremental profit by family, means per world",
        caption="\n".join(notes(board)) or None,
        box=box.SIMPLE_HEAD,
    )
    table.add_column("family")
    for policy in policies:
        table.add_column(Text(policy + marks(board, policy)), justify="right")
    for name, found in board["families"].items():
        cells = [_cell(found["policies"][policy], "\n") for policy in policies]
        table.add_row(Text(name), *(Text(cell) for cell in cells))
    return table


def families_markdown(board: Mapping[str, Any]) -> str:
    """The same as a Markdown table."""
    policies = ranked(board)
    names = [(policy + marks(board, policy)).replace("|", "\\|") for policy in policies]
    rows = [["family", *names], ["---", *["---:"] * len(policies)]]
    for name, found in board["families"].items():
        rows.append([name, *(_cell(found["policies"][policy], ", ") for policy in policies)])
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


def openings_log(file: MarketFile) -> Path:
    """Where openings of a market's sealed worlds are entered: `docs/log.md` of the market's repository."""
    return file.path.resolve().parents[1] / "docs" / "log.md"


def log_opening(file: MarketFile, policies: Sequence[str], reason: str, *, today: date) -> str:
    """Enter that the sealed test worlds of a market are opened, before they are.

    Args:
        file: the market. policies: what is judged. reason: the command, for those who read the log.
        today: the day.

    Returns:
        The line entered; it says how often this release has opened them.

    Raises:
        BadInput: there is no log to enter it in.
    """
    log = openings_log(file)
    if not log.is_file():
        remedy = "Create it: an opening that is not logged does not count."
        raise BadInput("docs/log.md", str(log), "must be a file", remedy)
    text = log.read_text(encoding="utf-8")
    release = f"release {__version__} of {file.name} {file.sha256[:12]}"
    before = sum(release in line for line in text.splitlines())
    line = (
        f"- {today.isoformat()}: {release}, opening {before + 1}, commit {(git_commit() or 'unknown')[:12]}:"
        f" {', '.join(policies)} ({reason})"
    )
    head, found, rest = text.partition(_OPENINGS + "\n")
    if found:
        kept = rest.lstrip("\n")
        body = f"{head}{found}\n{line}\n{kept}"
    else:
        body = f"{text.rstrip()}\n\n{_OPENINGS}\n\n{line}\n"
    write_text_atomic(log, body)
    return line


def _cell(metrics: Mapping[str, Any], separator: str) -> str:
    profit = format_interval(metrics["incremental_profit_usd"], "incremental_profit_usd", separator)
    gap = metrics["gap_closed"]["mean"]
    return profit if gap is None else f"{profit}{separator}gap closed {format_value(gap, 'gap_closed')}"
