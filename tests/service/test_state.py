"""What the log says of a champion that cannot be loaded: when it begins, and when it is over."""

import logging
import time

import pytest

from gaelp.prediction.predictor import Predictor
from gaelp.service.errors import Unavailable
from gaelp.service.settings import Settings
from gaelp.service.state import Service

from .conftest import PATIENCE_S
from .world import FEATURES, promote

BROKEN = "The champion could not be loaded"
OVER = "The trouble with the champion is over."


@pytest.fixture
def models(tmp_path, model, now):
    promote(tmp_path / "models", model, now)
    return tmp_path / "models"


@pytest.fixture
def service(models):
    """What predicts, without the parts that do not."""
    parts = ("clock", "keys", "metrics", "retrainer", "recorder")
    return Service(
        settings=Settings(models=models),
        target="ctr",
        predictor=Predictor(models, patient=False),
        **dict.fromkeys(parts),
    )


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, "gaelp.service")
    return lambda: [
        OVER if each.getMessage() == OVER else each.getMessage()[: len(BROKEN)] for each in caplog.records
    ]


def await_lines(told, expected, ask):
    """Ask until the log says so: a champion is loaded beside the requests."""
    end = time.monotonic() + PATIENCE_S
    while told() != expected:
        assert time.monotonic() < end, told()
        ask()
        time.sleep(0.01)
    for _ in range(3):  # and no more of it
        ask()
    assert told() == expected


def test_a_champion_that_cannot_be_loaded_while_the_old_one_serves_is_logged(service, models, told):
    aliases = models / "aliases.json"
    whole = aliases.read_text()
    expected = []
    assert service.predict([FEATURES])[0] == "v000001" and told() == expected
    for _ in range(2):  # the same trouble, returning
        aliases.write_text(whole[:-20])
        expected.append(BROKEN)
        await_lines(told, expected, lambda: service.predict([FEATURES]))
        aliases.write_text(whole)
        expected.append(OVER)
        await_lines(told, expected, service.version)


def test_each_trouble_that_leaves_nothing_to_serve_is_logged(service, models, told):
    aliases = models / "aliases.json"
    whole = aliases.read_text()
    aliases.write_text(whole[:-20])
    for _ in range(2):
        with pytest.raises(Unavailable, match="log says why"):
            service.predict([FEATURES])
        assert service.version() is None and told() == [BROKEN]
    aliases.write_text(whole)
    assert service.predict([FEATURES])[0] == "v000001" and told() == [BROKEN, OVER]
