"""The layers of the architecture hold, and the machine that checks them can fail."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))",
        ],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    no_caches = shutil.ignore_patterns("__pycache__", "__kernels__", "*.egg-info")
    shutil.copytree(REPOSITORY / "src", tmp_path / "src", ignore=no_caches)
    return tmp_path


def test_the_layers_hold(copy: Path) -> None:
    result = lint_imports(copy)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "line", "complaint"),
    [
        ("core", "import gaelp.journeys", "gaelp.core -> gaelp.journeys"),
        ("market", "import gaelp.agents", "gaelp.market -> gaelp.agents"),
        ("agents", "from gaelp import market", "gaelp.agents -> gaelp.market"),
        ("evaluation", "import gaelp.learning", "gaelp.evaluation -> gaelp.learning"),
    ],
)
def test_an_import_against_the_layers_is_found(copy: Path, importer: str, line: str, complaint: str) -> None:
    (copy / "src" / "gaelp" / importer / "trespasser.py").write_text(line + "\n")
    result = lint_imports(copy)
    assert result.returncode == 1
    assert complaint.replace(" ->", ".trespasser ->") in " ".join(result.stdout.split())


def test_observation_is_kept_from_the_market_from_its_first_day(copy: Path) -> None:
    observation = copy / "src" / "gaelp" / "observation"
    observation.mkdir(exist_ok=True)
    (observation / "__init__.py").touch()
    (observation / "trespasser.py").write_text("import gaelp.market\n")
    result = lint_imports(copy)
    assert result.returncode == 1
    assert "gaelp.observation.trespasser" in result.stdout


def test_a_package_without_a_floor_is_found(copy: Path) -> None:
    (copy / "src" / "gaelp" / "utilities").mkdir()
    (copy / "src" / "gaelp" / "utilities" / "__init__.py").touch()
    result = lint_imports(copy)
    assert result.returncode == 1
    assert "utilities" in result.stdout
