"""When a training stops, and what it may go on from."""

import signal
from threading import Thread

import pytest

from gaelp.core.errors import BadInput, MismatchError
from gaelp.learning import training, tuning
from gaelp.learning.training import Limit, keep, kept, uninterrupted
from gaelp.market.file import load

FILE = load("markets/family_safety.toml")


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes by hand, in minutes."""
    now = [0.0]
    monkeypatch.setattr(training.time, "perf_counter", lambda: 60.0 * now[0])
    return now


@pytest.mark.parametrize(
    ("epochs", "minutes", "says"),
    [
        (None, None, "give either epochs or minutes. For a first try: --minutes 5."),
        (3, 1.0, "give either epochs or minutes"),
        (None, float("nan"), "must be finite and above 0"),
        (None, float("inf"), "must be finite and above 0"),
        (None, 0.0, "must be finite and above 0"),
        (201, None, "must be at most 200"),
    ],
)
def test_a_limit_is_epochs_or_minutes_that_can_be(epochs, minutes, says):
    with pytest.raises(BadInput, match=says):
        Limit(epochs, minutes, most=200, first_try=5)


def test_epochs_count_from_the_beginning_and_minutes_from_now(clock):
    epochs = Limit(5, None)
    epochs.resume(3)
    assert [epochs.is_reached(done) for done in (3, 4, 5)] == [False, False, True]
    minutes = Limit(None, 10.0)
    minutes.resume(3)
    clock[0] = 5.0  # one epoch took five minutes: 70 % of another still fit
    assert not minutes.is_reached(4)
    clock[0] = 8.0  # two epochs took four each: 8 + .7 x 4 is more than ten
    assert minutes.is_reached(5)


def test_time_stops_nothing_before_the_first_epoch_of_this_turn(clock):
    limit = Limit(None, 1.0)
    limit.resume(7)
    clock[0] = 99.0
    assert not limit.is_reached(7) and limit.is_reached(8)


def test_what_lies_ahead_must_fit_too(clock):
    limit = Limit(None, 10.0)
    clock[0] = 3.0
    assert not limit.is_reached(1, ahead=2.0) and limit.is_reached(1, ahead=2.5)


def test_a_bound_on_epochs_also_ends_a_run_by_minutes():
    assert Limit(None, 1e9, most=4).is_reached(4)


def test_a_run_that_has_all_its_epochs_goes_on_only_if_something_is_left_to_do():
    with pytest.raises(BadInput, match="must be above the 3 already done"):
        Limit(3, None).resume(3)
    with pytest.raises(BadInput, match="must be above the 3 already done"):
        Limit(2, None).resume(3, finished=False)
    limit = Limit(3, None)
    limit.resume(3, finished=False)
    assert limit.is_reached(3)


def test_a_run_goes_on_from_its_own_agents_checkpoint_only(tmp_path):
    found = keep(tmp_path, FILE, "value", {}, {"epochs": 2})
    path, state = kept(tmp_path, FILE, "value")
    assert path.parent == tmp_path and state["epochs"] == found["epochs"] == 2
    assert kept(path, FILE, "value") == (path, state)
    with pytest.raises(MismatchError, match="must be of static_lines"):
        kept(tmp_path, FILE, "static_lines")
    for nothing in (None, tmp_path / "none"):
        with pytest.raises(BadInput, match="needs a checkpoint"):
            kept(nothing, FILE, "value")


def test_ctrl_c_waits_for_what_must_be_whole():
    done = []
    with pytest.raises(KeyboardInterrupt):
        with uninterrupted():
            signal.raise_signal(signal.SIGINT)
            done.append("told")
            done.append("kept")
        done.append("more")
    assert done == ["told", "kept"]
    with pytest.raises(KeyboardInterrupt):  # as before
        signal.raise_signal(signal.SIGINT)


def test_an_error_within_what_must_be_whole_is_the_one_that_counts():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(ValueError, match="it"), uninterrupted():
        raise ValueError("it")
    assert signal.getsignal(signal.SIGINT) is before


def test_other_threads_need_not_wait():
    done = []

    def work():
        with uninterrupted():
            done.append(1)

    thread = Thread(target=work)
    thread.start()
    thread.join()
    assert done == [1]


@pytest.mark.slow
def test_tuning_the_baselines_tells_all_its_world_hours_and_no_more():
    done = []
    tuning.tune(FILE, n_worlds=1, n_people=200, days=1, tick=done.append)
    assert sum(done) == tuning.world_hours(1, 1)
