"""Off-policy estimates against a truth that is known, and the refusal where the log cannot tell."""

import numpy as np
import pytest

from gaelp.core.errors import BadInput
from gaelp.measurement.experiments.off_policy import checked_target, off_policy, uniform_target

RATE = np.array([[0.02, 0.05, 0.10, 0.20], [0.30, 0.10, 0.05, 0.02]])  # by context and action
LOGGING = np.array([[0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.3, 0.4]])
TARGET = np.array([[0.1, 0.1, 0.2, 0.6], [0.7, 0.1, 0.1, 0.1]])
TRUTH = float((TARGET * RATE).sum(axis=1).mean())
WANTED = {(str(c), str(a)): float(TARGET[c, a]) for c in range(2) for a in range(4)}


def log(rng, n):
    context = rng.integers(2, size=n)
    action = (rng.random(n)[:, None] > np.cumsum(LOGGING, axis=1)[context]).sum(axis=1)
    reward = (rng.random(n) < RATE[context, action]).astype(float)
    return reward, LOGGING[context, action], action.astype(str), context.astype(str)


@pytest.mark.statistical
def test_all_three_find_what_the_target_would_have_earned():
    rng = np.random.default_rng(0)
    found = {name: [] for name in ("ips", "snips", "dr")}
    held = {name: [] for name in found}
    for _ in range(300):
        reward, propensity, action, context = log(rng, 3_000)
        told = off_policy(reward, propensity, action, WANTED, context)
        for name in found:
            low, high = told["intervals"][name]
            found[name].append(told[name])
            held[name].append(low <= TRUTH <= high)
    for name, values in found.items():
        assert abs(np.mean(values) - TRUTH) < 4 * np.std(values) / np.sqrt(300), name
        assert abs(np.mean(held[name]) - 0.95) < 4 * np.sqrt(0.95 * 0.05 / 300), name
    assert np.std(found["dr"]) < np.std(found["snips"]) < np.std(found["ips"])


@pytest.mark.statistical
def test_doubly_robust_survives_wrong_propensities_and_ips_does_not():
    reward, propensity, action, context = log(np.random.default_rng(1), 60_000)
    wrong = np.where(action == "3", 2 * propensity, propensity)
    told = off_policy(reward, wrong, action, WANTED, context)
    assert abs(told["dr"] - TRUTH) < 0.01 < abs(told["ips"] - TRUTH)
    assert told["mean_weight"] < 0.85  # which says so


@pytest.mark.golden
def test_the_estimators_are_their_formulas():
    rng = np.random.default_rng(2)
    reward, propensity, action, context = log(rng, 1_000)
    told = off_policy(reward, propensity, action, WANTED, context)
    w = np.array([WANTED[c, a] for c, a in zip(context, action, strict=True)]) / propensity
    assert told["ips"] == pytest.approx((w * reward).mean())
    assert told["snips"] == pytest.approx((w * reward).sum() / w.sum())
    assert told["effective_sample_size"] == pytest.approx(w.sum() ** 2 / (w**2).sum())
    assert told["max_weight"] == pytest.approx(w.max())
    total = 0.0
    for i in range(1_000):  # row by row, the model from the other folds
        other = np.arange(1_000) % 5 != i % 5
        mean = reward[other].mean()

        def model(c, a, other=other, mean=mean):
            cell = other & (context == c) & (action == a)
            return (reward[cell].sum() + 10 * mean) / (cell.sum() + 10)

        total += sum(WANTED[context[i], str(a)] * model(context[i], str(a)) for a in range(4))
        total += w[i] * (reward[i] - model(context[i], action[i]))
    assert told["dr"] == pytest.approx(total / 1_000)


def test_the_logs_own_policy_earned_what_was_logged():
    reward, propensity, action, context = log(np.random.default_rng(3), 500)
    own = {(str(c), str(a)): float(LOGGING[c, a]) for c in range(2) for a in range(4)}
    told = off_policy(reward, propensity, action, own, context)
    assert told["ips"] == told["logged"] and told["snips"] == pytest.approx(told["logged"])
    assert told["effective_sample_size"] == pytest.approx(500) and told["mean_weight"] == pytest.approx(1)


def test_too_small_an_effective_sample_is_refused_with_the_reason():
    rng = np.random.default_rng(4)
    n = 5_000
    action = np.where(rng.random(n) < 0.99, "usual", "rare")
    propensity = np.where(action == "usual", 0.99, 0.01)
    reward = (rng.random(n) < 0.1).astype(float)
    target = {("", "rare"): 0.999, ("", "usual"): 0.001}
    told = off_policy(reward, propensity, action, target)
    assert told["refused"] and told["effective_sample_size"] < 100
    assert told["reason"].startswith(
        f"the effective sample size is {told['effective_sample_size']:.1f}, under 100"
    )
    assert (told["ips"], told["snips"], told["dr"], told["intervals"]) == (None, None, None, None)
    assert not off_policy(np.tile(reward, 4), np.tile(propensity, 4), np.tile(action, 4), target)["refused"]


def test_actions_never_logged_are_refused_by_name():
    told = off_policy(np.ones(500), np.full(500, 0.5), ["red", "blue"] * 250, {("", "green"): 1.0})
    assert told["refused"] and told["reason"] == "the target takes actions that were never logged: green"
    assert told["effective_sample_size"] == 0


def test_uniform_is_over_the_actions_logged():
    context, action = np.array(["1", "2", "2"]), np.array(["a", "b", "c"])
    assert uniform_target(context, action) == {(c, a): 1 / 3 for c in "12" for a in "abc"}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"propensity": [0.5, 0.0]}, r"`propensity\[1\]` was 0.0; must be above 0 and at most 1"),
        ({"propensity": [1.5, 0.5]}, r"`propensity\[0\]` was 1.5"),
        ({"propensity": [float("nan"), 0.5]}, r"`propensity\[0\]` was nan"),
        ({"reward": [float("inf"), 0.5]}, r"`reward\[0\]` was inf"),
        ({"reward": [1.0]}, "one number a row"),
        ({"context": ["a", "b"]}, "`target` was 'a'; must tell each context"),
    ],
)
def test_columns_that_cannot_be_are_named(change, says):
    given = {"reward": [0.0, 1.0], "propensity": [0.5, 0.5], "action": ["a", "b"], "context": None} | change
    with pytest.raises(BadInput, match=says):
        off_policy(target={("", "a"): 1.0}, **given)


@pytest.mark.parametrize(
    ("action", "probability", "says"),
    [
        (["a", "b"], [0.5, 0.6], "`target` was 1.1; must have probabilities that sum to 1"),
        (["a", "a"], [0.5, 0.5], "`target` was 'a'; must stand once"),
    ],
)
def test_targets_that_cannot_be_are_named(action, probability, says):
    with pytest.raises(BadInput, match=says):
        checked_target(np.array(["", ""]), np.array(action), np.array(probability))
