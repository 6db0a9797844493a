"""A calibration from end to end: data in, a market and how well it fits out.

setting = Setting(n_people=3000, n_days=observed.n_days)
found = calibrate(observed, load("markets/family_safety.toml"), setting, n_worlds=1000, seed=0)
found.file, found.posterior, found.figures()
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.data.calibration_targets import STATISTICS, Observed, in_words, statistics_of
from gaelp.market.file import MarketFile
from gaelp.worlds.calibration.checking import Area, journey_area, predictive_p
from gaelp.worlds.calibration.inference import LEAST_WORLDS, LEVEL, Learner, Posterior
from gaelp.worlds.calibration.parameters import FREE, levels_in_units, with_start, world_at
from gaelp.worlds.calibration.simulating import Setting, draw, observe, simulate_statistics
from gaelp.worlds.calibration.writing import calibrated, posterior_spread
from gaelp.worlds.flight import Tick
from gaelp.worlds.splits import plain_worlds

Floats = NDArray[np.float64]

UNIDENTIFIED: Final = 0.8
"""A posterior at least so wide, of its prior, says that the data do not tell the parameter."""
FEW_WORLDS: Final = 300
"""From fewer worlds of the prior intervals come out too narrow."""
PREDICTIVE_WORLDS, JOURNEY_WORLDS = 64, 4
_VALUE = [each.name for each in STATISTICS].index("value_mean")


@dataclass(frozen=True, eq=False)
class Calibration:
    """A market fitted to data.

    Attributes:
        base: the market that was fitted, started as the data ask. file: the fitted one.
        spread: how much its worlds differ. observed: the data. posterior: of the levels.
        prior_sd: (len(FREE),) of the levels before.
        real: (n_statistics,) figures of the data. simulated: (n_worlds, n_statistics) of worlds of the
            posterior. prior: (n_worlds, n_statistics) of worlds of the prior.
        area: of the classifier of journeys; None where too few people are known.
        n_worlds: simulated to learn.
    """

    base: MarketFile
    file: MarketFile
    spread: dict[str, float]
    observed: Observed
    posterior: Posterior
    prior_sd: Floats
    real: Floats
    simulated: Floats
    prior: Floats
    area: Area | None
    n_worlds: int

    @property
    def width(self) -> Floats:
        """(len(FREE),) posterior standard deviation over the prior's."""
        return self.posterior.sd / self.prior_sd

    def figures(self) -> dict[str, Any]:
        """All of it as JSON: parameters, statistics, what is not identified, the classifier's area."""
        units = levels_in_units(self.base, np.stack([self.posterior.mean, *self.posterior.interval().T]))
        zero = levels_in_units(self.base, np.zeros(len(FREE)))
        parameters: dict[str, dict[str, Any]] = {
            free.name: {
                "about": free.about,
                "of": free.parameter,
                "base": float(zero[i]),
                "value": float(units[0, i]),
                "low": float(units[1, i]),
                "high": float(units[2, i]),
                "level": float(self.posterior.mean[i]),
                "level_sd": float(self.posterior.sd[i]),
                "width": float(self.width[i]),
                "identified": bool(self.width[i] <= UNIDENTIFIED),
            }
            for i, free in enumerate(FREE)
        }
        low, middle, high = in_words(np.quantile(self.simulated, (0.05, 0.5, 0.95), axis=0))
        real = in_words(self.real)
        p, prior_p = predictive_p(self.real, self.simulated), predictive_p(self.real, self.prior)
        statistics: dict[str, dict[str, Any]] = {
            each.name: {
                "about": each.about,
                "real": float(real[i]),
                "simulated": float(middle[i]),
                "low": float(low[i]),
                "high": float(high[i]),
                "p": float(p[i]),
                "prior_p": float(prior_p[i]),
            }
            for i, each in enumerate(STATISTICS)
        }
        least = 2.0 / (len(self.prior) + 1)
        return {
            "level": LEVEL,
            "worlds": self.n_worlds,
            "people": self.observed.n_people,
            "days": self.observed.n_days,
            "visits": int(self.observed.hour.size),
            "sales": int(self.observed.sale_hour.size),
            "ad_rows_outside": self.observed.ad_rows_outside,
            "ltv_usd": self.file.ltv_usd,
            "parameters": parameters,
            "unidentified": [name for name, row in parameters.items() if not row["identified"]],
            "statistics": statistics,
            "misfits": [name for name, row in statistics.items() if row["p"] < 0.05],
            "beyond_prior": [name for name, row in statistics.items() if row["prior_p"] <= least],
            "journeys": None if self.area is None else self.area._asdict(),
            "spread": self.spread,
            "posterior": {
                "parameters": [free.name for free in FREE],
                "draws": self.posterior.draws.round(5).tolist(),
            },
        }


def calibrate(
    observed: Observed,
    market: MarketFile,
    setting: Setting,
    *,
    n_worlds: int,
    seed: int = 0,
    second_round: int = 0,
    kept: Path | None = None,
    tick: Tick = lambda _: None,
    log: Callable[[str], None] = lambda _: None,
) -> Calibration:
    """Fit a market to data.

    Args:
        observed: the data. market: the base. setting: how the account was flown.
        n_worlds: of the prior. seed: names all draws.
        second_round: worlds drawn once more, from the part of the prior that the first round leaves; the
            posterior is then learnt on what lies there (truncation, Deistler et al., NeurIPS 2022).
        kept: folder in which the prior's worlds are kept; of one base, setting, start and seed.
        tick: told the world-hours done. log: told what a person should know.

    Raises:
        BadInput: too few worlds, or the data are of another length than the setting.
    """
    if observed.n_days != setting.n_days:
        raise BadInput("days", setting.n_days, f"must be {observed.n_days} as in the data", "Set it so.")
    if n_worlds < LEAST_WORLDS:
        raise BadInput("worlds", n_worlds, f"must be at least {LEAST_WORLDS}", "Simulate more worlds.")
    base = with_start(market, observed.first_us, setting.warm_up_days) if observed.first_us else market
    real = statistics_of(observed)
    draws = draw(base, setting, n_worlds, seed, kept=kept, tick=tick)
    learner = Learner.of(draws)
    posterior, prior_sd = learner.posterior(real), learner.prior_sd
    if second_round:
        log("second round")
        bounds = posterior.bounds()
        more = draw(base, setting, second_round, seed + 1, bounds=bounds, tick=tick)
        posterior = Learner.of(draws.within(bounds) + more).posterior(real)
    generator = np.random.default_rng(seed)
    which = generator.choice(len(posterior.draws), PREDICTIVE_WORLDS)
    worlds = [world_at(base, posterior.draws[row], seed + 2, i) for i, row in enumerate(which)]
    simulated = simulate_statistics(worlds, setting, tick)
    ltv = base.ltv_usd * float(np.exp(real[_VALUE] - np.median(simulated[:, _VALUE])))
    file = calibrated(base, posterior.mean, ltv)
    told = observe(plain_worlds(file, JOURNEY_WORLDS, seed), setting, tick)
    try:
        area = journey_area(observed, told, seed)
    except BadInput as error:
        log(str(error))
        area = None
    return Calibration(
        base=base,
        file=file,
        spread=posterior_spread(base, posterior.draws),
        observed=observed,
        posterior=posterior,
        prior_sd=prior_sd,
        real=real,
        simulated=simulated,
        prior=draws.statistics,
        area=area,
        n_worlds=len(draws) + second_round,
    )


def world_hours(setting: Setting, n_worlds: int, second_round: int) -> int:
    """World-hours that a calibration lives, for a progress bar's total."""
    n = n_worlds + second_round + PREDICTIVE_WORLDS + JOURNEY_WORLDS
    return n * 24 * (setting.warm_up_days + setting.n_days)
