"""Tuned values of the baselines for a market, found on training worlds and committed with its hash.

`<market>.tuned.json` stands beside the market file. Another market, or an edited file, falls back to the
plain settings; `gaelp train --agent baselines` finds its own.
"""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.agents.baselines import FixedPolicy, PacingPolicy
from gaelp.agents.feedback import PidPolicy, PidSettings, TargetCpaPolicy
from gaelp.agents.value import ValuePolicy
from gaelp.control.pacing import PacingSettings
from gaelp.core.words import LINES, N_LINES
from gaelp.market.file import MarketFile
from gaelp.worlds.runs import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Settings of the baselines, and attributed value per line.

    Attributes:
        fixed_multiplier: of the market's median price.
        value_weight: how far pacing leans to attributed value.
        settings: of the pacer. pid: of the PID controller, which leans to value as pacing does.
        target_cpa_usd, target_gain: of `target_cpa`.
        attributed_value: (n_lines,) attributed value per reference price paid, relative.
        for_this_market: the values were found on this very market file; reports say so.
    """

    fixed_multiplier: float = 1.0
    value_weight: float = 0.0
    settings: PacingSettings = field(default_factory=PacingSettings)
    pid: PidSettings = field(default_factory=PidSettings)
    target_cpa_usd: float = 20.0
    target_gain: float = 0.5
    attributed_value: NDArray[np.float64] = field(default_factory=lambda: np.ones(N_LINES))
    for_this_market: bool = False

    def fixed(self) -> FixedPolicy:
        """The tuned `fixed` policy."""
        return FixedPolicy(multiplier=self.fixed_multiplier)

    def pacing(self, line_multiplier: Mapping[str, float] | None = None) -> PacingPolicy:
        """The tuned `pacing` policy, or `static_lines` where multipliers are given."""
        return PacingPolicy(
            value_weight=self.value_weight,
            settings=self.settings,
            line_multiplier=line_multiplier or {},
            name="static_lines" if line_multiplier else "pacing",
        )

    def value(
        self,
        line_multiplier: Mapping[str, float] | None = None,
        landing: Mapping[str, int] | None = None,
        settings: Mapping[str, float] | None = None,
        worth_usd: Mapping[str, float] | None = None,
    ) -> ValuePolicy:
        """The `value` policy: targets by line, from the tuned one of `target_cpa`, under a paced level.

        Args:
            line_multiplier, landing, worth_usd: by line name; the last for bids by hand.
            settings: `step` of the level and `spend_share`, as training found them.
        """
        found = settings or {}
        return ValuePolicy(
            self.target_cpa_usd,
            replace(self.settings, start=1.0, step=found.get("step", self.settings.step)),
            line_multiplier or {},
            landing or {},
            worth_usd or {},
            found.get("spend_share", 1.0),
        )

    def pid_policy(self) -> PidPolicy:
        """The tuned `pid` policy."""
        return PidPolicy(settings=self.pid, value_weight=self.value_weight)

    def target_cpa(self) -> TargetCpaPolicy:
        """The tuned `target_cpa` policy."""
        return TargetCpaPolicy(target_usd=self.target_cpa_usd, gain=self.target_gain)


def tuned_path(file: MarketFile) -> Path:
    """Where the tuned values of a market stand."""
    return file.path.with_suffix(".tuned.json")


def tuned_for(file: MarketFile) -> Tuned:
    """The committed values of this market file, or the plain settings where there are none."""
    path = tuned_path(file)
    if not path.is_file():
        return Tuned()
    data = read_json(path)
    tuned_on = str(data.get("market_sha256"))
    if tuned_on != file.sha256:
        _note(
            f"{path} was tuned for market {tuned_on[:12]}, this one is {file.sha256[:12]}; baselines fly"
            " untuned. Run `gaelp train --agent baselines`."
        )
        return Tuned()
    value = np.array([data["attributed_value"].get(line.name, 1.0) for line in LINES])
    return Tuned(
        fixed_multiplier=data["fixed_multiplier"],
        value_weight=data["value_weight"],
        settings=PacingSettings(**data["pacing"]),
        pid=PidSettings(**data.get("pid", {})),
        **data.get("target_cpa", {}),
        attributed_value=value,
        for_this_market=True,
    )


def save_tuned(file: MarketFile, tuned: Tuned, evidence: dict[str, Any]) -> Path:
    """Write the values with the market's hash and how they were found."""
    data = {
        "market": file.name,
        "market_sha256": file.sha256,
        "fixed_multiplier": tuned.fixed_multiplier,
        "value_weight": tuned.value_weight,
        "pacing": asdict(tuned.settings),
        "pid": asdict(tuned.pid),
        "target_cpa": {"target_cpa_usd": tuned.target_cpa_usd, "target_gain": tuned.target_gain},
        "attributed_value": {
            line.name: round(float(v), 5) for line, v in zip(LINES, tuned.attributed_value, strict=True)
        },
        "evidence": evidence,
    }
    path = tuned_path(file)
    write_json(path, data)
    return path


@cache
def _note(text: str) -> None:
    """Tell a person something on standard error, once: every flight asks for its tuned values."""
    print(f"note: {text}", file=sys.stderr, flush=True)
