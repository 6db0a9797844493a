"""Files of a GA4 export as flat tables, one after the other, in bounded memory.

Daily and intraday tables of the BigQuery export as newline-delimited JSON or Parquet, and flattened exports
as CSV or Parquet; text may be gzipped.
"""

import csv
import datetime as dt
import io
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import IO, Any, Final, Never

from gaelp.core.errors import BadInput
from gaelp.data.ga4.arrow import Table, pa, pa_csv, pa_json, pq
from gaelp.data.ga4.cells import A_NUMBER, NO_NUMBERS, NUMBER, REMEDY
from gaelp.data.ga4.columns import Nested, Wide, flatten

_JSON: Final = (".json", ".ndjson", ".jsonl")
_TEXTS: Final = (*_JSON, ".csv", ".tsv")
_ENDINGS: Final = (*_TEXTS, *(end + ".gz" for end in _TEXTS), ".parquet")
_TABLE: Final = re.compile(r"events_(intraday_|fresh_)?(\d{8})(?!\d)")
_USERS: Final = re.compile(r"(pseudonymous_)?users_\d{8}")
_BLOCK: Final = 16 * 2**20  # bytes of text read at once
_ROWS: Final = 50_000  # of Parquet read at once
_TEXT: Final = pa.string()


def _json_schema(whole_numbers: Any) -> Any:
    """What is read of a nested export; BigQuery writes whole numbers as text into JSON."""
    n, s, f = whole_numbers, _TEXT, pa.float64()

    def record(**fields: Any) -> Any:
        return pa.struct(list(fields.items()))

    def campaign(**more: Any) -> Any:
        return record(campaign_name=s, source=s, medium=s, **more)

    value = record(string_value=s, int_value=n, float_value=f, double_value=f)
    return pa.schema(
        {
            "event_date": s,
            "event_timestamp": n,
            "event_name": s,
            "event_params": pa.list_(record(key=s, value=value)),
            "event_value_in_usd": f,
            "event_bundle_sequence_id": n,
            "batch_page_id": n,
            "batch_ordering_id": n,
            "batch_event_index": n,
            "user_id": s,
            "user_pseudo_id": s,
            "privacy_info": record(analytics_storage=s, ads_storage=s),
            "device": record(category=s),
            "geo": record(country=s, region=s),
            "platform": s,
            "traffic_source": record(name=s, medium=s, source=s),
            "collected_traffic_source": record(
                manual_campaign_name=s, manual_source=s, manual_medium=s, gclid=s
            ),
            "session_traffic_source_last_click": record(
                manual_campaign=campaign(),
                google_ads_campaign=record(campaign_name=s),
                cross_channel_campaign=campaign(default_channel_group=s),
            ),
            "ecommerce": record(transaction_id=s, purchase_revenue=f, purchase_revenue_in_usd=f),
        }
    )


_SCHEMAS: Final = (_json_schema(pa.string()), _json_schema(pa.int64()))
_EVENT: Final = pa.struct(list(_SCHEMAS[0]))


@dataclass(frozen=True, order=True)
class ExportFile:
    """One file of an export.

    Attributes:
        day: YYYYMMDD that its name tells, in the property's time zone; "" where it tells none.
        intraday: whether it is a part of a day that was not over yet.
        path: where it is.
    """

    day: str
    intraday: bool
    path: Path


def find_files(path: Path, last_days: int | None = None) -> list[ExportFile]:
    """The files of an export, oldest day first.

    An intraday table is left out where the daily one of that day is there, which replaces it; so are tables
    of users.

    Args:
        path: a file, or a folder, looked through to the bottom.
        last_days: only the newest table and those of so many days before it less one; None: all.

    Raises:
        BadInput: nothing is there that can be read, or days are asked for and a name tells none.
    """
    if not path.exists():
        raise BadInput("export", str(path), "must be there", "Check the path.")
    every = [path] if path.is_file() else sorted(each for each in path.rglob("*") if each.is_file())
    found = []
    for each in every:
        if not each.name.lower().endswith(_ENDINGS) or _USERS.match(each.name):
            continue
        table = _TABLE.search(str(each.relative_to(path)) if path.is_dir() else each.name)
        found.append(ExportFile(table[2] if table else "", bool(table and table[1]), each))
    if not found:
        allowed = f"must be a file, or a folder of files, ending in {', '.join(_ENDINGS)}"
        raise BadInput("export", str(path), allowed, "Export the tables events_YYYYMMDD from BigQuery.")
    if last_days is not None:
        found = _newest(found, last_days)
    daily = {each.day for each in found if each.day and not each.intraday}
    return sorted(each for each in found if not (each.intraday and each.day in daily))


def read_events(files: Sequence[ExportFile]) -> Iterator[Table]:
    """Flat tables of some files, see `columns.FLAT`; each holds a part that fits into memory.

    Raises:
        BadInput: a file cannot be read, or a row is no event; names file and line, or in Parquet row.
    """
    for file in files:
        name = file.path.name.lower()
        is_json = name.removesuffix(".gz").endswith(_JSON)
        read = _read_json if is_json else _read_parquet if name.endswith(".parquet") else _read_text
        try:
            yield from read(file.path)
        except (pa.ArrowException, OSError, EOFError, UnicodeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(
                "export", str(file.path), f"could not be read: {reason}", "Export it again."
            ) from None


def _newest(found: list[ExportFile], last_days: int) -> list[ExportFile]:
    if last_days < 1:
        raise BadInput("last_days", last_days, "must be at least 1", "Give days, for example 4.")
    nameless = next((each for each in found if not each.day), None)
    if nameless is not None:
        allowed = "must be named after its table, as events_20260301.json"
        raise BadInput("file", str(nameless.path), allowed, "Rename it, or import all days.")
    newest = dt.datetime.strptime(max(each.day for each in found), "%Y%m%d")
    since = f"{newest - dt.timedelta(days=last_days - 1):%Y%m%d}"
    return [each for each in found if each.day >= since]


def _open(path: Path) -> Any:
    """A stream of bytes, unpacked."""
    return pa.input_stream(str(path), compression="gzip" if path.name.lower().endswith(".gz") else None)


def _read_json(path: Path) -> Iterator[Table]:
    first_line = 1
    with _open(path) as stream:
        for block in _blocks(stream):
            table = _parse(block, path, first_line)
            yield flatten(Nested(table), partial(_line_of_json, block, table.num_rows, path, first_line))
            first_line += block.count(b"\n")


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    """Whole lines, about `_BLOCK` bytes of them."""
    kept = b""
    while piece := stream.read(_BLOCK):
        end = piece.rfind(b"\n") + 1
        if not end:
            kept += piece
            continue
        yield kept + piece[:end]
        kept = piece[end:]
    if kept.strip():
        yield kept


def _parse(block: bytes, path: Path, first_line: int) -> Table:
    """The rows of a block; both usual ways to write whole numbers are tried before the slow one."""
    for schema in _SCHEMAS:
        try:
            return pa_json.read_json(
                pa.py_buffer(block),
                read_options=pa_json.ReadOptions(use_threads=False, block_size=len(block) + 1),
                parse_options=pa_json.ParseOptions(
                    explicit_schema=schema, unexpected_field_behavior="ignore", newlines_in_values=False
                ),
            )
        except pa.ArrowInvalid:
            continue
    rows = []
    for number, line in enumerate(block.split(b"\n"), first_line):
        if line.strip():
            where = f"line {number} of {path}"
            try:
                row = json.loads(line)
            except (ValueError, RecursionError) as error:
                told = line[:60].decode(errors="replace")
                remedy = "Export it again as newline-delimited JSON."
                raise BadInput(where, told, f"must be one event as JSON ({error})", remedy) from None
            rows.append(_fitted(row, _EVENT, "", where))
    return pa.Table.from_pylist(rows, schema=_SCHEMAS[0])


def _fitted(cell: Any, kind: Any, name: str, where: str) -> Any:
    """A cell of JSON as the type that is meant."""

    def refuse(allowed: str) -> Never:
        raise BadInput(f"{name or 'event'} in {where}", cell, allowed, REMEDY)

    if cell is None and name:
        return None
    if pa.types.is_struct(kind):
        if not isinstance(cell, dict):
            refuse("must be a record, as {...}")
        start = name and f"{name}."
        return {each.name: _fitted(cell.get(each.name), each.type, start + each.name, where) for each in kind}
    if pa.types.is_list(kind):
        if not isinstance(cell, list):
            refuse("must be a list, as [...]")
        return [_fitted(each, kind.value_type, f"{name}[{i}]", where) for i, each in enumerate(cell)]
    text = cell if isinstance(cell, str) else json.dumps(cell)
    if pa.types.is_floating(kind):
        if re.match(NUMBER, text):
            return float(text)
        return None if text.lower() in NO_NUMBERS else refuse(A_NUMBER)
    if not text.isascii() and re.search("[\ud800-\udfff]", text):
        refuse("must be text without lone surrogates")
    return text


def _line_of_json(block: bytes, n_rows: int, path: Path, first_line: int, row: int) -> str:
    lines = [number for number, line in enumerate(block.split(b"\n"), first_line) if line.strip()]
    if len(lines) != n_rows:  # events of several lines, or lines of several events
        return f"event {row + 1} from line {first_line} on of {path}"
    return f"line {lines[row]} of {path}"


def _read_parquet(path: Path) -> Iterator[Table]:
    with pq.ParquetFile(path) as file:
        there = set(file.schema_arrow.names)
        is_nested = "event_params" in there
        columns = _leaves(file.schema_arrow) if is_nested else sorted(there)
        n_rows = 0
        for batch in file.iter_batches(batch_size=_ROWS, columns=columns):
            table = pa.Table.from_batches([batch])
            yield flatten(Nested(table) if is_nested else Wide(table), partial(_row, path, n_rows))
            n_rows += batch.num_rows


def _row(path: Path, n_before: int, row: int) -> str:
    return f"row {n_before + row + 1} of {path}"


def _leaves(schema: Any) -> list[str]:
    """Columns of a nested file that are read, by their paths, so that the others are not unpacked."""
    found = []
    for field in _SCHEMAS[0]:
        if field.name in schema.names:
            if pa.types.is_struct(field.type):
                found += [f"{field.name}.{each.name}" for each in field.type]
            else:
                found.append(field.name)
    return found


def _read_text(path: Path) -> Iterator[Table]:
    delimiter = "\t" if ".tsv" in path.name.lower() else ","
    with _open(path) as stream:
        head = io.BufferedReader(stream).readline()
    names = next(csv.reader([head.decode("utf-8-sig")], delimiter=delimiter), [])
    lowered = [name.strip().lower() for name in names]
    if not {"event_name", "name"} & set(lowered) or "user_pseudo_id" not in lowered:
        allowed = "must name the event (event_name or name) and user_pseudo_id"
        remedy = (
            "Nested tables cannot be exported as CSV: export JSON or Parquet, or flatten them by a query."
        )
        raise BadInput(f"header of {path.name}", names, allowed, remedy)
    unique = [f"{i}:{name}" for i, name in enumerate(lowered)]  # one may be there twice
    n_rows = 0
    with _open(path) as stream:
        try:
            reader = pa_csv.open_csv(
                stream,
                read_options=pa_csv.ReadOptions(column_names=unique, skip_rows=1, block_size=_BLOCK),
                parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=pa_csv.ConvertOptions(
                    column_types=dict.fromkeys(unique, pa.string()),
                    strings_can_be_null=True,
                    null_values=[""],
                    check_utf8=False,  # `flatten` does, and says where
                ),
            )
            for batch in reader:
                table = pa.Table.from_batches([batch]).rename_columns(lowered)
                yield flatten(Wide(table), partial(_line_of_text, path, delimiter, n_rows))
                n_rows += batch.num_rows
        except pa.ArrowInvalid:
            for line, cells in _records(path, delimiter):
                if len(cells) != len(names):
                    allowed = f"must have {len(names)} cells, as the header, and has {len(cells)}"
                    remedy = f"Put cells that hold {delimiter!r} into quotation marks, or correct that line."
                    raise BadInput(f"line {line} of {path}", delimiter.join(cells), allowed, remedy) from None
            raise


def _records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """On which line each row of a text begins, and its cells; slow, for whoever looks for a bad one."""
    limit = csv.field_size_limit(_BLOCK)
    try:
        with _open(path) as stream:
            lines = io.TextIOWrapper(io.BufferedReader(stream), "utf-8", "backslashreplace", newline="")
            next(lines)  # the header
            reader, line = csv.reader(lines, delimiter=delimiter), 2
            for cells in reader:
                if cells:
                    yield line, cells
                line = reader.line_num + 2
    finally:
        csv.field_size_limit(limit)


def _line_of_text(path: Path, delimiter: str, n_before: int, row: int) -> str:
    line, _ = next(islice(_records(path, delimiter), n_before + row, None))
    return f"line {line} of {path}"
