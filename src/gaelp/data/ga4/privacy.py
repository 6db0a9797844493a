"""Addresses of pages without what may name a person."""

import re
from typing import Final

from gaelp.data.ga4.arrow import Array, pa, whole

REMOVED: Final = "(removed)"
"""Stands where a part of an address was."""
_KEPT: Final = re.compile(r"utm_[a-z_]+$", re.IGNORECASE)
_NAMES_SOMEBODY: Final = re.compile(r"@|%40|\d(?:[\s().+-]|%20|%2b)*(?:\d(?:[\s().+-]|%20|%2b)*){7,}\d", re.I)


def clean_address(address: str) -> str:
    """The address of a page without its query, but for `utm_` parameters, and without its fragment.

    What looks like an e-mail address or a telephone number is taken out of the path and of those parameters
    as well, and so is a name or password before the host. Google's terms forbid sending such things to GA4;
    pages that carry a form's fields in their address send them all the same.

    >>> clean_address("https://shop.example/thanks?email=ann%40x.org&utm_source=news&phone=5550100#ann")
    'https://shop.example/thanks?utm_source=news'
    >>> clean_address("https://shop.example/account/ann@x.org/orders")
    'https://shop.example/account/(removed)/orders'
    """
    rest = address.partition("#")[0]
    rest, _, query = rest.partition("?")
    scheme, there, rest = rest.rpartition("://")
    host, slash, path = rest.partition("/")
    parts = [REMOVED if _NAMES_SOMEBODY.search(part) else part for part in path.split("/")]
    cleaned = f"{scheme}{there}{host.rpartition('@')[2]}{slash}{'/'.join(parts)}"
    kept = []
    for pair in re.split("[&;]", query):
        name, _, value = pair.partition("=")
        if _KEPT.match(name) and not _NAMES_SOMEBODY.search(value):
            kept.append(pair)
    return f"{cleaned}?{'&'.join(kept)}" if kept else cleaned


def clean_addresses(column: Array) -> Array:
    """A column of addresses, each cleaned."""
    coded = whole(column).dictionary_encode()
    texts = pa.array([clean_address(each) for each in coded.dictionary.to_pylist()], pa.string())
    return texts.take(coded.indices)
