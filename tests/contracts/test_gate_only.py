"""Nothing reaches a platform that the gate has not approved: only gate.py makes `ApprovedControls`."""

import ast
from pathlib import Path

import numpy as np
import pytest

from gaelp.control.controls import ApprovedControls, propose
from gaelp.control.gate import Gate, Limits
from gaelp.core.errors import BadInput
from gaelp.core.words import N_LINES
from gaelp.market.file import load
from gaelp.market.market import Market, World
from gaelp.platforms.simulated import SimulatedPlatform

REPOSITORY = Path(__file__).parents[2]
SOURCES = REPOSITORY / "src" / "gaelp"
NAME = "ApprovedControls"
GATE = Path("control") / "gate.py"


def makers(source: str) -> list[int]:
    """Lines that could make approved controls: any use but import, annotation or isinstance check."""
    tree = ast.parse(source)
    harmless: set[int] = set()
    for node in ast.walk(tree):
        parts: list[ast.AST | None] = []
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            arguments = node.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            parts = [
                argument.annotation for argument in (*every, arguments.vararg, arguments.kwarg) if argument
            ]
            parts.append(node.returns)
        elif isinstance(node, ast.AnnAssign):
            parts = [node.annotation]
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
            parts = list(node.args[1:])
        for part in parts:
            harmless |= {id(inner) for inner in ast.walk(part)} if part is not None else set()
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom | ast.Import):
            named = {alias.name.rpartition(".")[2]: alias.asname for alias in node.names}
            if named.get(NAME):  # under another name it could not be followed
                found.append(node.lineno)
        name = getattr(node, "id", None) or getattr(node, "attr", None)
        if isinstance(node, ast.Name | ast.Attribute) and name == NAME and id(node) not in harmless:
            found.append(node.lineno)
    return found


@pytest.mark.contract
def test_only_the_gate_makes_approved_controls():
    files = sorted(SOURCES.rglob("*.py"))
    assert SOURCES / GATE in files
    found = {path.relative_to(SOURCES): makers(path.read_text(encoding="utf-8")) for path in files}
    assert {path for path, lines in found.items() if lines} == {GATE}, found


@pytest.mark.parametrize(
    "trespass",
    [
        "controls.ApprovedControls(bid_usd=bid)",
        "from gaelp.control.controls import ApprovedControls\nx = ApprovedControls(**fields)",
        "x = object.__new__(ApprovedControls)",
        "make = ApprovedControls",
        "from gaelp.control.controls import ApprovedControls as Plain",
        "class Mine(ApprovedControls): ...",
        "x = replace(cast(ApprovedControls, y), bid_usd=bid)",
    ],
)
def test_a_way_round_the_gate_would_be_found(trespass):
    assert makers(trespass)


def test_naming_the_type_is_no_trespass():
    harmless = (
        "from gaelp.control.controls import ApprovedControls\n"
        "def apply(self, approved: ApprovedControls | None) -> ApprovedControls:\n"
        "    kept: ApprovedControls = approved\n"
        "    assert isinstance(kept, ApprovedControls)\n"
        "    return kept\n"
    )
    assert makers(harmless) == []


@pytest.fixture(scope="module")
def platform():
    file = load(REPOSITORY / "markets" / "family_safety.toml")
    return SimulatedPlatform(Market([World(file, 1)], n_people=50))


@pytest.mark.contract
def test_a_platform_refuses_what_the_gate_has_not_seen(platform):
    proposed = propose(np.ones((1, N_LINES)), np.ones(1))
    for unseen in (proposed, None, {"bid_usd": 1.0}):
        with pytest.raises(BadInput, match="must be ApprovedControls"):
            platform.apply(unseen)
    assert not platform.controls.bid.any()


@pytest.mark.contract
def test_a_platform_takes_what_the_gate_approves(platform):
    cap = np.array([3_000_000])
    gate = Gate(Limits(bid_cap_usd=np.full(N_LINES, 5.0), target_cap_usd=100.0, daily_cap_micros=cap))
    approved, denials = gate.check(propose(np.full((1, N_LINES), 2.0), np.array([3.0])))
    assert isinstance(approved, ApprovedControls) and not denials
    platform.apply(approved)
    assert (platform.controls.bid[0, 0] == 2.0).all()
    assert platform.controls.daily_cap[0, 0] == 3_000_000
