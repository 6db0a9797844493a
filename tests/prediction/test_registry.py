"""Versions never change, aliases always point to whole models, and writers take turns."""

import datetime as dt
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from gaelp.core.errors import BadInput, MismatchError, UnknownName
from gaelp.prediction.lock import Locked, alone
from gaelp.prediction.model import load, save
from gaelp.prediction.registry import Lineage, Registry
from gaelp.prediction.training import Recipe, train

from .registrars import FILES, NOW, make_model
from .tables import clicks

REGISTRARS = Path(__file__).parent / "registrars.py"
SAID = {"who": "ann", "why": "weekly", "now": NOW}


@pytest.fixture
def model(tmp_path):
    return make_model(tmp_path / "model")


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path / "registry")


def start(registry, model, times):
    command = [sys.executable, str(REGISTRARS), str(registry.folder), str(model), str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_a_version_keeps_the_model_and_where_it_is_from(registry, model):
    lineage = Lineage(
        data_sha256="ab" * 32, code={"gaelp": "0.1.0"}, seed=7, metrics={"auc": 0.7, "ece": None}
    )
    made = registry.register(model, lineage, **SAID)
    assert (made.name, made.who, made.why, made.at) == ("v000001", "ann", "weekly", NOW.isoformat())
    assert made.lineage == lineage and registry.check("v000001") == made == registry.get("v000001")
    assert {name: (made.folder / name).read_bytes() for name in made.files} == FILES
    child = registry.register(model, Lineage(parent="v000001"), **SAID)
    assert child.lineage.parent == "v000001" and registry.versions() == [made, child]
    assert registry.aliases() == {"champion": None, "challenger": None, "previous": None}


def test_lineage_is_read_from_a_response_models_manifest(tmp_path):
    told = {"data": {"sha256": "cd"}, "code": {"commit": "x"}, "recipe": {"seed": 3}, "metrics": {"auc": 0.6}}
    (tmp_path / "manifest.json").write_text(json.dumps(told))
    found = Lineage.of_model(tmp_path)
    assert (found.data_sha256, found.code, found.seed) == ("cd", {"commit": "x"}, 3)
    assert found.metrics == {"auc": 0.6} and found.config == {"seed": 3} and found.parent is None
    with pytest.raises(BadInput, match="must be a readable JSON file"):
        Lineage.of_model(tmp_path / "nowhere")


def test_a_response_model_that_was_registered_predicts_as_it_did(registry, tmp_path):
    examples, _ = clicks(3000)
    trained = train(examples, Recipe(kind="logistic", seed=3), data={"sha256": "ab"})
    save(trained, tmp_path / "trained")
    made = registry.register(tmp_path / "trained", Lineage.of_model(tmp_path / "trained"), **SAID)
    registry.promote(made.name, **SAID)
    champion = registry.get("champion")
    assert (load(champion.folder).predict(examples) == trained.predict(examples)).all()
    assert champion.lineage.seed == 3 and champion.lineage.metrics["auc"] > 0.6


def test_aliases_move_together(registry, model):
    for _ in range(3):
        registry.register(model, Lineage(), **SAID)
    registry.promote("v000001", **SAID)
    registry.challenge("v000002", **SAID)
    assert registry.get("challenger").name == "v000002"
    registry.promote("v000002", over="v000001", evidence={"gain": 0.05}, **SAID)
    assert registry.aliases() == {"champion": "v000002", "challenger": None, "previous": "v000001"}
    registry.challenge("v000003", **SAID)
    registry.reject(**SAID)
    registry.rollback(**SAID)
    assert registry.aliases() == {"champion": "v000001", "challenger": None, "previous": None}
    moves = registry.moves()
    assert [m.action for m in moves] == ["promote", "challenge", "promote", "challenge", "reject", "rollback"]
    assert moves[2].evidence == {"gain": 0.05} and moves[2].who == "ann"


def test_moves_that_make_no_sense_are_refused_and_change_nothing(registry, model):
    registry.register(model, Lineage(), **SAID)
    with pytest.raises(UnknownName, match="newest: v000001"):
        registry.promote("challenger", **SAID)  # there is none
    with pytest.raises(BadInput, match="`previous` was None"):
        registry.rollback(**SAID)
    registry.promote("v000001", **SAID)
    registry.register(model, Lineage(), **SAID)
    refused = [
        lambda: registry.promote("v000001", **SAID),
        lambda: registry.promote("v000002", over="v000009", **SAID),
        lambda: registry.promote("v000002", who=" ", why="x", now=NOW),
        lambda: registry.challenge("v2", **SAID),
        lambda: registry.promote("v000002", who="a", why="b", now=dt.datetime(2026, 1, 1)),
        lambda: registry.register(model / "nowhere", Lineage(), **SAID),
        lambda: registry.register(model, Lineage(parent="v000009"), **SAID),
        lambda: registry.register(model, Lineage(metrics={"auc": float("nan")}), **SAID),
        lambda: registry.prune(0),
    ]
    for each in refused:
        with pytest.raises(BadInput):
            each()
    assert len(registry.moves()) == 1 and len(registry.versions()) == 2


def test_an_altered_missing_or_added_file_is_noticed(registry, model):
    made = registry.register(model, Lineage(), **SAID)
    part = made.folder / "part1.bin"
    for change in (
        lambda: part.write_bytes(b"x"),
        lambda: part.unlink(),
        lambda: (part.write_bytes(FILES["part1.bin"]), (made.folder / "new").write_bytes(b"")),
    ):
        change()
        with pytest.raises(BadInput, match="v000001"):
            registry.check("v000001")
    (made.folder / "new").unlink()
    registry.check("v000001")


def test_pruning_keeps_the_newest_and_whatever_has_an_alias(registry, model):
    for _ in range(5):
        registry.register(model, Lineage(), **SAID)
    registry.promote("v000001", **SAID)
    registry.promote("v000003", **SAID)
    assert registry.prune(1) == ["v000002", "v000004"]
    assert [each.name for each in registry.versions()] == ["v000001", "v000003", "v000005"]
    assert registry.register(model, Lineage(), **SAID).name == "v000006"


def test_another_format_is_refused(registry, model):
    registry.register(model, Lineage(), **SAID)
    registry.promote("v000001", **SAID)
    path = registry.folder / "aliases.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(MismatchError):
        registry.aliases()


def test_only_folders_named_as_versions_are_versions(registry, model):
    registry.register(model, Lineage(), **SAID)
    kept = registry.folder / "versions"
    for name in ("v-old", "v2", "v000003x", "vnew"):
        (kept / name).mkdir()
    (kept / "v000009").write_text("no folder")
    (kept / "v000001").rename(kept / "v999999")
    (kept / "v999999" / "version.json").write_text(
        (kept / "v999999" / "version.json").read_text().replace("v000001", "v999999")
    )
    assert registry.register(model, Lineage(), **SAID).name == "v1000000"
    assert [each.name for each in registry.versions()] == ["v999999", "v1000000"]
    assert registry.prune(1) == ["v999999"]


def moves_of(path, change):
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told["moves"][0].update(approved_by="bob"),
        lambda told: told["moves"][0].pop("why"),
        lambda told: told["moves"][0]["aliases"].pop("previous"),
        lambda told: told["moves"].append("promote"),
        lambda told: told["moves"][0].update(aliases=None),
        lambda told: told.pop("moves"),
        lambda told: told.update(moves=3),
    ],
)
def test_moves_of_another_version_of_the_program_are_refused_by_name(registry, model, change):
    registry.register(model, Lineage(), **SAID)
    registry.promote("v000001", **SAID)
    moves_of(registry.folder / "aliases.json", change)
    with pytest.raises(MismatchError, match="moves"):
        registry.get("champion")


@pytest.mark.parametrize("change", [lambda told: told.update(format=2), lambda told: told.pop("seed")])
def test_a_version_of_another_version_of_the_program_is_refused_by_name(registry, model, change):
    made = registry.register(model, Lineage(), **SAID)
    moves_of(made.folder.parent / "version.json", change)
    with pytest.raises(MismatchError, match="v000001"):
        registry.versions()


def test_writers_take_turns(registry, model):
    writers = [start(registry, model, 4) for _ in range(3)]
    told = [name for writer in writers for name in writer.communicate()[0].split()[1:]]
    assert all(writer.returncode == 0 for writer in writers)
    assert len(set(told)) == len(told) == 12  # no number was given twice
    moves = registry.moves()
    assert len(moves) == 24 and sum(move.action == "promote" for move in moves) == 12
    for name in filter(None, registry.aliases().values()):
        registry.check(name)


def test_a_lock_is_refused_while_held_and_free_when_its_holder_is_killed(tmp_path):
    code = "import sys, time; from gaelp.prediction.lock import alone\n"
    code += "with alone(sys.argv[1]):\n    print('held', flush=True)\n    time.sleep(600)"
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Locked), alone(path, patience_s=0):
            pass
        holder.kill()
    with alone(path, patience_s=10):
        pass


def kill_often(registry, model, times):
    """Kill writers at random moments; after each, every alias points to a whole model."""
    rng = np.random.default_rng(times)
    for i in range(times):
        with start(registry, model, 10**6) as writer:
            assert writer.stdout.readline() == "ready\n"
            time.sleep(float(rng.uniform(0.0, 0.3)))
            writer.kill()
            told = writer.stdout.read().split()
        held = registry.aliases()
        for name in filter(None, held.values()):
            assert registry.check(name).files.keys() == FILES.keys()
        for version in registry.versions():
            registry.check(version.name)
        if told:  # what was answered is there
            assert held["champion"] >= told[-1]
        assert i < 3 or registry.moves()
    last = registry.register(model, Lineage(), **SAID)  # the lock is free, leftovers are swept
    assert not list((registry.folder / "versions").glob(".*"))
    assert registry.promote(last.name, **SAID).aliases["champion"] == last.name


def test_a_killed_writer_leaves_aliases_that_point_to_whole_models(registry, model):
    kill_often(registry, model, 20)


@pytest.mark.study
@pytest.mark.timeout(3600)
def test_three_hundred_killed_writers_leave_whole_models(registry, model):
    kill_often(registry, model, 300)
