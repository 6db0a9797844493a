"""Events brought together person by person, in bounded memory: what does not fit waits on the disk."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from zlib import crc32

import numpy as np

from gaelp.data.ga4.arrow import Table, pa, pc, whole

N_PARTS: Final = 64
"""Heaps of people; one has to fit into memory, so years of a large shop do."""
_ROWS: Final = 250_000  # kept in memory before they are written, and given out at once


class Shuffle:
    """Takes flat tables in any order and gives back tables that hold all that is known of a person.

    It is a context: its files, in a folder that only this user can read, go when it ends.
    """

    def __init__(self) -> None:
        self._waiting: list[Table] = []
        self._n_waiting = 0
        self._folder = tempfile.TemporaryDirectory(prefix="gaelp-ga4-")
        self._writers: list[Any] = []
        self._n_rows = [0] * N_PARTS

    def __enter__(self) -> "Shuffle":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._close()
        self._folder.cleanup()

    def add(self, events: Table) -> None:
        """Take some rows; `cookie` says whose they are, those of nobody are spread by `event_us`."""
        if events.num_rows:
            self._waiting.append(events)
            self._n_waiting += events.num_rows
        if self._n_waiting >= _ROWS:
            self._write()

    def people(self) -> Iterator[Table]:
        """All rows, a table for so many people; nobody is in two tables."""
        if not self._writers:
            if self._waiting:
                yield pa.concat_tables(self._waiting)
            return
        self._write()
        self._close()
        heap: list[Table] = []
        for part, n_rows in enumerate(self._n_rows):
            if heap and sum(each.num_rows for each in heap) + n_rows > _ROWS:
                yield pa.concat_tables(heap)
                heap = []
            with pa.OSFile(str(self._path(part))) as file:
                heap.append(pa.ipc.open_stream(file).read_all())
        yield pa.concat_tables(heap)

    def _write(self) -> None:
        if not self._waiting:
            return
        table = pa.concat_tables(self._waiting)
        self._waiting, self._n_waiting = [], 0
        if not self._writers:
            options = pa.ipc.IpcWriteOptions(compression="lz4")
            self._writers = [
                pa.ipc.new_stream(str(self._path(part)), table.schema, options=options)
                for part in range(N_PARTS)
            ]
        part = _part(table)
        order = np.argsort(part, kind="stable")
        sizes = np.bincount(part, minlength=N_PARTS).tolist()
        table, first = table.take(pa.array(order)).combine_chunks(), 0
        for i, size in enumerate(sizes):
            if size:
                self._writers[i].write_table(table.slice(first, size))
                self._n_rows[i] += size
                first += size

    def _close(self) -> None:
        for writer in self._writers:
            writer.close()

    def _path(self, part: int) -> Path:
        return Path(self._folder.name) / f"{part}.arrow"


def _part(table: Table) -> Any:
    """(n,) the heap of each row."""
    coded = whole(table["cookie"]).dictionary_encode()
    of_name = [crc32(name.encode()) % N_PARTS for name in coded.dictionary.to_pylist()]
    codes = pc.fill_null(coded.indices, -1).to_numpy()
    spread = table["event_us"].to_numpy() % N_PARTS
    return np.where(codes < 0, spread, np.array([*of_name, 0], np.int64)[codes])
