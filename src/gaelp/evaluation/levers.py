"""What of a market can be turned, for a search over markets: parameters times a factor, in copies in memory.

A lever is a parameter, or the part of one that belongs to a feed, a query class, a landing page or a segment.
It is turned by steps: a step is one standard deviation of the log factor that training worlds draw for it
(the market file's `[spread]`), so that the same number of steps is as unusual on every lever. What training
worlds never vary has an assumed step, and is marked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gaelp.core.errors import BadInput
from gaelp.core.names import require_known
from gaelp.market.file import MarketFile
from gaelp.market.market import World
from gaelp.market.parameters import BY_NAME, axis_names
from gaelp.worlds.splits import with_factors

Floats = NDArray[np.float64]

ASSUMED_STEP = 0.15
"""Log factor of one step where training worlds do not vary a parameter: the usual one of `[spread]`."""
BUDGET = "daily_budget"
"""The advertiser's budget a person, which is a fact of the file and no parameter."""
ALSO = ("landing_fit", "organic_click", "predict_sigma")
"""Parameters that training worlds do not vary, and that `value` has learnt something about or leans on."""
_RIVALS = ("rival_strength", "rival_budget", "rival_prior")
_SPLIT = ("feed", "query", "group", "landing")
"""First axes whose parts are levers of their own; other arrays are turned as a whole."""
_UNTURNED: Mapping[str, str] = {
    "lag_share": "its shares must add up to 1",
    "query_share": "a factor on shares changes nothing",
    "floor_share": "a factor on shares changes nothing",
    "mail_cost_usd": "policies are told one cost for all worlds of a batch",
}


@dataclass(frozen=True)
class Lever:
    """One thing that can be turned.

    Attributes:
        name: `parameter`, or `parameter.part`.
        parameter: of the market file; a rivals' property of `[spread]`; or `BUDGET`.
        elements: flat positions in the parameter's array that it turns.
        step: log factor of one step. in_spread: training worlds vary it.
    """

    name: str
    parameter: str
    elements: tuple[int, ...]
    step: float
    in_spread: bool

    def factor(self, steps: float) -> float:
        """What the elements are multiplied by.

        >>> round(Lever("buy_rate", "buy_rate", (0,), 0.15, True).factor(-2.0), 3)
        0.741
        """
        return float(np.exp(self.step * steps))


def levers_of(file: MarketFile, also: Sequence[str] = ALSO) -> list[Lever]:
    """Every lever of a market: its `[spread]`, the budget, and the parameters named.

    Args:
        file: the market. also: parameters that training worlds do not vary.

    Raises:
        UnknownName: a parameter that does not exist.
        BadInput: one that cannot be turned by a factor.
    """
    found = [
        lever
        for name, sigma in file.spread.items()
        if sigma > 0.0 and name not in _UNTURNED
        for lever in _parts(file, name, sigma, True)
    ]
    found.append(Lever(BUDGET, BUDGET, (0,), ASSUMED_STEP, False))
    for name in dict.fromkeys(also):
        require_known("parameter", name, BY_NAME)
        if name in _UNTURNED:
            raise BadInput("parameter", name, f"cannot be turned: {_UNTURNED[name]}", "Name another.")
        if file.spread.get(name, 0.0) <= 0.0:
            found += _parts(file, name, ASSUMED_STEP, False)
    return found


def world_at(world: World, levers: Sequence[Lever], steps: Floats) -> World:
    """The world with levers turned, held inside the ranges of its market file; its seed stays.

    Args:
        world: a world of a split, left as it is. levers: what is turned. steps: (n_levers,).
    """
    factors: dict[str, Floats] = {}
    budget = 1.0
    for lever, turned in zip(levers, steps, strict=True):
        if lever.parameter == BUDGET:
            budget *= lever.factor(turned)
            continue
        size = _size(world.file, lever.parameter)
        factors.setdefault(lever.parameter, np.ones(size))[list(lever.elements)] *= lever.factor(turned)
    file = with_factors(world.file, {name: factor.tolist() for name, factor in factors.items()})
    return World(replace(file, daily_budget_usd=budget * file.daily_budget_usd), world.seed)


def _parts(file: MarketFile, name: str, step: float, in_spread: bool) -> list[Lever]:
    whole = tuple(range(_size(file, name)))
    axes = () if name in _RIVALS else BY_NAME[name].axes
    if name == "segment_share":  # shares: turning all of them changes nothing
        parts: list[tuple[str, tuple[int, ...]]] = [
            (segment, (i,)) for i, segment in enumerate(file.segments)
        ]
    elif axes and axes[0] in _SPLIT:
        names = [
            part.split("_")[0] if axes[0] == "group" else part for part in axis_names(axes[0], file.segments)
        ]
        rows = np.reshape(whole, (len(names), -1))
        parts = [
            (part, tuple(int(i) for row, of in zip(rows, names, strict=True) if of == part for i in row))
            for part in dict.fromkeys(names)
        ]
    else:
        return [Lever(name, name, whole, step, in_spread)]
    return [Lever(f"{name}.{part}", name, elements, step, in_spread) for part, elements in parts]


def _size(file: MarketFile, name: str) -> int:
    return len(file.rivals) if name in _RIVALS else file.parameters[name].value.size
