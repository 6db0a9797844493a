"""The course of a training: how hard its worlds are, how validation went, and which epoch was best.

An epoch whose win rate passes `WIN_RATE` makes the next one's worlds a level harder; no level is given back.
Rivals of a harder world value people more and have more to spend from its first day, so all they learn, in
the warm-up and during the campaign, they learn there.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gaelp.market.file import MarketFile

WIN_RATE = 0.7
"""Wins per bid of an epoch above which the next epoch is harder."""
STRENGTH, BUDGET = 1.1, 1.25
"""By which a level multiplies what rivals value people at, and their budgets."""
_LARGEST_STRENGTH, _LARGEST_BUDGET = 10.0, 1e5  # that a market file may state


def harder(file: MarketFile, level: int) -> MarketFile:
    """The file with all rivals some levels stronger, inside what a market file may state."""
    if level == 0:
        return file
    rivals = (
        replace(
            rival,
            strength=min(rival.strength * STRENGTH**level, _LARGEST_STRENGTH),
            budget_usd_per_1000=min(rival.budget_usd_per_1000 * BUDGET**level, _LARGEST_BUDGET),
        )
        for rival in file.rivals
    )
    return replace(file, rivals=tuple(rivals))


@dataclass(frozen=True, kw_only=True)
class Validation:
    """What an epoch's network gained on its base in the validation worlds.

    Attributes:
        epoch: whose network. gain: mean over worlds, in daily budgets, as a campaign's reward.
        standard_error: of that mean. n_worlds: how many.
    """

    epoch: int
    gain: float
    standard_error: float
    n_worlds: int

    @classmethod
    def of(cls, epoch: int, gains: NDArray[np.float64]) -> "Validation":
        """From the (n_worlds,) gains of an epoch's network, at least two."""
        error = float(gains.std(ddof=1) / len(gains) ** 0.5)
        return cls(epoch=epoch, gain=float(gains.mean()), standard_error=error, n_worlds=len(gains))

    def clear(self, n_looks: int) -> bool:
        """Whether the best of so many is above 0: Student's t at 95 %, shared by all looks (Bonferroni)."""
        from scipy.stats import t  # here: it takes a second to import

        return self.gain > float(t.ppf(1.0 - 0.025 / n_looks, self.n_worlds - 1)) * self.standard_error


@dataclass
class Course:
    """How far a training has come; `notes` and `from_notes` keep it in a checkpoint.

    Attributes:
        level: of the next epoch's worlds. validations: so far, by epoch.

    >>> course = Course()
    >>> course.lived(0.2), course.lived(0.8), course.lived(0.3)
    (0, 1, 1)
    """

    level: int = 0
    validations: list[Validation] = field(default_factory=list)

    def lived(self, win_rate: float) -> int:
        """Note an epoch's win rate, NaN where nothing was bid; returns the next epoch's level."""
        self.level += win_rate > WIN_RATE
        return self.level

    @property
    def best(self) -> Validation | None:
        """The validation that gained most, the first of equals; None where none gained anything."""
        gained = [one for one in self.validations if one.gain > 0.0]
        return max(gained, key=lambda one: one.gain, default=None)

    def add(self, validation: Validation) -> bool:
        """Note a validation; returns whether it is the best now."""
        self.validations.append(validation)
        return self.best is validation

    def stale(self, epoch: int, epochs: int) -> bool:
        """Whether the best is that many epochs old; the base counts as of epoch 0."""
        return epoch - (self.best.epoch if self.best else 0) >= epochs

    def says(self, base: str) -> str:
        """What validation came to, in a sentence."""
        if not self.validations:
            return f"No validation yet: what flies is {base} itself."
        best, n = self.best, len(self.validations)
        if best is None:
            last = self.validations[-1]
            return (
                f"No epoch was better than {base} in {n} validation{'s' * (n > 1)} (the last gained"
                f" {last.gain:+.3f} ± {last.standard_error:.3f} daily budgets a world): what flies is {base}"
                " itself."
            )
        clear = "" if best.clear(n) else f", which the best of {n} can be by chance"
        return (
            f"Epoch {best.epoch} was the best of {n} validation{'s' * (n > 1)} and flies: it gained"
            f" {best.gain:+.3f} ± {best.standard_error:.3f} daily budgets a world on {base}{clear}."
        )

    def notes(self) -> dict[str, Any]:
        """What JSON keeps."""
        return {"level": self.level, "validations": [asdict(one) for one in self.validations]}

    @classmethod
    def from_notes(cls, notes: Mapping[str, Any]) -> "Course":
        """The course that `notes` said."""
        return cls(notes["level"], [Validation(**one) for one in notes["validations"]])
