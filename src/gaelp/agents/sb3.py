"""Policies that Stable-Baselines3 or sb3-contrib trained on `gaelp/Campaign-v0`, flown like any other.

Loading such a file unpickles it, and what is unpickled may run any code: fly only files that you trust.
Algorithm and features are compared before that. Wrappers are not in the file: a model that was trained
behind one that changes values (`VecNormalize`) sees other numbers here.
"""

import importlib
import json
import warnings
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import WORLDS_AN_ACTOR, Actor, padded
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import N_LINES
from gaelp.observation.campaign import CAMPAIGN_FEATURES

_ALGORITHMS = {
    "stable_baselines3.common.policies": ("stable_baselines3", "PPO"),
    "sb3_contrib.common.recurrent.policies": ("sb3_contrib", "RecurrentPPO"),
}
"""Library and algorithm, by the module of the policy's class that the file names."""

_OF_PPO = "clip_range"
"""What PPO and RecurrentPPO save and others with the same policies, A2C or TRPO, do not."""

_TRAINED_ON = "gaelp_features"


def name_features(space: Any) -> None:
    """Write into an observation space which features it shows.

    A library that saves a model saves its spaces with all that they hold, so any model trained on this one
    tells what it was trained on.

    Args:
        space: a Gymnasium space of rows of `CAMPAIGN_FEATURES`; changed.
    """
    named = {"version": CAMPAIGN_FEATURES.version, "names": list(CAMPAIGN_FEATURES.names)}
    vars(space)[_TRAINED_ON] = named


def sb3_actor(path: Path) -> Callable[[], Actor]:
    """A maker of actors for the model that `model.save(path)` wrote: PPO or RecurrentPPO.

    It unpickles the file: load only what you trust.

    Raises:
        BadInput: the file is not such a model, is damaged, needs classes that are not here, or its library
            is not installed.
        MismatchError: it was trained on other features or lines.
    """
    data = _described(path)
    library, algorithm = _algorithm(path, data)
    _require_features(path, data)
    try:
        module: Any = importlib.import_module(library)
    except ImportError:
        remedy = "Install it: pip install 'gaelp[sb3]'."
        raise BadInput("policy", str(path), f"needs the package {library}", remedy) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what only training needs; the rest fails right below
            model = getattr(module, algorithm).load(path, device="cpu")
        shapes = model.observation_space.shape, model.action_space.shape
    except Exception as error:  # whatever unpickling the content raises
        said = f"{type(error).__name__}: {error}".partition("\n")[0].rstrip(".")
        remedy = "Save it anew, where its classes can be imported from here."
        raise BadInput("policy", str(path), f"must be a model of {algorithm} ({said})", remedy) from error
    expected = (len(CAMPAIGN_FEATURES),), (N_LINES,)
    if shapes != expected:
        remedy = "Train it again on gaelp/Campaign-v0."
        raise MismatchError("policy", f"{path.name} of shapes {shapes}", f"must be {expected}", remedy)
    return lambda: _Sb3Actor(model)


class _Sb3Actor:
    """Asks a model for its most likely actions; the states of a recurrent one are this actor's own.

    The model always sees a whole group, empty rows added, so that its sums run alike however many fly.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._state: Any = None
        self._first = np.ones(WORLDS_AN_ACTOR, bool)
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(1)  # nets this small only wait for a second one
        self._packing = torch.backends.mkldnn

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.floating]:
        # oneDNN would pack an LSTM's weights anew for each hour: 23 ms against .1
        usual, self._packing.enabled = self._packing.enabled, False
        try:
            action, self._state = self._model.predict(
                padded(observation), state=self._state, episode_start=self._first, deterministic=True
            )
        finally:
            self._packing.enabled = usual
        self._first = np.zeros(WORLDS_AN_ACTOR, bool)
        return np.asarray(action)[: len(observation)]


def _described(path: Path) -> Mapping[str, Any]:
    """What the file says about itself as JSON; nothing is unpickled."""
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, RuntimeError, EOFError, OSError) as error:
        raise _no_model(path) from error
    if not isinstance(data, dict):
        raise _no_model(path)
    return data


def _algorithm(path: Path, data: Mapping[str, Any]) -> tuple[str, str]:
    policy_class = data.get("policy_class")
    module = policy_class.get("__module__") if isinstance(policy_class, dict) else None
    if not isinstance(module, str) or module not in _ALGORITHMS or _OF_PPO not in data:
        raise _no_model(path)
    return _ALGORITHMS[module]


def _require_features(path: Path, data: Mapping[str, Any]) -> None:
    space = data.get("observation_space")
    named = space.get(_TRAINED_ON) if isinstance(space, dict) else None
    version, names = (named.get("version"), named.get("names")) if isinstance(named, dict) else (None, None)
    if not isinstance(version, str) or not isinstance(names, list):
        raise MismatchError(
            "policy",
            str(path),
            f"must say which features it was trained on, now version {CAMPAIGN_FEATURES.version}",
            "Train it again on gaelp/Campaign-v0.",
        )
    try:
        CAMPAIGN_FEATURES.require(version, names)
    except MismatchError as error:
        where = f"{path.name}: {error.name}"
        raise MismatchError(where, error.value, error.allowed, error.remedy) from None


def _no_model(path: Path) -> BadInput:
    allowed = "must be a model that PPO or RecurrentPPO saved"
    return BadInput("policy", str(path), allowed, "Name the file that model.save wrote.")
