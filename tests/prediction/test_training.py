"""Models learn what is there to learn, are judged on what came later, and are kept as they are."""

import json
from dataclasses import replace

import numpy as np
import pytest

from gaelp.core.errors import BadInput, MismatchError, UnknownName
from gaelp.data.tables import CodedColumn
from gaelp.prediction.boosting import ONNX_TOLERANCE
from gaelp.prediction.examples import examples_of, read_table
from gaelp.prediction.metrics import paired_difference, response_metrics
from gaelp.prediction.model import load, save
from gaelp.prediction.training import Recipe, evaluate_file, later_rows, train, train_file

from .tables import clicks, write_csv


@pytest.fixture(scope="module")
def rows():
    return clicks()


@pytest.fixture(scope="module", params=["xgboost", "logistic"])
def model(request, rows):
    return train(rows[0], Recipe(kind=request.param))


@pytest.mark.statistical
@pytest.mark.parametrize("kind", ["xgboost", "logistic"])
def test_a_model_comes_near_the_true_chance(kind):
    model = train(clicks(30_000)[0], Recipe(kind=kind, holdout=0.0))
    fresh, chance = clicks(40_000, seed=9)
    found = response_metrics(fresh.label, model.predict(fresh))
    best = response_metrics(fresh.label, chance)
    assert best["auc"] - found["auc"] < 0.01
    assert found["normalised_entropy"] - best["normalised_entropy"] < 0.01
    assert abs(found["calibration_slope"] - 1) < 4 * 0.04  # set by 4,500 rows of validation
    lead = paired_difference(fresh.label, model.predict(fresh), chance)
    assert lead.auc < 0 and lead.normalised_entropy > 0  # nothing beats the truth


def test_the_latest_rows_are_held_out_whatever_their_order(rows):
    examples, _ = rows
    held = later_rows(examples.hour, len(examples), 0.3, 0)
    assert held.sum() == 2400 and examples.hour[held].min() > examples.hour[~held].max()
    mixed = np.random.default_rng(1).permutation(len(examples))
    np.testing.assert_array_equal(later_rows(examples.hour[mixed], len(examples), 0.3, 0), held[mixed])
    days = np.floor(examples.hour / 24)
    kept = later_rows(days, len(examples), 0.3, 0)
    assert days[kept].min() > days[~kept].max()  # a day is not cut
    drawn = later_rows(None, len(examples), 0.3, 0)
    assert drawn.sum() == 2400 and not later_rows(None, 100, 0.0, 0).any()


def test_held_out_labels_change_nothing_but_the_figures(rows):
    examples, _ = rows
    held = later_rows(examples.hour, len(examples), 0.3, 0)
    turned = replace(examples, label=np.where(held, ~examples.label, examples.label))
    one, two = (train(each, Recipe(holdout=0.3)) for each in (examples, turned))
    np.testing.assert_array_equal(one.predict(examples), two.predict(examples))
    assert one.manifest["metrics"]["auc"] == pytest.approx(1 - two.manifest["metrics"]["auc"])


def test_the_onnx_model_predicts_as_the_native_one(rows):
    model = train(rows[0], Recipe())
    fresh, _ = clicks(5000, seed=3)
    assert model.manifest["onnx_max_difference"] <= ONNX_TOLERANCE
    np.testing.assert_allclose(
        model.scorer.onnx_raw(fresh), model.scorer.raw(fresh), rtol=0, atol=ONNX_TOLERANCE
    )


def test_words_that_were_not_there_at_training_are_predicted_near_the_base_rate(model):
    fresh, _ = clicks(3000, seed=4)
    unseen = CodedColumn("site", np.zeros(3000, np.int32), ("new",))
    predicted = model.predict(replace(fresh, categorical=(unseen,)))
    assert np.isfinite(predicted).all() and abs(predicted.mean() - 0.25) < 0.1


def test_a_kept_model_is_the_same_is_not_overwritten_and_shows_tampering(model, rows, tmp_path):
    folder = tmp_path / "deep" / "model"
    manifest = save(model, folder)
    again = load(folder)
    np.testing.assert_array_equal(again.predict(rows[0]), model.predict(rows[0]))
    assert again.manifest == json.loads(json.dumps(manifest))
    with pytest.raises(BadInput, match="a model is never overwritten"):
        save(model, folder)
    assert [file.name for file in folder.parent.iterdir()] == ["model"]
    for file in sorted(folder.iterdir()):
        kept = file.read_bytes()
        file.write_bytes(kept.replace(b"0", b"1", 1))
        with pytest.raises(BadInput, match=f"must hold {file.name} as it was written"):
            load(folder)
        file.write_bytes(kept)
    (folder / "calibration.json").unlink()
    with pytest.raises(BadInput, match=r"must hold calibration\.json"):
        load(folder)
    (folder / "manifest.json").write_text(json.dumps({**manifest, "format": 99}))
    with pytest.raises(MismatchError, match="Train it again"):
        load(folder)
    with pytest.raises(BadInput, match="must be the folder of a model"):
        load(tmp_path)


def test_the_same_table_and_seed_make_the_same_model(rows, tmp_path):
    file = write_csv(tmp_path / "clicks.csv", rows[0])
    columns, cells = read_table(file, label="click", time="hour")
    assert columns.numeric == ("x",) and columns.categorical == ("site",)
    ids = [
        save(train_file(file, columns, examples_of(columns, cells), Recipe(seed=seed), {}), tmp_path / name)[
            "model_id"
        ]
        for seed, name in ((5, "a"), (5, "b"), (6, "c"))
    ]
    assert ids[0] == ids[1] != ids[2]


def test_the_file_trained_on_is_judged_by_rows_held_out_and_another_by_all(rows, tmp_path):
    file = write_csv(tmp_path / "clicks.csv", rows[0])
    other = write_csv(tmp_path / "other.csv", clicks(2000, seed=8)[0])
    columns, cells = read_table(file, label="click", time="hour")
    examples = examples_of(columns, cells)
    saved = save(train_file(file, columns, examples, Recipe(), {}), tmp_path / "model")
    found = evaluate_file(tmp_path / "model", file, ["site"])
    assert found["rows_scored"] == "held out" and found["auc"] == saved["metrics"]["auc"]
    assert sum(part["n"] for part in found["slices"]["site"].values()) == found["n"] == 2400
    assert evaluate_file(tmp_path / "model", other)["n"] == 2000
    save(train_file(file, columns, examples, Recipe(holdout=0.0), {}), tmp_path / "all")
    with pytest.raises(BadInput, match="must hold rows that the model was not trained on"):
        evaluate_file(tmp_path / "all", file)
    assert evaluate_file(tmp_path / "all", other)["rows_scored"] == "all"


def test_a_column_that_knows_the_outcome_is_pointed_out(rows):
    examples, _ = rows
    leak = examples.label + np.random.default_rng(0).normal(0, 0.4, len(examples))
    columns = replace(examples.columns, numeric=("x", "after"))
    leaking = replace(examples, columns=columns, numeric=np.column_stack([examples.numeric, leak]))
    notes = train(leaking, Recipe()).manifest["notes"]
    assert any("`after`: make sure it is known before the outcome" in note for note in notes)
    assert train(examples, Recipe()).manifest["notes"] == []


def test_tables_that_cannot_be_learned_from_are_refused(rows, tmp_path):
    examples, _ = rows
    file = write_csv(tmp_path / "clicks.csv", examples)
    with pytest.raises(UnknownName, match="Did you mean 'click'"):
        read_table(file, label="clik")
    with pytest.raises(BadInput, match="`label` was None; must name a column"):
        read_table(file)
    with pytest.raises(UnknownName, match="known: criteo, table"):
        read_table(file, layout="avazu", label="click")
    with pytest.raises(BadInput, match="`column` was 'hour'; must be one thing"):
        read_table(file, label="click", time="hour", numeric=["hour"])
    with pytest.raises(BadInput, match="must leave at least one to predict from"):
        read_table(file, label="click", numeric=[])
    with pytest.raises(BadInput, match="Add --time COL"):
        read_table(file, label="click", delay="x", categorical=["site"])
    with pytest.raises(BadInput, match="must be 1 in some and 0 in others of the rows to train on"):
        train(replace(examples, label=np.zeros(len(examples), bool)), Recipe())
    held = later_rows(examples.hour, len(examples), 0.3, 0)
    with pytest.raises(BadInput, match="of the rows held out"):
        train(replace(examples, label=examples.label & ~held), Recipe())
    with pytest.raises(BadInput, match=r"`holdout` was 1\.5; must be a share"):
        Recipe(holdout=1.5)
    with pytest.raises(UnknownName, match="known: logistic, xgboost"):
        Recipe(kind="forest")
    text = file.read_text().splitlines()
    bad = tmp_path / "bad.csv"
    bad.write_text("\n".join([*text[:3], "1,yesterday,0.5,a", *text[3:]]))
    columns, cells = read_table(bad, label="click", time="hour")
    with pytest.raises(BadInput, match="`hour in row 3` was 'yesterday'; must be a number"):
        examples_of(columns, cells)
    bad.write_text("\n".join([*text[:3], "1,3,inf,a", *text[3:]]))
    with pytest.raises(
        BadInput, match="`x in row 3` was 'inf'; must be a number as nearly all of its column"
    ):
        read_table(bad, label="click", time="hour")
    columns, _ = read_table(bad, label="click", time="hour", categorical=["x", "site"])
    assert columns.categorical == ("x", "site")
    bad.write_text("\n".join([*text[:3], "1,7,0.5,a", *text[3:]]).replace("click,hour", "click,lag"))
    columns, cells = read_table(file, label="click", time="hour", delay="x", categorical=["site"])
    with pytest.raises(BadInput, match=r"x in row .*(must be a number of at least 0|hours until)"):
        examples_of(columns, cells)
