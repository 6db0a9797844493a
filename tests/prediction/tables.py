"""Tables of clicks with a known chance, for these tests."""

import numpy as np

from gaelp.data.tables import CodedColumn
from gaelp.prediction.examples import Columns, Examples

WORDS = tuple("abcdefghij")
TABLE = Columns(label="click", time="hour", numeric=("x",), categorical=("site",))


def clicks(n=8000, seed=0):
    """Rows in the order of time, and the true chance of a click: by a number, sometimes empty, and a word."""
    rng = np.random.default_rng(seed)
    x, site = rng.normal(size=n), rng.integers(0, len(WORDS), n)
    x[rng.random(n) < 0.1] = np.nan
    chance = 1 / (1 + np.exp(1.4 - 0.7 * np.nan_to_num(x) - np.linspace(-1, 1, len(WORDS))[site]))
    column = CodedColumn("site", site.astype(np.int32), WORDS)
    hour = np.sort(rng.uniform(0, 720, n))
    return Examples(TABLE, rng.random(n) < chance, x[:, None], (column,), hour), chance


def write_csv(path, examples):
    """The same rows as a file."""
    site = examples.categorical[0]
    with open(path, "w") as file:
        file.write("click,hour,x,site\n")
        for label, hour, x, code in zip(
            examples.label, examples.hour, examples.numeric[:, 0], site.codes, strict=True
        ):
            file.write(f"{int(label)},{hour:.6f},{'' if np.isnan(x) else float(x)},{site.words[code]}\n")
    return path


def delayed_clicks(n=40_000, seed=0, days=60, jump=0.0):
    """Clicks whose conversions take a Weibull time, longer for some sites; the rate may jump 12 days ago.

    Returns:
        Examples as known after `days`, the true chance of a conversion within 14 days, and that hour.
    """
    rng = np.random.default_rng(seed)
    now, horizon = 24.0 * days, 336.0
    hour, x, site = np.sort(rng.uniform(0, now, n)), rng.normal(size=n), rng.integers(0, 6, n)
    logit = -2.2 + np.array([-0.8, -0.4, 0.0, 0.2, 0.5, 0.9])[site] + 0.6 * x
    ever = 1 / (1 + np.exp(-logit - jump * (hour > now - 288)))
    scale = np.array([24.0, 40, 60, 80, 100, 120])[site]
    lag = np.where(rng.random(n) < ever, scale * rng.weibull(0.8, n), np.inf)
    seen = hour + lag <= now
    columns = Columns(label="converted", time="hour", delay="lag", numeric=("x",), categorical=("site",))
    column = CodedColumn("site", site.astype(np.int32), WORDS[:6])
    examples = Examples(columns, seen, x[:, None], (column,), hour, np.where(seen, lag, np.inf))
    return examples, ever * -np.expm1(-((horizon / scale) ** 0.8)), now
