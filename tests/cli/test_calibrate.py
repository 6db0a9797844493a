"""`gaelp calibrate`: an export becomes a market file and a page; what cannot be is refused at once."""

import json
from pathlib import Path

import pytest
import typer

from gaelp.cli.calibrate import calibrate_command
from gaelp.core.errors import BadInput
from gaelp.data.calibration_targets import STATISTICS
from gaelp.market.file import load
from gaelp.worlds.calibration.parameters import FREE, levels_of
from gaelp.worlds.ga4_export import ADS, EVENTS_FOLDER, TRUTH, Ga4Options, export_ga4, status_quo
from gaelp.worlds.splits import drawn_world, plain_worlds

MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"


def calibrate(*arguments: object) -> None:
    app = typer.Typer()
    app.command()(calibrate_command)
    app([str(each) for each in arguments], standalone_mode=False)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_export_becomes_a_market_file_and_a_page(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    base = load(MARKET)
    export_ga4(
        tmp_path / "ga4",
        plain_worlds(base, 1, 5)[0],
        status_quo(base),
        n_people=3000,
        days=10,
        options=Ga4Options(),
    )
    (tmp_path / "ga4" / TRUTH).unlink()
    out, page = tmp_path / "fitted" / "market.toml", tmp_path / "fit.html"
    typed: tuple[object, ...] = ("--ga4", tmp_path / "ga4" / EVENTS_FOLDER, "--ads", tmp_path / "ga4" / ADS)
    typed += ("--out", out, "--report", page, "--people", 3000, "--users", 300, "--worlds", 64, "--json")
    capfd.readouterr()
    calibrate(*typed)
    found = json.loads(capfd.readouterr().out)
    assert set(found["parameters"]) == {free.name for free in FREE}
    assert set(found["statistics"]) == {each.name for each in STATISTICS}
    assert found["people"] == 3000 and found["days"] == 10 and found["seed"] == 0
    assert len(found["posterior"]["draws"][0]) == len(FREE)
    fitted = load(out)
    levels = levels_of(fitted, base)
    for i, free in enumerate(FREE):
        assert levels[i] == pytest.approx(found["parameters"][free.name]["level"], abs=1e-4)
    assert fitted.start == base.start
    assert drawn_world(fitted, "train", 0, 0).file.name == base.name
    text = page.read_text(encoding="utf-8")
    assert "Simulated beside real" in text and "search price" in text and "No data" not in text


def test_what_cannot_be_calibrated_is_refused_before_any_world_is_lived(tmp_path: Path) -> None:
    there = ("--ga4", tmp_path, "--ads", tmp_path / "ads.csv")
    file = tmp_path / "file"
    file.touch()
    market, folder = ("--out", tmp_path / "market.toml"), tmp_path / "folder.toml"
    folder.mkdir()
    for arguments, named in (
        ((*there, "--out", tmp_path / "market.json"), "out"),
        ((*there, "--out", MARKET), "out"),
        ((*there, "--out", folder), "out.*is a folder"),
        ((*there, "--out", file / "market.toml"), "out.*cannot be written"),
        ((*there, *market, "--report", tmp_path), "report.*is a folder"),
        ((*there, *market, "--report", market[1]), "report.*the place of out"),
        ((*there, *market, "--keep", file), "keep.*is a file"),
        ((*there, *market, "--keep", file / "worlds"), "keep.*cannot be written"),
        ((*there, *market), "export"),
    ):
        with pytest.raises(BadInput, match=named):
            calibrate(*arguments)
    assert sorted(tmp_path.iterdir()) == [file, folder]


def test_few_worlds_are_warned_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for worlds, is_warned in ((299, True), (300, False)):
        with pytest.raises(BadInput, match="export"):
            calibrate("--ga4", tmp_path, "--ads", "no", "--out", tmp_path / "m.toml", "--worlds", worlds)
        assert ("too narrow" in capfd.readouterr().err) == is_warned
