"""The kernel cache is never stale, always writable, and does not grow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gaelp.core import jit as jit_module
from gaelp.core.jit import compiled, jit, kernel_cache_dir, watch_compilation

PACKAGE = Path(jit_module.__file__).parents[1]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the decorator inside a package with one kernel, one helper and one constant."""
    package = tmp_path / "tree" / "gaelp"
    for folder in ("core", "market"):
        (package / folder).mkdir(parents=True)
        (package / folder / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    shutil.copy(PACKAGE / "core" / "jit.py", package / "core")
    (package / "market" / "constants.py").write_text("STEP = 10\n")
    (package / "market" / "helper.py").write_text(
        "from gaelp.core.jit import jit\n@jit\ndef twice(x):\n    return 2 * x\n"
    )
    (package / "market" / "kernel.py").write_text(
        "from gaelp.core.jit import jit\n"
        "from .constants import STEP\n"
        "from .helper import twice\n"
        "@jit\ndef run(x):\n    return twice(x) + STEP\n"
    )
    (package / "unrelated.py").write_text("COLOUR = 'blue'\n")
    return tmp_path / "tree"


def run_in(tree: Path, code: str, **environment: str) -> list[str]:
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    result = subprocess.run(
        [sys.executable, "-B", "-c", code],
        env={**inherited, "HOME": str(tree), "PYTHONPATH": str(tree), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.split()


RUN = (
    "from gaelp.market.kernel import run; from gaelp.core.jit import *; from gaelp.core import jit as j\n"
    "with j.watch_compilation() as seen: print(run(1))\n"
    "print(seen.kernels, j.kernel_cache_dir())"
)
WHERE = "from gaelp.core.jit import kernel_cache_dir as where; print(where())"


def test_an_edited_helper_or_constant_is_seen_by_the_next_process(tree: Path) -> None:
    value, kernels, folder = run_in(tree, RUN)
    assert (value, kernels) == ("12", "2")
    assert run_in(tree, RUN) == ["12", "0", folder], "the second process must load, not compile"
    assert Path(folder).parent == tree / "gaelp" / "__kernels__"

    helper = tree / "gaelp" / "market" / "helper.py"
    helper.write_text(helper.read_text().replace("2 * x", "3 * x"))
    assert run_in(tree, RUN)[0] == "13"

    (tree / "gaelp" / "market" / "constants.py").write_text("STEP = 20\n")
    assert run_in(tree, RUN)[0] == "23"


def test_the_folder_changes_with_what_kernels_can_reach_and_with_nothing_else(tree: Path) -> None:
    (before,) = run_in(tree, WHERE)
    (tree / "gaelp" / "unrelated.py").write_text("COLOUR = 'red'\n")
    assert run_in(tree, WHERE) == [before]
    (tree / "gaelp" / "market" / "constants.py").write_text("STEP = 11\n")
    assert run_in(tree, WHERE) != [before]


def test_only_the_three_newest_folders_stay(tree: Path) -> None:
    folders = []
    for step in range(5):
        (tree / "gaelp" / "market" / "constants.py").write_text(f"STEP = {step}\n")
        (folder,) = run_in(tree, WHERE)
        folders.append(Path(folder))
        os.utime(folder, (1_000_000 + step, 1_000_000 + step))
    assert [folder.exists() for folder in folders] == [False, False, True, True, True]


def test_a_tree_that_cannot_be_written_falls_back_and_still_runs(tree: Path, tmp_path: Path) -> None:
    # A file where the folder should be refuses root too, which permissions would not.
    (tree / "gaelp" / "__kernels__").write_text("")
    cache = tmp_path / "cache"
    value, _, folder = run_in(tree, RUN, XDG_CACHE_HOME=str(cache))
    assert value == "12"
    assert Path(folder).parent == cache / "gaelp" / "kernels"

    temporary = tmp_path / "temporary"
    temporary.mkdir()
    (tmp_path / "no_folder").write_text("")
    environment = {"XDG_CACHE_HOME": str(tmp_path / "no_folder"), "TMPDIR": str(temporary)}
    value, kernels, folder = run_in(tree, RUN, **environment)
    assert (value, kernels) == ("12", "2")
    assert temporary in Path(folder).parents
    assert run_in(tree, RUN, **environment) == ["12", "0", folder]


def test_a_folder_others_can_write_is_not_trusted(tree: Path, tmp_path: Path) -> None:
    (tree / "gaelp" / "__kernels__").mkdir()
    (tree / "gaelp" / "__kernels__").chmod(0o777)
    (folder,) = run_in(tree, WHERE, XDG_CACHE_HOME=str(tmp_path / "cache"))
    assert Path(folder).parent == tmp_path / "cache" / "gaelp" / "kernels"


def test_the_user_may_choose_the_folder(tree: Path, tmp_path: Path) -> None:
    (folder,) = run_in(tree, WHERE, NUMBA_CACHE_DIR=str(tmp_path / "chosen"))
    assert Path(folder).parent == tmp_path / "chosen" / "gaelp"


def test_compilation_is_announced_once_and_timed_apart() -> None:
    @jit(inline=True)
    def ratio(a: float, b: float) -> float:
        return a / b

    @jit
    def sum_of_ratios(a: float, b: float) -> float:
        return ratio(a, b) + ratio(b, a)

    announced: list[str] = []
    assert not compiled(sum_of_ratios)
    with watch_compilation(lambda: announced.append("compiling")) as seen:
        assert sum_of_ratios(1.0, 0.0) == np.inf, "division by zero follows NumPy"
    assert compiled(sum_of_ratios)
    assert len(announced) == (seen.kernels > 0)
    assert (seen.seconds > 0) == (seen.kernels > 0)


def test_other_libraries_keep_their_own_cache() -> None:
    import numba

    before = numba.config.CACHE_DIR
    assert kernel_cache_dir().is_dir()
    jit(lambda x: x)
    assert numba.config.CACHE_DIR == before
