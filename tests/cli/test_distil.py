"""`gaelp export clicks`, `ctr train` and `ctr distil`: from a market to one that answers as a model does."""

from pathlib import Path

import pytest

from gaelp.market.file import load

from .conftest import Gaelp

SIZES = ("--users", "6000", "--days", "15")


def test_a_market_is_made_to_answer_by_a_model_of_its_own_clicks(gaelp: Gaelp, tmp_path: Path) -> None:
    clicks, model, own = tmp_path / "clicks.csv", tmp_path / "model", tmp_path / "own.toml"
    told = gaelp("export", "clicks", *SIZES, "--out", clicks, "--json").json
    assert told["ads"] == len(clicks.read_text().splitlines()) - 1 > 10_000
    assert told["clicks"] == sum(row["clicks"] for row in told["channels"].values()) > 100
    gaelp("ctr", "train", clicks, "--label", "clicked", "--time", "hour", "--out", model, "--json")
    command = ("ctr", "distil", model, clicks, "--out", own)
    found = gaelp(*command, "--json").json
    assert found["out"] == str(own) and found["base"] == "family_safety"
    assert found["market_sha256"] == load(own).sha256
    assert found["ads"] == told["ads"]
    assert found["fit"]["market"]["misplaced"] < found["fit"]["base"]["misplaced"]
    for row in found["channels"].values():
        assert row["market"] == pytest.approx(row["model"], rel=0.01)
    first = own.read_text().splitlines()[0]
    assert first == f"# Made by: gaelp ctr distil {model} {clicks} --out {own}"
    flown = gaelp("simulate", "--market", own, "--worlds", "1", "--users", "1000", "--days", "1", "--no-twin",
                  "--runoff-days", "0", "--json")  # fmt: skip
    assert flown.json["market_sha256"] == found["market_sha256"]

    shown = gaelp(*command)
    assert "follows" in shown.out and f"wrote {own}" in shown.out.replace("\n", "")
    again = gaelp("export", "clicks", *SIZES, "--out", tmp_path / "again.csv")
    assert again.code == 0 and "search: " in again.out
    assert (tmp_path / "again.csv").read_bytes() == clicks.read_bytes()

    for arguments, said in (
        ((model, clicks, "--out", tmp_path / "own.txt"), "must end in .toml"),
        ((model, clicks, "--out", own, "--market", own), "must not be own.toml or a file that it extends"),
        ((model, clicks, "--out", tmp_path / "b.toml", "--market", own), "without [response] tables"),
        ((tmp_path, clicks, "--out", tmp_path / "b.toml"), "the folder of a model"),
        ((model, tmp_path / "none.csv", "--out", tmp_path / "b.toml"), "must be a file that exists"),
    ):
        refused = gaelp("ctr", "distil", *arguments)
        assert refused.code == 2 and said in refused.err, said
    assert not (tmp_path / "b.toml").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--out", "clicks.txt"), ".csv or .parquet"),
        (("--out", "clicks.csv", "--days", "0"), "from 1"),
        (("--out", "clicks.csv", "--policy", "nobody"), "nobody"),
    ],
)
def test_an_export_of_clicks_that_cannot_be_is_refused_before_it_is_lived(
    gaelp: Gaelp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    refused = gaelp("export", "clicks", *arguments)
    assert refused.code == 2 and said in refused.err
    assert not list(tmp_path.iterdir())
