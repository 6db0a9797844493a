"""GAELP: a flight simulator and autopilot for advertising budgets."""

from gaelp.core.hooks import when_imported

__version__ = "0.1.0"


def _register_environment() -> None:
    from gaelp.worlds.registration import register

    register()


when_imported("gymnasium.envs.registration", _register_environment)
