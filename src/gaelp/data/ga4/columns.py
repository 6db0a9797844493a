"""One flat table of GA4 events, whatever an export looks like.

Source of the layout: Google, "[GA4] BigQuery Export schema" (support.google.com/analytics/answer/7029846);
of flattened exports: fivetran/dbt_ga4_export, the table `event`.
"""

from collections.abc import Callable
from typing import Any, Final, Protocol

import numpy as np

from gaelp.data.ga4.arrow import Array, Table, pa, pc, whole
from gaelp.data.ga4.cells import (
    Where,
    check_amounts,
    check_names,
    days,
    moments,
    number,
    refuse_what_is_not_utf8,
    whole_number,
)
from gaelp.data.ga4.privacy import clean_addresses

FLAT: Final = pa.schema(
    [
        ("event_date", pa.int32()),  # YYYYMMDD in the property's time zone
        ("event_us", pa.int64()),  # microseconds since 1970, UTC
        ("event_name", pa.string()),
        ("cookie", pa.string()),  # user_pseudo_id
        ("login", pa.string()),  # user_id
        ("session", pa.string()),  # ga_session_id, unique only together with the cookie
        ("session_number", pa.int64()),
        ("bundle", pa.int64()),  # event_bundle_sequence_id
        ("page_id", pa.int64()),  # batch_page_id, and the next two: batch_ordering_id, batch_event_index
        ("ordering", pa.int64()),
        ("index", pa.int64()),
        ("analytics_consent", pa.string()),  # Yes, No, Unset
        ("ads_consent", pa.string()),
        ("device", pa.string()),
        ("country", pa.string()),
        ("region", pa.string()),
        ("platform", pa.string()),
        ("page", pa.string()),  # cleaned, see `privacy`
        ("referrer", pa.string()),
        ("engagement_msec", pa.int64()),
        ("engaged", pa.bool_()),
        ("source", pa.string()),
        ("medium", pa.string()),
        ("campaign", pa.string()),
        ("group", pa.string()),  # Google's own channel group, where it says one
        ("level", pa.int8()),  # index into LEVELS: who said so
        ("ad_click", pa.bool_()),  # carries a Google Ads click id
        ("transaction", pa.string()),
        ("currency", pa.string()),
        ("value", pa.float64()),  # of the purchase, in that currency
        ("value_usd", pa.float64()),
    ]
)
"""Columns of the flat table, in order."""

LEVELS: Final = (
    "cross_channel",
    "google_ads",
    "manual",
    "collected",
    "event_params",
    "first_touch",
    "none",
)
"""Who told source and medium, the most trustworthy first. The first three are the session's last click; the
fifth the event's own parameters; `first_touch` is what first brought the user, long ago perhaps."""

PARAMS: Final = (
    "ga_session_id",
    "ga_session_number",
    "page_location",
    "page_referrer",
    "source",
    "medium",
    "campaign",
    "gclid",
    "engagement_time_msec",
    "session_engaged",
    "value",
    "currency",
    "transaction_id",
)
"""Keys of `event_params` that are read."""

_AD_CLICK: Final = r"[?&](gclid|gbraid|wbraid)=[^&#]"
_NOTHING: Final = pa.array(["", "(not set)", "<Other>", "(data deleted)"])
_CLICKED: Final = "session_traffic_source_last_click"
_TELLERS: Final = (
    # source, medium, campaign, group of each level but the last
    tuple(
        f"{_CLICKED}.cross_channel_campaign.{each}"
        for each in ("source", "medium", "campaign_name", "default_channel_group")
    ),
    (None, None, f"{_CLICKED}.google_ads_campaign.campaign_name", None),
    tuple(f"{_CLICKED}.manual_campaign.{each}" for each in ("source", "medium", "campaign_name")),
    tuple(f"collected_traffic_source.manual_{each}" for each in ("source", "medium", "campaign_name")),
    ("param:source", "param:medium", "param:campaign"),
    ("traffic_source.source", "traffic_source.medium", "traffic_source.name"),
)


class Raw(Protocol):
    """Columns of an export, asked for by Google's names; `param:KEY` is one of `PARAMS`."""

    n_rows: int
    table: Table

    def text(self, name: str) -> Array:
        """(n,) as text; nothing where the export does not tell."""

    def number(self, name: str) -> Array:
        """(n,) as a float."""

    def written(self, name: str) -> Array | None:
        """(n,) the text that `number` reads; None where the export holds numbers, or nothing."""


class Nested:
    """An export as Google nests it: records and repeated records.

    Args:
        table: with any of Google's columns; what is missing was not told.
    """

    def __init__(self, table: Table) -> None:
        self.n_rows: int = table.num_rows
        self.table = table
        self._columns = {name: whole(table.column(name)) for name in table.column_names}
        self._params = _params(self._columns.get("event_params"), self.n_rows)

    def text(self, name: str) -> Array:
        """As `Raw` says."""
        if name.startswith("param:"):
            told = self._params.get(name[6:], {})
            kinds = ("string_value", "int_value", "double_value", "float_value")
            return _first([_text(told[kind]) for kind in kinds if kind in told], self.n_rows, pa.string())
        found = self._at(name)
        return pa.nulls(self.n_rows, pa.string()) if found is None else _text(found)

    def number(self, name: str) -> Array:
        """As `Raw` says."""
        if name.startswith("param:"):
            told = self._params.get(name[6:], {})
            kinds = ("double_value", "float_value", "int_value", "string_value")
            return _first([number(told[kind]) for kind in kinds if kind in told], self.n_rows, pa.float64())
        found = self._at(name)
        return pa.nulls(self.n_rows, pa.float64()) if found is None else number(found)

    def written(self, name: str) -> Array | None:
        """As `Raw` says."""
        found = self._at(name)
        return None if found is None or not pa.types.is_string(found.type) else found

    def _at(self, name: str) -> Array | None:
        head, *rest = name.split(".")
        found = self._columns.get(head)
        for each in rest:
            if found is None or not pa.types.is_struct(found.type) or found.type.get_field_index(each) < 0:
                return None
            found = pc.struct_field(found, each)
        return found


class Wide:
    """An export that somebody flattened: one column per field, named the way they liked.

    A column that is there twice is one column; the first cell that says something counts.

    Args:
        table: of text or typed columns.
    """

    _ALSO: Final = {
        "event_date": ("date",),
        "event_timestamp": ("timestamp",),
        "event_name": ("name",),
        "event_bundle_sequence_id": ("bundle_sequence_id",),
        "event_value_in_usd": ("value_in_usd",),
    }

    def __init__(self, table: Table) -> None:
        self.n_rows: int = table.num_rows
        self.table = table
        self._columns: dict[str, list[Array]] = {}
        for name, column in zip(table.column_names, table.columns, strict=True):
            self._columns.setdefault(name.strip().lower(), []).append(whole(column))

    @classmethod
    def names(cls, name: str) -> tuple[str, ...]:
        """What a column may be called."""
        if name.startswith("param:"):
            return tuple(start + name[6:] for start in ("param_", "event_params_", "event_params.", ""))
        return (name, name.replace(".", "_"), *cls._ALSO.get(name, ()))

    def text(self, name: str) -> Array:
        """As `Raw` says."""
        found = [each for other in self.names(name) for each in self._columns.get(other, [])]
        return _first([_text(each) for each in found], self.n_rows, pa.string())

    def number(self, name: str) -> Array:
        """As `Raw` says."""
        return number(self.text(name))

    def written(self, name: str) -> Array | None:
        """As `Raw` says."""
        return self.text(name)


def flatten(raw: Raw, where: Where) -> Table:
    """The flat table of some rows of an export.

    Args:
        raw: the rows. where: names the place of one, for whoever has to mend it.

    Raises:
        BadInput: a row has no name or no time, or an amount, a date or a text cannot be read.
    """
    try:
        flat = _flat(raw, where)
        flat.validate(full=True)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        refuse_what_is_not_utf8(raw.table, where)
        raise
    return flat


def _flat(raw: Raw, where: Where) -> Table:
    def amount(name: str) -> Array:
        found, told = raw.number(name), raw.written(name)
        if told is not None:
            check_amounts(name, found, told, where)
        return found

    names = raw.text("event_name")
    check_names(names, where)
    at_us = moments(raw.text("event_timestamp"), where)
    page = raw.text("param:page_location")
    clicked = pc.fill_null(pc.match_substring_regex(page, _AD_CLICK), False)
    for name in ("collected_traffic_source.gclid", "param:gclid"):
        clicked = pc.or_(clicked, pc.is_valid(_known(raw.text(name))))
    source, medium, campaign, group, level = _told(raw)
    made: dict[str, Callable[[], Array]] = {
        "event_date": lambda: days(_known(raw.text("event_date")), at_us, where),
        "event_us": lambda: at_us,
        "event_name": lambda: names,
        "cookie": lambda: _known(raw.text("user_pseudo_id")),
        "login": lambda: _known(raw.text("user_id")),
        "session": lambda: _known(raw.text("param:ga_session_id")),
        "session_number": lambda: whole_number(raw.text("param:ga_session_number")),
        "bundle": lambda: whole_number(raw.text("event_bundle_sequence_id")),
        "page_id": lambda: whole_number(raw.text("batch_page_id")),
        "ordering": lambda: whole_number(raw.text("batch_ordering_id")),
        "index": lambda: whole_number(raw.text("batch_event_index")),
        "analytics_consent": lambda: raw.text("privacy_info.analytics_storage"),
        "ads_consent": lambda: raw.text("privacy_info.ads_storage"),
        "device": lambda: _known(raw.text("device.category")),
        "country": lambda: _known(raw.text("geo.country")),
        "region": lambda: _known(raw.text("geo.region")),
        "platform": lambda: pc.utf8_upper(raw.text("platform")),
        "page": lambda: clean_addresses(page),
        "referrer": lambda: clean_addresses(raw.text("param:page_referrer")),
        "engagement_msec": lambda: whole_number(raw.text("param:engagement_time_msec")),
        "engaged": lambda: pc.is_in(
            pc.utf8_lower(raw.text("param:session_engaged")), value_set=pa.array(["1", "true"])
        ),
        "source": lambda: source,
        "medium": lambda: medium,
        "campaign": lambda: campaign,
        "group": lambda: group,
        "level": lambda: level,
        "ad_click": lambda: clicked,
        "transaction": lambda: _known(
            pc.coalesce(_known(raw.text("ecommerce.transaction_id")), raw.text("param:transaction_id"))
        ),
        "currency": lambda: pc.utf8_upper(_known(raw.text("param:currency"))),
        "value": lambda: pc.coalesce(amount("ecommerce.purchase_revenue"), raw.number("param:value")),
        "value_usd": lambda: pc.coalesce(
            amount("ecommerce.purchase_revenue_in_usd"), amount("event_value_in_usd")
        ),
    }
    return pa.table([whole(made[field.name]()).cast(field.type) for field in FLAT], schema=FLAT)


def _told(raw: Raw) -> tuple[Array, Array, Array, Array, Array]:
    """Source, medium, campaign, Google's group and the level of whoever told them."""
    nothing = pa.nulls(raw.n_rows, pa.string())
    found = [nothing, nothing, nothing, nothing, pa.array(np.full(raw.n_rows, len(LEVELS) - 1, np.int8))]
    for level in reversed(range(len(_TELLERS))):
        names = (*_TELLERS[level], None)[:4]
        told = [nothing if name is None else _known(raw.text(name)) for name in names]
        if LEVELS[level] == "google_ads":  # whatever Google Ads brought is google / cpc
            here = pc.is_valid(told[2])
            told[0], told[1] = pa.scalar("google"), pa.scalar("cpc")
        else:
            here = pc.or_(pc.is_valid(told[0]), pc.is_valid(told[1]))
        told.append(pa.scalar(level, pa.int8()))
        found = [pc.if_else(here, new, old) for new, old in zip(told, found, strict=True)]
    return found[0], found[1], found[2], found[3], found[4]


def _params(column: Array | None, n_rows: int) -> dict[str, dict[str, Array]]:
    """Values of the wanted parameters by key and kind, each (n_rows,)."""
    if column is None:
        return {}
    if pa.types.is_struct(column.type):  # some writers of Parquet wrap a list in a record called `list`
        column = pc.struct_field(column, column.type.field(0).name)
    parent = pc.list_parent_indices(column).to_numpy()
    entries = pc.list_flatten(column)
    if entries.type.num_fields == 1:  # and its records in others called `element`
        entries = pc.struct_field(entries, entries.type.field(0).name)
    keys = pc.struct_field(entries, "key").dictionary_encode()
    code = {key: i for i, key in enumerate(keys.dictionary.to_pylist())}
    codes = pc.fill_null(keys.indices, -1).to_numpy()
    values = pc.struct_field(entries, "value")
    kinds = {field.name: pc.struct_field(values, field.name) for field in values.type}
    found = {}
    for key in PARAMS:
        if key in code:
            rows = np.flatnonzero(codes == code[key])
            at = np.full(n_rows, -1, np.int64)
            at[parent[rows]] = rows
            indices = pa.array(at, mask=at < 0)
            found[key] = {kind: cells.take(indices) for kind, cells in kinds.items()}
    return found


def _first(cells: list[Array], n_rows: int, kind: Any) -> Array:
    return pc.coalesce(*cells) if cells else pa.nulls(n_rows, kind)


def _text(cells: Array) -> Array:
    if pa.types.is_floating(cells.type):
        rounded = pc.round(cells)
        same = pc.fill_null(pc.and_(pc.equal(rounded, cells), pc.less(pc.abs(cells), 2.0**63)), False)
        whole_text = pc.if_else(same, rounded, None).cast(pa.int64(), safe=False).cast(pa.string())
        return pc.coalesce(whole_text, cells.cast(pa.string()))
    return cells if cells.type == pa.string() else cells.cast(pa.string())


def _known(cells: Array) -> Array:
    return pc.if_else(pc.is_in(cells, value_set=_NOTHING), None, cells)
