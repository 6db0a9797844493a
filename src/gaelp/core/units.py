"""Money: integer micros in ledgers, floating US dollars inside arrays."""

import math
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Final

from gaelp.core.errors import BadInput

MICROS_PER_USD: Final = 1_000_000
_INT64_MAX: Final = 2**63 - 1


def usd_to_micros(usd: float, *, name: str = "usd", non_negative: bool = False) -> int:
    """Turn dollars into whole micros, half a micro going to the even neighbour.

    The float is read as the decimal a person would write for it, so 0.0000025 is two and a half micros
    although no float is exactly that.

    Args:
        usd: an amount in USD, finite.
        name: what the amount is called in an error message.
        non_negative: whether amounts below zero are refused.

    Returns:
        The amount in micros (1 USD = 1,000,000 micros), within a signed 64-bit integer.

    Raises:
        BadInput: if the amount is NaN or infinite, too large for 64 bits, or negative where it may not be.

    >>> usd_to_micros(2.5), usd_to_micros(0.0000025), usd_to_micros(-0.1)
    (2500000, 2, -100000)
    """
    usd = float(usd)
    if not math.isfinite(usd):
        raise BadInput(name, usd, "must be a finite amount in USD", "Check the figure it was computed from.")
    if non_negative and usd < 0:
        raise BadInput(name, usd, "must be at least 0 USD", "Give an amount that is not negative.")
    micros = int((Decimal(repr(usd)) * MICROS_PER_USD).to_integral_value(ROUND_HALF_EVEN))
    if abs(micros) > _INT64_MAX:
        raise BadInput(name, usd, "must stay within 9.2e12 USD", "Check its unit: it should be dollars.")
    return micros


def micros_to_usd(micros: int) -> float:
    """Turn micros into dollars.

    Args:
        micros: an amount in micros (1 USD = 1,000,000 micros).

    Returns:
        The nearest float amount in USD.

    >>> micros_to_usd(2_500_000)
    2.5
    """
    return micros / MICROS_PER_USD
