"""What people type: text for a query's integer code, for people and logs only."""

from collections.abc import Mapping, Sequence

import numpy as np

from gaelp.core.random import bits, subkey
from gaelp.core.words import Query


def query_text(queries: Mapping[str, Sequence[str]], query: int, brand: str, person: int, hour: int) -> str:
    """The words of one search; the same person, hour and class always type the same.

    Args:
        queries: texts by class name, from the market file. query: class code.
        brand: fills `{brand}`. person, hour: pick among the texts.

    >>> query_text({"rival_brand": ["{brand} reviews"]}, 2, "Qustodio", 7, 31)
    'Qustodio reviews'
    """
    name = Query(query).name.lower()
    texts = queries.get(name) or [name.replace("_", " ")]
    pick = int(bits(subkey(np.uint64(person), hour), query)) % len(texts)
    return texts[pick].format(brand=brand)
