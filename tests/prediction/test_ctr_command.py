"""`gaelp ctr` as people type it, and what it finds in real logs."""

import gzip
import json

import numpy as np
import pytest

from gaelp.cli.ctr import ctr_app
from gaelp.core.errors import BadInput
from gaelp.prediction.examples import examples_of, read_table
from gaelp.prediction.metrics import paired_difference
from gaelp.prediction.training import Recipe, later_rows, train

from .tables import clicks, delayed_clicks, write_csv

PROMISED = {"auc", "auc_se", "logloss", "normalised_entropy", "ece", "calibration_slope", "n", "base_rate"}
CATEGORIES = ["cat1", "cat4", "cat6", "cat8", "cat9"]


@pytest.fixture
def ctr(capfd):
    def call(*arguments):
        ctr_app([str(argument) for argument in arguments], standalone_mode=False)
        said = capfd.readouterr().out
        return json.loads(said) if "--json" in arguments else said

    return call


def test_a_model_is_trained_kept_and_judged(ctr, tmp_path):
    file = write_csv(tmp_path / "clicks.csv", clicks(4000)[0])
    options = (file, "--label", "click", "--time", "hour", "--numeric", "x", "--categorical", "site")
    made = ctr("train", *options, "--out", tmp_path / "model", "--json")
    assert made["metrics"].keys() >= PROMISED and made["split"] == "time"
    assert made["rows"] == {"fit": 2380, "validation": 420, "holdout": 1200}
    judged = ctr("evaluate", tmp_path / "model", file, "--json")
    assert judged.keys() >= PROMISED and judged["auc"] == made["metrics"]["auc"]
    assert judged["model_id"] == made["model_id"]
    told = ctr("evaluate", tmp_path / "model", file, "--slice", "site")
    assert "held out" in told and "by site" in told
    with pytest.raises(BadInput, match="never overwritten"):
        ctr("train", *options, "--out", tmp_path / "model")
    assert "119 trees" not in ctr("train", *options, "--model", "logistic", "--out", tmp_path / "hashed")


def test_conversions_that_are_delayed_are_trained_and_judged_on_what_is_final(ctr, tmp_path):
    examples, _, _ = delayed_clicks(8000)
    site = examples.categorical[0]
    with open(tmp_path / "clicks.csv", "w") as file:
        file.write("converted,hour,lag,x,site\n")
        for label, hour, lag, x, code in zip(
            examples.label, examples.hour, examples.delay, examples.numeric[:, 0], site.codes, strict=True
        ):
            file.write(f"{int(label)},{3600 * hour:.0f},{lag if label else ''},{x},{site.words[code]}\n")
    options = (tmp_path / "clicks.csv", "--label", "converted", "--time", "hour", "--delay", "lag")
    made = ctr("train", *options, "--horizon", 336, "--holdout", 0.4, "--out", tmp_path / "m", "--json")
    judged = ctr("evaluate", tmp_path / "m", tmp_path / "clicks.csv", "--json")
    assert judged["rows_scored"] == "held out and mature"
    assert judged["auc"] == pytest.approx(made["metrics"]["auc"]) and judged["auc"] > 0.6


def test_criteos_display_log_is_read_and_judged(ctr, shared_data, tmp_path):
    file = shared_data / "criteo_display" / "train_first1500.csv.gz"
    made = ctr("train", file, "--format", "criteo", "--out", tmp_path / "model", "--json")
    assert made["split"] == "file order" and made["rows"]["holdout"] == 450
    assert made["onnx_max_difference"] <= 1e-5
    judged = ctr("evaluate", tmp_path / "model", file, "--json")
    assert judged.keys() >= PROMISED and judged["auc"] - 0.5 > 4 * judged["auc_se"]
    assert judged["unseen"]["C3"] > 0.2  # hashed ids that the first 892 rows did not hold
    with gzip.open(file, "rt") as text:  # as it is published: no header, no id, tabs
        rows = [line.rstrip("\n").split(",")[1:] for line in text][1:]
    bare = tmp_path / "bare.gz"
    with gzip.open(bare, "wt") as text:
        text.writelines("\t".join(row) + "\n" for row in rows)
    again = ctr("train", bare, "--format", "criteo", "--out", tmp_path / "bare", "--json")
    assert again["metrics"] == made["metrics"]


@pytest.mark.golden
def test_a_click_log_is_predicted_as_well_as_lightgbm_does(shared_data):
    lightgbm = pytest.importorskip("lightgbm")
    file = shared_data / "criteo_attribution_clicks" / "train.csv.gz"
    columns, cells = read_table(file, label="click", time="row", categorical=CATEGORIES)
    examples = examples_of(columns, cells)
    held = later_rows(examples.hour, len(examples), 0.3, 0)
    model = train(examples, Recipe())

    codes = np.stack([column.codes for column in examples.categorical], axis=1)
    rest = np.flatnonzero(~held)
    cut = int(0.85 * rest.size)
    early, late = (lightgbm.Dataset(codes[rows], examples.label[rows], categorical_feature=list(range(5)))
                   for rows in (rest[:cut], rest[cut:]))  # fmt: skip
    settings = {"objective": "binary", "learning_rate": 0.05, "num_threads": 1, "verbose": -1}
    referee = lightgbm.train(
        settings, early, 2000, valid_sets=[late], callbacks=[lightgbm.early_stopping(50, verbose=False)]
    )
    lead = paired_difference(
        examples.label[held], model.predict(examples.take(held)), referee.predict(codes[held])
    )
    print("ours less LightGBM's:", lead)
    assert lead.auc > -lead.auc_se
    assert lead.normalised_entropy < lead.normalised_entropy_se
    assert 0.95 < model.manifest["metrics"]["calibration_slope"] < 1.05
    assert model.manifest["onnx_max_difference"] <= 1e-5


def test_page_values_leak_the_purchase(ctr, shared_data, tmp_path):
    """`PageValues` is revenue shared out over the pages of a session: known after the sale, not before."""
    file = shared_data / "online_shoppers" / "sessions_dev.csv.gz"
    columns, _ = read_table(file, label="Revenue")
    known = ("--numeric", ",".join(name for name in columns.numeric if name != "PageValues"),
             "--categorical", ",".join(columns.categorical))  # fmt: skip
    leaking = ctr("train", file, "--label", "Revenue", "--out", tmp_path / "leaking", "--json")
    honest = ctr("train", file, "--label", "Revenue", *known, "--out", tmp_path / "honest", "--json")
    assert leaking["split"] == honest["split"] == "random"
    assert leaking["metrics"]["n"] == honest["metrics"]["n"]
    assert leaking["metrics"]["auc"] > 0.9 > 0.8 > honest["metrics"]["auc"]
    assert any("`PageValues`" in note for note in leaking["notes"]) and honest["notes"] == []
