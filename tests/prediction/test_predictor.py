"""The champion serves what it learnt, from one row as from many, and the next one takes over by itself."""

import numpy as np
import pytest

from gaelp.core.errors import BadInput, UnknownName
from gaelp.prediction.boosting import ONNX_TOLERANCE, fit_trees
from gaelp.prediction.calibration import Calibration
from gaelp.prediction.delay import COLUMN, delay_buckets
from gaelp.prediction.model import Ensemble, ResponseModel, load, save
from gaelp.prediction.predictor import NoChampion, Predictor
from gaelp.prediction.registry import Lineage, Registry
from gaelp.prediction.training import Recipe, train

from .registrars import NOW
from .tables import clicks, delayed_clicks

SAID = {"who": "ann", "why": "weekly", "now": NOW}


def put(registry, model, folder):
    save(model, folder)
    version = registry.register(folder, Lineage(), **SAID)
    registry.promote(version.name, **SAID)
    return version.name


def rows_of(examples, n=200):
    column = examples.categorical[0]
    cells = zip(examples.numeric[:n, 0], column.codes, strict=False)
    return [{"x": None if np.isnan(x) else float(x), "site": column.words[code]} for x, code in cells]


def ensemble():
    examples, _ = clicks(3000)
    early, late = examples.take(np.arange(2400)), examples.take(np.arange(2400, 3000))
    members = tuple(fit_trees(early, late, seed=seed, threads=1, numeric=("x",)) for seed in range(2))
    return ResponseModel(examples.columns, Ensemble(members), Calibration("platt", (-0.1, 1.1)))


def late_conversions():
    examples, _, now = delayed_clicks(6000)
    buckets = delay_buckets(examples, 336.0, now)
    rows = buckets.expand(examples, now)
    late = rows.hour > 900
    trees = fit_trees(rows.take(~late), rows.take(late), seed=0, threads=1, numeric=("x", COLUMN))
    return ResponseModel(examples.columns, trees, Calibration("none"), buckets)


MODELS = {
    "xgboost": lambda: train(clicks(3000)[0], Recipe()),
    "logistic": lambda: train(clicks(3000)[0], Recipe(kind="logistic")),
    "ensemble": ensemble,
    "late conversions": late_conversions,
}


@pytest.mark.parametrize("kind", MODELS)
def test_one_row_is_predicted_as_many_and_as_the_model_that_was_kept(kind, tmp_path):
    registry, model = Registry(tmp_path / "models"), MODELS[kind]()
    name = put(registry, model, tmp_path / "made")
    predictor, examples = Predictor(registry.folder), clicks(200, seed=5)[0]
    rows = rows_of(examples)
    rows[0]["site"] = "never seen"
    rows[1]["site"] = None
    version, many = predictor.predict(rows)
    assert version == name == predictor.version
    expected = model.predict(examples)  # an independent way in: codes, not dictionaries
    if kind != "late conversions":
        assert many[2:] == pytest.approx(expected[2:], abs=1e-12)
    assert many == pytest.approx(load(registry.get(name).folder).predict(_table(model, rows)), abs=0)
    single = np.array([predictor.predict([row])[1][0] for row in rows])
    assert np.abs(single - many).max() < 10 * ONNX_TOLERANCE
    assert predictor.predict([])[1].size == 0


def _table(model, rows):
    from gaelp.prediction.cells import table_of

    return table_of(model.columns, rows)


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept") / "model"
    save(train(clicks(2000)[0], Recipe(kind="logistic")), folder)
    return folder


@pytest.fixture
def registry(tmp_path, quick):
    registry = Registry(tmp_path / "models")
    registry.promote(registry.register(quick, Lineage(), **SAID).name, **SAID)
    return registry


@pytest.mark.parametrize("n", [1, 3])
def test_rows_that_do_not_fit_are_refused_by_name(registry, n):
    predictor, good = Predictor(registry), {"x": 0.5, "site": "a"}
    cases = [
        ({**good, "sitee": "a"}, UnknownName, "sitee.*Did you mean 'site'"),
        ({"x": 0.5}, BadInput, "column site.*missing"),
        ({**good, "x": "much"}, BadInput, "`x.*number"),
        ({**good, "x": float("inf")}, BadInput, "`x.*number"),
        ({**good, "x": True}, BadInput, "`x.*number"),
        ({**good, "site": True}, BadInput, "`site.*text"),
        ({**good, "site": "a\0"}, BadInput, "`site.*text"),
    ]
    for row, error, said in cases:
        with pytest.raises(error, match=said) as told:
            predictor.predict([good] * (n - 1) + [row])
        assert ("in row 2" in told.value.name) == (n == 3)
    with pytest.raises(BadInput, match="object"):
        predictor.predict([["a"]] * n)


def test_whoever_is_promoted_serves_from_the_next_row_on(registry, quick):
    predictor, row = Predictor(registry), {"x": 0.5, "site": "a"}
    assert predictor.predict([row])[0] == "v000001"
    registry.promote(registry.register(quick, Lineage(), **SAID).name, **SAID)
    assert predictor.predict([row])[0] == "v000002"
    registry.rollback(**SAID)
    assert predictor.predict([row])[0] == "v000001"


def test_a_champion_that_cannot_be_loaded_leaves_the_one_before_in_service(registry, quick):
    predictor, row = Predictor(registry), {"x": 0.5, "site": "a"}
    predictor.predict([row])
    broken = registry.register(quick, Lineage(), **SAID)
    (broken.folder / "model.npz").write_bytes(b"x")
    registry.promote(broken.name, **SAID)
    assert predictor.predict([row])[0] == "v000001" and "model.npz" in predictor.problem
    with pytest.raises(NoChampion, match=r"model\.npz"):
        Predictor(registry).predict([row])
    registry.rollback(**SAID)
    assert predictor.predict([row])[0] == "v000001" and predictor.problem is None


def test_without_a_champion_nothing_is_predicted(tmp_path):
    with pytest.raises(NoChampion):
        Predictor(tmp_path / "none").predict([{}])
