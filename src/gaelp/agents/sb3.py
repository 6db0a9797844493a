"""Policies that Stable-Baselines3 or sb3-contrib trained on `gaelp/Campaign-v0`, flown like any other."""

import importlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.actions import Actor
from gaelp.core.errors import BadInput, MismatchError
from gaelp.core.words import N_LINES
from gaelp.observation.campaign import CAMPAIGN_FEATURES

_ALGORITHMS = {
    "stable_baselines3.common.policies": ("stable_baselines3", "PPO"),
    "sb3_contrib.common.recurrent.policies": ("sb3_contrib", "RecurrentPPO"),
}
"""Library and algorithm, by the module of the policy's class that the file names."""


def sb3_actor(path: Path) -> Callable[[], Actor]:
    """A maker of actors for the model that `model.save(path)` wrote: PPO or RecurrentPPO.

    Raises:
        BadInput: the file is not such a model, or its library is not installed.
        MismatchError: it was trained on other features or lines.
    """
    library, algorithm = _algorithm(path)
    try:
        module: Any = importlib.import_module(library)
    except ImportError:
        remedy = "Install it: pip install 'gaelp[sb3]'."
        raise BadInput("policy", str(path), f"needs the package {library}", remedy) from None
    try:
        model = getattr(module, algorithm).load(path, device="cpu")
    except (ValueError, KeyError, RuntimeError, EOFError, AttributeError) as error:
        said = str(error).partition("\n")[0]
        raise BadInput(
            "policy", str(path), f"must be a model of {algorithm}: {said}", "Save it anew."
        ) from error
    shapes = model.observation_space.shape, model.action_space.shape
    expected = (len(CAMPAIGN_FEATURES),), (N_LINES,)
    if shapes != expected:
        remedy = "Train it again on gaelp/Campaign-v0."
        raise MismatchError("policy", f"{path.name} of shapes {shapes}", f"must be {expected}", remedy)
    return lambda: _Sb3Actor(model)


class _Sb3Actor:
    """Asks a model for its most likely action; the state of a recurrent one is this actor's own."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._state: Any = None
        self._first = np.ones(1, bool)

    def act(self, observation: NDArray[np.float32]) -> NDArray[np.floating]:
        action, self._state = self._model.predict(
            observation, state=self._state, episode_start=self._first, deterministic=True
        )
        self._first = np.zeros(1, bool)
        return np.asarray(action)


def _algorithm(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            module = json.loads(archive.read("data"))["policy_class"]["__module__"]
        return _ALGORITHMS[module]
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, OSError) as error:
        allowed = "must be a model that PPO or RecurrentPPO saved"
        raise BadInput("policy", str(path), allowed, "Name the file that model.save wrote.") from error
