"""GAELP: a flight simulator and autopilot for advertising budgets."""

__version__ = "0.1.0"
