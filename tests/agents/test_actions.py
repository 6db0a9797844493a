"""Actions of the environment as a policy, and models of other libraries flown by name."""

import base64
import hashlib
import importlib
import json
import pickle
import zipfile

import gymnasium
import numpy as np
import pytest

import gaelp  # noqa: F401 (registers the environment)
from gaelp.agents.actions import WORLDS_AN_ACTOR, ActionPolicy
from gaelp.agents.sb3 import sb3_actor
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import N_LINES
from gaelp.evaluation.suites import contender
from gaelp.market.file import load
from gaelp.observation.campaign import CAMPAIGN_FEATURES
from gaelp.worlds.flight import fly, make_market, warm_up
from gaelp.worlds.registry import make_policy
from gaelp.worlds.splits import split_worlds
from gaelp.worlds.tuned import tuned_for

MARKET = "markets/family_safety.toml"
FILE = load(MARKET)


class Says:
    """An actor that remembers what it saw and always acts the same."""

    def __init__(self, action):
        self.action, self.seen = np.full(N_LINES, action), []

    def act(self, observation):
        self.seen.append(observation[0].copy())
        return np.tile(self.action, (len(observation), 1))


def flown(policy, n_worlds=2):
    market = make_market(split_worlds(FILE, "train", n_worlds), 300)
    traffic = warm_up(market)
    return fly(market, policy, days=2, traffic=traffic)


def acting(action):
    actors = []

    def new():
        actors.append(Says(action))
        return actors[-1]

    return ActionPolicy(tuned_for(FILE).pacing(), new), actors


def test_to_do_nothing_is_dual_pacing():
    policy, _ = acting(0.0)
    assert (flown(policy).spend_micros == flown(tuned_for(FILE).pacing()).spend_micros).all()


def test_an_actor_sees_what_the_environment_shows_and_acts_as_there():
    env = gymnasium.make("gaelp/Campaign-v0", market=MARKET, users=300, days=2)
    observation, _ = env.reset(seed=5)
    worlds = env.unwrapped.campaign.market.worlds
    seen = [observation]
    for _ in range(47):
        seen.append(env.step(np.full(N_LINES, 0.5, np.float32))[0])
    policy, actors = acting(0.5)
    market = make_market(list(worlds), 300)
    fly(market, policy, days=2, traffic=warm_up(market))
    assert np.array_equal(np.array(actors[0].seen), np.array(seen))


def trained(algorithm="PPO", policy="MlpPolicy", **settings):
    """A model of another library on the environment, as it is before its first step."""
    library = importlib.import_module("sb3_contrib" if algorithm == "RecurrentPPO" else "stable_baselines3")
    env = gymnasium.make("gaelp/Campaign-v0", market=MARKET, users=100, days=1)
    return getattr(library, algorithm)(policy, env, seed=1, device="cpu", **settings)


@pytest.mark.parametrize("algorithm", ["PPO", "RecurrentPPO"])
def test_a_saved_model_acts_on_an_account_whoever_stands_beside_it(algorithm, tmp_path):
    """Bit for bit over ten hours: alone, among others, among as many as a group holds."""
    policy = "MlpPolicy" if algorithm == "PPO" else "MlpLstmPolicy"
    path = tmp_path / "model.zip"
    trained(algorithm, policy, n_steps=8, batch_size=8).save(path)
    rng = np.random.default_rng(0)
    rows = rng.uniform(-2, 2, (10, WORLDS_AN_ACTOR, len(CAMPAIGN_FEATURES))).astype(np.float32)
    new = sb3_actor(path)
    whole = new()
    expected = np.array([whole.act(hour) for hour in rows])
    assert np.ptp(expected, axis=1).max() > 0
    for n in (1, 5):
        actor = new()
        assert np.array_equal([actor.act(hour[:n]) for hour in rows], expected[:, :n])
    others, changed = new(), rows.copy()
    changed[:, :7], changed[:, 8:] = rng.uniform(-2, 2, changed[:, :7].shape), 0.0
    assert np.array_equal([others.act(hour)[7] for hour in changed], expected[:, 7])


@pytest.mark.parametrize("algorithm", ["PPO", "RecurrentPPO"])
def test_a_saved_model_flies_by_its_path_world_by_world(algorithm, tmp_path):
    policy = "MlpPolicy" if algorithm == "PPO" else "MlpLstmPolicy"
    path = tmp_path / "model.zip"
    trained(algorithm, policy, n_steps=8, batch_size=8).save(path)
    make = make_policy(str(path), FILE)
    assert make().name == "model"
    together, alone = flown(make()), flown(make(), n_worlds=1)
    assert (together.spend_micros[:1] == alone.spend_micros).all()
    assert (together.spend_micros != flown(tuned_for(FILE).pacing()).spend_micros).any()


def test_files_that_are_no_model_are_refused(tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(BadInput, match=r"model\.save"):
        make_policy(str(path), FILE)
    with pytest.raises(BadInput, match="exists"):
        make_policy(str(tmp_path / "absent.zip"), FILE)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("models") / "ppo.zip"
    trained(n_steps=8, batch_size=8).save(path)
    return path


def rewritten(saved, path, change):
    """The saved model with what it says about itself changed."""
    with zipfile.ZipFile(saved) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "data":
                data = json.loads(content)
                change(data)
                content = json.dumps(data).encode()
            new.writestr(name, content)
    return str(path)


def pickled(key, content):
    """A change that puts a pickle in the place of a setting."""
    told = {":type:": "any", ":serialized:": base64.b64encode(content).decode()}
    return lambda data: data.update({key: told})


CHANGES = {
    "a pickle that is none": (pickled("lr_schedule", b"nonsense"), "UnpicklingError"),
    "a class of a module that is not here": (
        pickled("policy_kwargs", b"cno_such_module\nThing\n."),
        "ModuleNotFoundError: No module named 'no_such_module'",
    ),
    "a class that is gone": (
        lambda data: data["observation_space"].update(
            {":serialized:": base64.b64encode(b"cjson\nThing\n.").decode()}
        ),
        "must be a model of PPO",
    ),
    "settings that no policy takes": (lambda data: data.update(policy_kwargs={"no_such": 1}), "no_such"),
    "another shape": (
        lambda data: data.update(policy_kwargs={"net_arch": [3]}),
        "must be a model of PPO .*size mismatch|must be a model of PPO .*state_dict",
    ),
    "an algorithm not known": (
        lambda data: data["policy_class"].update({"__module__": "stable_baselines3.sac.policies"}),
        "that PPO or RecurrentPPO saved",
    ),
    "a policy class that is a word": (lambda data: data.update(policy_class="Mlp"), "PPO or RecurrentPPO"),
    "no policy class": (lambda data: data.pop("policy_class"), "PPO or RecurrentPPO"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_model_that_cannot_be_loaded_is_refused_in_one_line(case, saved, tmp_path, recwarn):
    change, says = CHANGES[case]
    path = rewritten(saved, tmp_path / "model.zip", change)
    with pytest.raises(BadInput, match=says) as caught:
        make_policy(path, FILE)
    assert "\n" not in str(caught.value) and caught.value.value == path
    assert not [warning for warning in recwarn if "deserialize" in str(warning.message)]


@pytest.mark.parametrize("member", ["data", "policy.pth"])
def test_a_damaged_model_is_refused(member, saved, tmp_path):
    content = bytearray(saved.read_bytes())
    with zipfile.ZipFile(saved) as archive:
        content[archive.getinfo(member).header_offset + 1_000] ^= 255
    path = tmp_path / "damaged.zip"
    path.write_bytes(content)
    with pytest.raises(BadInput, match="PPO"):
        make_policy(str(path), FILE)
    path.write_bytes(content[:3_000])
    with pytest.raises(BadInput, match="PPO"):
        make_policy(str(path), FILE)


def test_a_model_of_another_algorithm_with_the_same_policy_is_refused(tmp_path):
    trained("A2C").save(tmp_path / "a2c.zip")
    with pytest.raises(BadInput, match="that PPO or RecurrentPPO saved"):
        make_policy(str(tmp_path / "a2c.zip"), FILE)


def test_a_model_of_other_features_is_refused_by_their_names_before_it_is_unpickled(saved, tmp_path):
    mark = tmp_path / "unpickled"
    code = f"cbuiltins\nopen\n(V{mark}\nVw\ntR.".encode()

    def other(version, names):
        def change(data):
            data["observation_space"]["gaelp_features"] = {"version": version, "names": names}
            pickled("lr_schedule", code)(data)

        return rewritten(saved, tmp_path / "other.zip", change)

    now = CAMPAIGN_FEATURES
    renamed = ["weather", *now.names[1:]]
    with pytest.raises(MismatchError, match=f"other.zip.*without {now.names[0]} and with weather"):
        make_policy(other("0" * 12, renamed), FILE)
    with pytest.raises(MismatchError, match=f"other units or normalisations.*must be version {now.version}"):
        make_policy(other("0" * 12, now.names), FILE)
    assert not mark.exists()
    make_policy(other(now.version, now.names), FILE)
    assert mark.exists()  # loading does unpickle: the test above would see it


def test_a_model_that_does_not_name_its_features_is_refused(saved, tmp_path):
    path = rewritten(
        saved, tmp_path / "old.zip", lambda data: data["observation_space"].pop("gaelp_features")
    )
    with pytest.raises(MismatchError, match="must say which features it was trained on"):
        make_policy(path, FILE)


def test_a_saved_model_is_known_by_its_digest_and_must_not_change_while_it_is_judged(saved, tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(saved.read_bytes())
    found = contender(str(path), FILE)
    assert found.sha256 == hashlib.sha256(saved.read_bytes()).hexdigest()
    assert pickle.loads(pickle.dumps(found))().name == "model"
    assert contender("pacing", FILE).sha256 is None
    trained(n_steps=8, batch_size=4).save(path)
    with pytest.raises(BadInput, match=f"must stay as it was found, SHA-256 {found.sha256[:12]}"):
        found()
