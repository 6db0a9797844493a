"""Days of predictions with features and a known chance, recorded and matched, for these tests."""

import datetime as dt

import numpy as np

from gaelp.prediction.accuracy import Outcome, Served

FIRST = dt.date(2026, 3, 1)
SITES = tuple("abcdefgh")
N_CREATIVES = 60


def morning(day):
    """Two o'clock, so many days after the first."""
    return dt.datetime(2026, 3, 1, 2, tzinfo=dt.UTC) + dt.timedelta(days=day)


def chance_of(x, site, shift=0.0):
    """The true chance, by a number and a word."""
    return 1 / (1 + np.exp(3.0 - shift - 0.9 * x - np.linspace(-0.8, 0.8, len(SITES))[site]))


def fill(
    tracker, days, *, seed=0, version="before", predict=None, trials=400, shift=0.0, target="ctr", turn=1.0
):
    """Serve and match one prediction a creative and day.

    Args:
        tracker: to fill. days: numbers of days. seed: of features and outcomes. version: that is said to have
            predicted. predict: of (rows, true chance) makes (n,) predictions; None: the mean chance.
        trials: of a prediction. shift: of the true logit. turn: what the number's effect is multiplied by.
    """
    for day in days:
        rng = np.random.default_rng([seed, day])
        x, site = rng.normal(size=N_CREATIVES).round(3), rng.integers(0, len(SITES), N_CREATIVES)
        true = chance_of(turn * x, site, shift)
        rows = [{"x": float(value), "site": SITES[code]} for value, code in zip(x, site, strict=True)]
        predicted = np.full(N_CREATIVES, 0.06) if predict is None else predict(rows, true)
        date = FIRST + dt.timedelta(days=day)
        ids = [f"{target}-{day}-{number}" for number in range(N_CREATIVES)]
        tracker.record(
            Served(
                prediction_id=ids[number],
                model_version=version,
                video_id=f"ad{number}",
                predicted=float(predicted[number]),
                at=morning(day),
                target=target,
                features=rows[number],
            )
            for number in range(N_CREATIVES)
        )
        events = rng.binomial(trials, true)
        tracker.match(
            (
                Outcome(prediction_id=ids[number], day=date, trials=trials, events=int(events[number]))
                for number in range(N_CREATIVES)
            ),
            morning(day + 1),
        )
