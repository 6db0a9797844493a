"""Who gets the credit for a conversion: every model on integer codes, credits adding up to conversions."""

from gaelp.measurement.attribution.calibrated import Calibrated, Experiment, Prior, calibrate
from gaelp.measurement.attribution.credits import BASELINE, Counts, Credits, Settings, Unanswerable
from gaelp.measurement.attribution.models import MODELS, Attributed, attribute

__all__ = [
    "BASELINE",
    "MODELS",
    "Attributed",
    "Calibrated",
    "Counts",
    "Credits",
    "Experiment",
    "Prior",
    "Settings",
    "Unanswerable",
    "attribute",
    "calibrate",
]
