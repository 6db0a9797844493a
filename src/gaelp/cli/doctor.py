"""`gaelp doctor`: is everything in place?"""

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from gaelp.cli.console import REPOSITORY, JsonOption, out, print_json

if TYPE_CHECKING:
    from gaelp.market.file import MarketFile

PYTHON = (3, 11)
NUMBA = (0, 68)
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SUMS = "SHA256SUMS"
_MARK = {"ok": "[green]ok  [/green]", "warn": "[yellow]warn[/yellow]", "fail": "[red]FAIL[/red]"}


@dataclass(frozen=True)
class Finding:
    """One thing looked at: `verdict` is ok, warn or fail; `remedy` is empty where nothing is to be done."""

    name: str
    verdict: str
    found: str
    remedy: str = ""


def doctor_command(as_json: JsonOption = False) -> None:
    """Check the installation, the kernel cache and the market files; exit code 1 if something fails."""
    findings = list(examine(REPOSITORY / "markets"))
    worst = "fail" if any(f.verdict == "fail" for f in findings) else "ok"
    if as_json:
        print_json({"ok": worst == "ok", "findings": [asdict(finding) for finding in findings]})
    else:
        console = out()
        for finding in findings:
            text = f"{_MARK[finding.verdict]} {finding.name}: {finding.found}"
            console.print(
                f"{text}. {finding.remedy}" if finding.remedy else text, highlight=False, soft_wrap=True
            )
    if worst == "fail":
        raise typer.Exit(1)


def examine(markets: Path) -> Iterator[Finding]:
    """Look at everything in turn.

    Args:
        markets: the folder of market files.
    """
    yield _python()
    yield from _packages()
    yield _threads()
    yield from _kernels()
    yield from _markets(markets)
    yield _chromium()


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info[:2] == PYTHON
    return Finding(
        "python", "ok" if good else "fail", found, "" if good else "Install Python 3.11, then `make`."
    )


def _packages() -> Iterator[Finding]:
    from importlib.metadata import PackageNotFoundError, version

    for name in ("numba", "numpy", "scipy", "pydantic", "rich", "plotly"):
        try:
            found = version(name)
        except PackageNotFoundError:
            yield Finding(name, "fail", "not installed", "Run `make install`.")
            continue
        old = name == "numba" and tuple(int(part) for part in found.split(".")[:2]) < NUMBA
        yield Finding(name, "fail" if old else "ok", found, "Run `make install`." if old else "")


def _threads() -> Finding:
    import numba

    n = numba.get_num_threads()
    remedy = "" if n > 1 else "Worlds run one after another; unset NUMBA_NUM_THREADS if there are more cores."
    return Finding("threads", "ok" if n > 1 else "warn", str(n), remedy)


def _kernels() -> Iterator[Finding]:
    import tempfile

    from gaelp.worlds.compiling import kernel_cache

    folder, compiled = kernel_cache()
    lasting = not folder.is_relative_to(tempfile.gettempdir())
    remedy = "" if lasting else "Set NUMBA_CACHE_DIR to a folder of your own, or each restart compiles anew."
    yield Finding("kernel cache", "ok" if lasting else "warn", f"{folder} can be written", remedy)
    if compiled:
        yield Finding("kernels", "ok", "compiled")
    else:
        yield Finding(
            "kernels", "warn", "not compiled", "The first command that simulates takes a minute longer."
        )


def _markets(folder: Path) -> Iterator[Finding]:
    from gaelp.core.errors import MarketFileError
    from gaelp.core.files import sha256_of
    from gaelp.market.file import load

    files = sorted(folder.glob("*.toml"))
    if not files:
        yield Finding("markets", "fail", f"no market file in {folder}", "Restore the folder from git.")
    try:
        lines = (folder / _SUMS).read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
        yield Finding(f"markets/{_SUMS}", "warn", "missing", "Market files cannot be told from edited ones.")
    frozen = {name.lstrip("*"): digest for digest, _, name in (line.partition(" ") for line in lines)}
    frozen = {name.strip(): digest for name, digest in frozen.items() if name}
    for path in files:
        name = f"markets/{path.name}"
        try:
            file = load(path)
        except MarketFileError as error:
            yield Finding(name, "fail", str(error), "Restore it from git.")
            continue
        expected = frozen.pop(path.name, None)
        if expected is None:
            remedy = "" if not lines else "Frozen files are listed there; this one is not."
            yield Finding(name, "warn" if lines else "ok", f"valid, not in {_SUMS}", remedy)
        elif expected != sha256_of(path):
            remedy = "Restore it from git; a market of your own belongs in a file of its own."
            yield Finding(name, "fail", f"valid, but its hash is not the one in {_SUMS}", remedy)
        else:
            yield Finding(name, "ok", f"valid, hash {expected[:12]} as frozen")
        yield from _made_for(file)
    for name, expected in frozen.items():
        good = (folder / name).is_file() and sha256_of(folder / name) == expected
        found = "as frozen" if good else f"missing, or its hash is not the one in {_SUMS}"
        yield Finding(
            f"markets/{name}", "ok" if good else "fail", found, "" if good else "Restore it from git."
        )


def _made_for(file: "MarketFile") -> Iterator[Finding]:
    """Whether what was found or drawn for a market belongs to the file as it is now, its base included."""
    from gaelp.core.errors import BadInput
    from gaelp.worlds.registry import committed_lines
    from gaelp.worlds.runs import read_json
    from gaelp.worlds.splits import heldout_path
    from gaelp.worlds.tuned import tuned_path

    for path, remedy in (
        (tuned_path(file), "Restore the market from git, or run `gaelp train --agent baselines`."),
        (committed_lines(file), "Restore the market from git, or train `static_lines` again."),
        (heldout_path(file), "Restore the market from git; test worlds are drawn once."),
    ):
        if not path.is_file():
            continue
        name = str(path.relative_to(file.path.parents[1]))
        try:
            made_for = str(read_json(path).get("market_sha256"))
        except BadInput as error:
            yield Finding(name, "fail", str(error), remedy)
            continue
        if made_for == file.sha256:
            yield Finding(name, "ok", f"made for market {made_for[:12]}")
        else:
            found = f"made for market {made_for[:12]}, but {file.path.name} is now {file.sha256[:12]}"
            yield Finding(name, "fail", found, remedy)


def _chromium() -> Finding:
    import shutil

    found = next((path for name in _BROWSERS if (path := shutil.which(name))), None)
    if found:
        return Finding("chromium", "ok", found)
    return Finding(
        "chromium", "warn", "not found", "Optional: only the tests of reports and dashboards use it."
    )
