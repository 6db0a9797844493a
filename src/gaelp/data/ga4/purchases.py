"""Which events are sales, whose, and what they are worth."""

import re
from dataclasses import dataclass
from typing import Final

import numpy as np

from gaelp.core.errors import BadInput
from gaelp.data.ga4.rows import Rows, digest, fit
from gaelp.journeys.batch import Ints

PURCHASES: Final = ("purchase", "in_app_purchase", "app_store_subscription_convert")
"""GA4's names of events that are a sale."""
_MOST: Final = 9e9  # units of a currency


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How an export is told to the store.

    Attributes:
        conversions: names of events that are conversions.
        in_usd: whether values are Google's, converted to USD, instead of the shop's own currency.
        currency: ISO 4217, of purchases that name none; None: such a purchase counts in USD if the export
            tells what it is in USD.
        prefix: put before each id, so that two properties do not mix.
    """

    conversions: tuple[str, ...] = PURCHASES
    in_usd: bool = False
    currency: str | None = None
    prefix: str = ""

    def __post_init__(self) -> None:
        if not self.conversions:
            raise BadInput("conversions", (), "must name an event", f"Leave it out for {PURCHASES[0]!r}.")
        code = self.currency
        if code is not None and not (len(code) == 3 and code.isascii() and code.isupper()):
            raise BadInput("currency", code, "must be three capital letters", "Use its ISO 4217 code.")


def purchases(rows: Rows, session_login: Ints, rules: Rules) -> tuple[Ints, list[str], list[str]]:
    """Sales, each transaction once, at its earliest.

    Args:
        rows: events, each once.
        session_login: (n_rows,) code of the login of each row's session, -1 where there is none.
        rules: what a sale is.

    Returns:
        Rows of the sales; whose each is, who is unknown being a person of its own; and their event ids.
    """
    sale = np.flatnonzero(np.isin(rows.name, rows.codes_of(rules.conversions)))
    sale = sale[np.argsort(rows.us[sale], kind="stable")]
    login = np.where(rows.login[sale] >= 0, rows.login[sale], session_login[sale])
    found: dict[str, tuple[int, str]] = {}
    transactions = rows.words("transaction", sale)
    for row, code, transaction in zip(sale.tolist(), login.tolist(), transactions, strict=True):
        cookie = int(rows.cookie[row])
        key = transaction
        if key is None:  # then what distinguishes events
            told = (cookie >= 0 and rows.cookies[cookie], rows.us[row], rows.names[rows.name[row]])
            key = digest("\x1f".join(map(str, (*told, *(int(each[row]) for each in rows.order)))))
        event_id = fit(f"{rules.prefix}ga4:sale:{key}")
        if event_id not in found:
            is_known = code >= 0 or cookie >= 0
            found[event_id] = (row, rules.prefix + rows.person(code, cookie) if is_known else event_id)
    kept = np.array([row for row, _ in found.values()], np.int64)
    return kept, [fit(person) for _, person in found.values()], list(found)


def values(rows: Rows, sale: Ints, rules: Rules) -> tuple[Ints, list[str], int]:
    """What sales are worth: micros, the currency of each, and how many have no value that can be used."""
    value, usd, codes = (rows.words(name, sale) for name in ("value", "value_usd", "currency"))
    micros, currencies, unread = [], [], 0
    for own, in_usd, code in zip(value, usd, codes, strict=True):
        is_code = code is not None and re.fullmatch("[A-Z]{3}", code)
        named = code if is_code else rules.currency
        amount: float | None
        if rules.in_usd or named is None or own is None:
            amount, named = in_usd, "USD"
        else:
            amount = own
        if amount is None or not 0 <= amount < _MOST:
            amount, unread = 0.0, unread + 1
        micros.append(round(amount * 1e6))
        currencies.append(named)
    return np.array(micros, np.int64), currencies, unread
