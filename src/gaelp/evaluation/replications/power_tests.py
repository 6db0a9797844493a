"""Lift tests as the power problem counts them: of every channel by the platform, of the account by dealing.

See `power` for the formula of the error.
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from gaelp.core.random import named_seed
from gaelp.core.units import MICROS_PER_USD
from gaelp.core.words import PAID_CHANNELS
from gaelp.evaluation.replications.flights import bought
from gaelp.evaluation.task_flights import Floats, Flown, Task, Terms
from gaelp.market.state import SPEND
from gaelp.worlds.flight import Tick
from gaelp.worlds.twins import ALL_LINES

HOLDOUT = 0.5
"""Share of people kept from each channel: no other share tells more."""
DEALS = 20
"""How often a world's people are dealt to the arms of the account's test; each deal is a test."""
ACCOUNT = "whole account"
NAMES = tuple(channel.name.lower() for channel in PAID_CHANNELS)
_LEAST_SPEND = 0.005


def account_tests(flown: Flown, task: Task[Terms], tick: Tick) -> dict[str, Floats]:
    """Tests of all channels at once: people shown live the flight, people held out its twin without ads.

    A twin's people do not meet each other, so a test that deals them to both lives is what a platform that
    runs all channels would have measured. Each of `DEALS` deals half of the people, whoever lives in their
    place later with them.

    Args:
        flown: without a holdout. task: what was flown. tick: told the world-hours done.

    Returns:
        (n_worlds,) each: `account_told` and `account_square` (sales caused as the first deal says, and the
        square of its error), `account_miss` (mean over deals of its squared distance to the truth),
        `account_squares` (mean over deals of the square of the error), `account_caused`,
        `account_spend_usd` (of those shown).
    """
    dark = flown.without(ALL_LINES, tick)
    n_people, n_worlds = dark.n_people, dark.n_worlds
    truth = (1.0 - HOLDOUT) * flown.caused(dark)
    told, square = np.zeros((2, DEALS, n_worlds))
    for w, world in enumerate(task.worlds):
        sales = [
            np.bincount(bought(m, w, flown.flight.start)["person"], minlength=n_people)
            for m in (flown.after, dark)
        ]
        rng = np.random.default_rng(named_seed("account test", task.terms.seed, world.seed))
        for deal in range(DEALS):
            held = rng.permutation(n_people) < round(HOLDOUT * n_people)
            shown, kept = sales[0][~held].sum(), sales[1][held].sum()
            scale = (~held).sum() / max(held.sum(), 1)
            told[deal, w], square[deal, w] = shown - scale * kept, shown + scale**2 * kept
    spend = flown.flight.report[..., SPEND].sum(axis=1) / MICROS_PER_USD
    return {
        "account_told": told[0],
        "account_square": square[0],
        "account_miss": ((told - truth) ** 2).mean(axis=0),
        "account_squares": square.mean(axis=0),
        "account_caused": truth,
        "account_spend_usd": (1.0 - HOLDOUT) * spend,
    }


def estimates(sums: Mapping[str, Floats], name: str) -> tuple[Floats, Floats]:
    """(n_worlds,) sales that a channel's tests say it caused, and the squares of their standard errors.

    Where an arm of a world is empty nothing is told: 0 of both.
    """
    shown, held, sold, kept = (
        sums[f"{name}_{key}"] for key in ("shown_people", "held_people", "shown_sales", "held_sales")
    )
    told = (shown > 0) & (held > 0)
    scale = np.divide(shown, held, out=np.zeros_like(shown), where=told)
    return np.where(told, sold - scale * kept, 0.0), np.where(told, sold + scale**2 * kept, 0.0)


class Tests(NamedTuple):
    """Tests of a channel or the account in every world, (n_worlds,) each.

    Attributes:
        told: sales caused as they say. square: of its standard error by the formula. truth: what was caused.
        spend: on those shown, USD. miss: squared distance of told to truth. squares: its mean by the formula.
    """

    told: Floats
    square: Floats
    truth: Floats
    spend: Floats
    miss: Floats
    squares: Floats


def tests_of(sums: Mapping[str, Floats]) -> dict[str, Tests]:
    """The account's tests, and those of every channel that takes half a percent of the money."""
    keys = ("told", "square", "caused", "spend_usd", "miss", "squares")
    found = {ACCOUNT: Tests(*(sums[f"account_{key}"] for key in keys))}
    least = _LEAST_SPEND * sum(sums[f"{name}_spend_usd"].sum() for name in NAMES)
    for name in NAMES:
        truth, spend = sums[f"{name}_caused"], sums[f"{name}_spend_usd"]
        if spend.sum() > least:
            told, square = estimates(sums, name)
            found[name] = Tests(told, square, truth, spend, (told - truth) ** 2, square)
    return found
