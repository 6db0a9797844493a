"""Run the must-show lines of one step: python docs/acceptance/run.py STEP.

Reads the table of step-STEP.md (line | command | figure | commit), runs every command from the root of the
repository, and prints for each line whether it passed and how long it took. What the commands printed is kept
in runs/acceptance/step-STEP.txt, with the commit. A line whose command is not yet written is not shown. Exit
code 0 only if every line passed, 2 where the step has no table.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
COLUMNS = ["line", "command", "figure", "commit"]
TAIL_LINES = 15


@dataclass(frozen=True)
class MustShow:
    """One line of the table; `command` is empty while it is pending."""

    line: str
    command: str


def read_table(markdown: str) -> list[MustShow]:
    """Return the rows of the first table whose header is COLUMNS; `\\|` is a pipe inside a cell."""
    rows = [
        [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", text.strip())[1:-1]]
        for text in markdown.splitlines()
        if text.startswith("|")
    ]
    headers = [n for n, row in enumerate(rows) if [cell.lower() for cell in row] == COLUMNS]
    if not headers:
        return []
    return [
        MustShow(line=row[0], command=_in_backticks(row[1]))
        for row in rows[headers[0] + 2 :]  # the header is followed by a row of dashes
        if len(row) == len(COLUMNS)
    ]


def run(must_show: MustShow, log: TextIO) -> str:
    """Run one line's command, print what became of it, log what it said, and return pass, FAIL or pending."""
    if not must_show.command:
        print(f"pending            {must_show.line}", flush=True)
        return "pending"
    started = time.perf_counter()
    path = f"{REPOSITORY / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", must_show.command],
        cwd=REPOSITORY,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    verdict = "FAIL" if result.returncode else "pass"
    log.write(f"## {verdict}: {must_show.line}\n$ {must_show.command}\n{result.stdout}\n")
    log.flush()
    print(f"{verdict:7s} {time.perf_counter() - started:8.1f} s  {must_show.line}", flush=True)
    if result.returncode:
        print(f"        {must_show.command}\n        exit code {result.returncode}; its last lines:")
        for text in result.stdout.splitlines()[-TAIL_LINES:]:
            print(f"        | {text}")
    return verdict


def main(arguments: list[str]) -> int:
    """Run the step named on the command line and return the exit code."""
    known = sorted(int(path.stem.removeprefix("step-")) for path in HERE.glob("step-*.md"))
    step = arguments[0] if len(arguments) == 1 else ""
    if not step.isdigit() or int(step) not in known:
        print(f"`STEP` was {step!r}; steps with a table: {known}. Try make accept STEP=1.", file=sys.stderr)
        return 2
    table = read_table((HERE / f"step-{int(step)}.md").read_text(encoding="utf-8"))
    if not table:
        print(f"step-{step}.md holds no table with the columns {' | '.join(COLUMNS)}.", file=sys.stderr)
        return 2
    kept = REPOSITORY / "runs" / "acceptance" / f"step-{int(step)}.txt"
    kept.parent.mkdir(parents=True, exist_ok=True)
    with kept.open("w", encoding="utf-8") as log:
        log.write(f"# step {step} at {_commit()}\n\n")
        verdicts = [run(must_show, log) for must_show in table]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in ("pass", "FAIL", "pending"))
    print(f"step {step}: {counts}")
    return 0 if set(verdicts) == {"pass"} else 1


def _commit() -> str:
    command = ["git", "describe", "--always", "--dirty"]
    found = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "an unknown commit"


def _in_backticks(cell: str) -> str:
    match = re.fullmatch(r"(`+)(.+)\1", cell)
    return match[2].strip() if match else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
