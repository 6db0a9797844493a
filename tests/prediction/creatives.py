"""Days of creatives whose true click rates are known, for these tests."""

import numpy as np
from scipy.special import expit, logit

from gaelp.prediction.noise import Outcomes

FIRST_DAY = 20_000


def true_rates(rng, ctr, n=200, spread=0.5):
    """Lognormal about a mean, as in the table of docs/reference/model_registry.md."""
    return ctr * np.exp(spread * rng.normal(size=n) - spread**2 / 2)


def days_of(rng, rates, *, days, impressions=100, predicted=None, shift=1.0, from_day=0, beyond=0.0):
    """What comes of predictions for creatives shown every day.

    The model is right unless told otherwise: rates times `shift` from a day on, and each creative off by a
    normal step of `beyond` on the scale of logits.
    """
    n = rates.size
    true = expit(logit(rates) + beyond * rng.normal(size=n))
    by_day = np.where(np.arange(days)[:, None] >= from_day, shift, 1.0) * true  # (days, n)
    predicted = rates if predicted is None else predicted
    return Outcomes(
        np.tile(predicted, days),
        np.full(days * n, impressions),
        rng.binomial(impressions, np.minimum(by_day, 1.0)).ravel(),
        np.tile(np.arange(n), days),
        FIRST_DAY + np.repeat(np.arange(days), n),
    )
