"""Tuned values fly only on the market file they were found on."""

import shutil
from pathlib import Path

import pytest

from gaelp.core.errors import BadInput
from gaelp.market.file import load
from gaelp.worlds.tuned import Tuned, save_tuned, tuned_for, tuned_path

MARKET = Path(__file__).parents[2] / "markets" / "family_safety.toml"


@pytest.fixture
def file(tmp_path):
    shutil.copy(MARKET, tmp_path)
    return load(tmp_path / MARKET.name)


def test_tuned_values_come_back_on_their_own_market(file):
    assert not tuned_for(file).for_this_market
    save_tuned(file, Tuned(fixed_multiplier=0.7), {})
    found = tuned_for(file)
    assert found.for_this_market and found.fixed_multiplier == 0.7


def test_an_edited_market_flies_untuned_and_says_so_once(file, capfd):
    save_tuned(file, Tuned(fixed_multiplier=0.7), {})
    file.path.write_text(file.path.read_text() + "\n# edited\n")
    edited = load(file.path)
    for _ in range(3):
        found = tuned_for(edited)
        assert (found.for_this_market, found.fixed_multiplier) == (False, 1.0)
    said = capfd.readouterr()
    assert said.out == "" and said.err.count("baselines fly untuned") == 1
    assert file.sha256[:12] in said.err and edited.sha256[:12] in said.err


def test_broken_tuned_values_are_bad_input(file):
    tuned_path(file).write_text("{")
    with pytest.raises(BadInput, match="must be JSON"):
        tuned_for(file)
