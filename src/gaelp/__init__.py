"""GAELP: a flight simulator and autopilot for advertising budgets."""

import os

from gaelp.core.hooks import when_imported

# See core.jit; here already, as torch reads it too, and is often imported before the market
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"


def _register_environment() -> None:
    from gaelp.worlds.registration import register

    register()


when_imported("gymnasium.envs.registration", _register_environment)
