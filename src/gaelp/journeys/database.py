"""One SQL database: how it is opened, how transactions begin, and rows by the million.

Writers take turns, readers never wait: on SQLite by `BEGIN IMMEDIATE` and the write-ahead log, on
PostgreSQL by one advisory lock and snapshots. So whoever writes sees everything that was written before,
and whoever reads sees one moment.
"""

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from gaelp.core.errors import BadInput, GaelpError, MismatchError
from gaelp.journeys.schema import metadata

HEAD = "0001"
DEFAULT_URL = "sqlite:///journeys.db"
_WRITE_LOCK = 0x6761656C70  # "gaelp"
_FEW = 200  # rows that are not worth a COPY
_PATIENCE_MS = 120_000
_NOTHING_STORED = "What was begun was not stored."
_NOT_SCRUBBED = (
    "Rows that were removed stay removed, but their bytes may still be in the files: run it again."
)
_PRAGMAS = (
    f"busy_timeout = {_PATIENCE_MS}",
    "journal_mode = WAL",
    "synchronous = NORMAL",  # a killed process loses nothing; a power cut may lose the last transactions
    "cache_size = -65536",
    "secure_delete = FAST",
)


class Database:
    """A database with the tables of `gaelp.journeys.schema`, made or brought up to date on opening.

    Args:
        url: `sqlite:///FILE`, `postgresql://...`, or the path of an SQLite file; None: the environment's
            `DATABASE_URL`, else `journeys.db` in the working folder.
        make: whether an SQLite file that is not there is made; otherwise it is refused.

    Raises:
        BadInput: the database is of another kind, is not there, or cannot be opened.
        MismatchError: it was made by a newer version of the program.
    """

    def __init__(self, url: str | Path | None = None, *, make: bool = True) -> None:
        self.url = _read_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        shown = self.url.render_as_string(hide_password=True)
        if self.is_sqlite and not make and not Path(str(self.url.database)).is_file():
            remedy = "Name the database, or make it by `gaelp journeys import FILE`."
            raise BadInput("database", shown, "must be there", remedy)
        try:
            self.engine = sa.create_engine(self.url)
        except ModuleNotFoundError:
            allowed = "needs the package psycopg"
            raise BadInput("DATABASE_URL", shown, allowed, "Install the extra `gaelp[postgres]`.") from None
        if self.is_sqlite:
            sa.event.listen(self.engine, "connect", _set_up_sqlite)
            sa.event.listen(self.engine, "begin", _begin_sqlite)
        self._reading = self.engine.execution_options(
            **({} if self.is_sqlite else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True})
        )
        self._writing = self.engine.execution_options(gaelp_writes=True)
        try:
            self.migrate("database version", HEAD, "gaelp.journeys:migrations")
        except GaelpError:
            self.close()
            raise
        except sa.exc.DatabaseError as error:
            self.close()
            reason = _reason(error)
            raise BadInput(
                "DATABASE_URL", shown, f"could not be opened: {reason}", "Check path, server and password."
            ) from None

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """A look at one moment; it never waits for a writer and never makes one wait.

        Raises:
            GaelpError: the database failed.
        """
        with self._plain_errors(_NOTHING_STORED), self._reading.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """A transaction, alone among writers; kept as a whole, or not at all if the block raises.

        Raises:
            GaelpError: the database failed: a full disk, a lost connection, a writer that took minutes.
        """
        with self._plain_errors(_NOTHING_STORED), self._writing.begin() as connection:
            if not self.is_sqlite:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_WRITE_LOCK)))
            yield connection

    def insert(
        self,
        connection: sa.Connection,
        table: sa.Table,
        columns: Mapping[str, Sequence[Any] | NDArray[Any]],
        *,
        skip_known: bool = False,
        absent_from: sa.Table | None = None,
    ) -> int:
        """Add rows given as columns: COPY on PostgreSQL, one prepared statement on SQLite.

        Args:
            connection: of `writing`.
            table: gets the rows.
            columns: values by column name, all of one length.
            skip_known: leave out rows that would repeat a unique key, in the table or in these rows.
            absent_from: also leave out rows whose `event_id` this table holds.

        Returns:
            Rows added.
        """
        lists = [each.tolist() if isinstance(each, np.ndarray) else each for each in columns.values()]
        rows = list(zip(*lists, strict=True))
        if not rows:
            return 0
        at = ", ".join(columns)
        is_choosy = skip_known or absent_from is not None
        known = " WHERE TRUE"  # SQLite takes an ON after a FROM for that of a join
        if absent_from is not None:
            name = absent_from.name
            known = f" WHERE NOT EXISTS (SELECT 1 FROM {name} WHERE {name}.event_id = told.event_id)"
        known += " ON CONFLICT DO NOTHING" if skip_known else ""
        if self.is_sqlite or len(rows) <= _FEW:
            mark = "?" if self.is_sqlite else "%s"
            cells = ", ".join(f"{mark} AS {name}" for name in columns)
            source = f"SELECT * FROM (SELECT {cells}) AS told{known}"
            if not is_choosy:
                source = f"VALUES ({', '.join([mark] * len(lists))})"
            return connection.exec_driver_sql(f"INSERT INTO {table.name} ({at}) {source}", rows).rowcount
        target = f"{table.name} ({at})"
        if is_choosy:
            target = f"staged_{table.name} ({at})"
            connection.exec_driver_sql(
                f"CREATE TEMPORARY TABLE IF NOT EXISTS staged_{table.name} (LIKE {table.name})"
                " ON COMMIT DELETE ROWS"
            )
        types = [table.c[name].type.compile(self.engine.dialect).lower() for name in columns]
        driver: Any = connection.connection.driver_connection
        with driver.cursor() as cursor:
            with cursor.copy(f"COPY {target} FROM STDIN (FORMAT BINARY)") as copy:
                copy.set_types([_PG_TYPES.get(kind, kind) for kind in types])
                for row in rows:
                    copy.write_row(row)
            if not is_choosy:
                return len(rows)
            source = f"SELECT {at} FROM staged_{table.name} AS told{known}"
            cursor.execute(f"INSERT INTO {table.name} ({at}) {source}")
            added: int = cursor.rowcount
            cursor.execute(f"TRUNCATE staged_{table.name}")
        return added

    def among(self, column: "sa.ColumnElement[Any]", values: Sequence[Any] | NDArray[Any]) -> Any:
        """The condition that a column holds one of many values, sent as one parameter."""
        listed = values.tolist() if isinstance(values, np.ndarray) else list(values)
        if self.is_sqlite:
            each = sa.func.json_each(sa.bindparam(None, listed, sa.JSON)).table_valued("value")
            return column.in_(sa.select(each.c.value))
        return column == sa.any_(sa.bindparam(None, listed, sa.ARRAY(column.type)))

    def pairs(self, first: Sequence[int] | NDArray[Any], second: Sequence[int] | NDArray[Any]) -> Any:
        """A table of two columns of whole numbers, `first` and `second`, to join with."""
        lists = [np.asarray(each, np.int64).tolist() for each in (first, second)]
        if self.is_sqlite:
            rows = sa.func.json_each(
                sa.bindparam(None, list(zip(*lists, strict=True)), sa.JSON)
            ).table_valued("value")
            whole = sa.BigInteger()
            parts = [
                sa.type_coerce(sa.func.json_extract(rows.c.value, f"$[{i}]"), whole).label(name)
                for i, name in enumerate(("first", "second"))
            ]
            return sa.select(*parts).cte("pairs")
        bound = [sa.bindparam(None, each, sa.ARRAY(sa.BigInteger)) for each in lists]
        return (
            sa.func.unnest(*bound)
            .table_valued(sa.column("first", sa.BigInteger), sa.column("second", sa.BigInteger), name="pairs")
            .render_derived()
        )

    def scrub(self) -> None:
        """Make the files forget what the tables no longer hold; rewrites them, so it takes a while.

        Raises:
            GaelpError: somebody was in the way, or the database failed.
        """
        with self._plain_errors(_NOT_SCRUBBED), self.engine.connect() as connection:
            if self.is_sqlite:
                driver: Any = connection.connection.driver_connection  # VACUUM wants no transaction
                driver.execute("VACUUM")
                if driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                    raise sqlite3.OperationalError("somebody is reading, so the log still holds old pages")
                return
            connection = connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in metadata.sorted_tables:
                connection.exec_driver_sql(f"VACUUM FULL {table.name}")

    @contextmanager
    def _plain_errors(self, outcome: str) -> Iterator[None]:
        """Tell any failure of the database in one sentence, and what has become of the work."""
        of_driver = self.engine.dialect.loaded_dbapi.Error  # of COPY and VACUUM, which go past SQLAlchemy
        try:
            yield
        except (sa.exc.DBAPIError, of_driver) as error:
            raise GaelpError(f"The database failed: {_reason(error)}. {outcome}") from error

    def migrate(self, what: str, head: str, scripts: str, counted_in: str = "alembic_version") -> None:
        """Bring some tables up to date, one process at a time; nothing to do costs one look.

        Args:
            what: the version counts, for an error. head: the newest version.
            scripts: package and folder of Alembic's scripts, `gaelp.x:migrations`.
            counted_in: table that holds their version; every room with tables has its own.

        Raises:
            MismatchError: they were made by a newer version of the program.
        """
        with self._reading.connect() as connection:
            if _version(connection, counted_in) == head:
                return
        with self.writing() as connection:
            found = _version(connection, counted_in)
            if found == head:
                return
            if found is not None and found > head:
                raise MismatchError(what, found, f"must be at most {head}", "Install the newer gaelp.")
            command = import_module("alembic.command")  # here: an up-to-date database is opened without it
            config = import_module("alembic.config").Config(attributes={"connection": connection})
            config.set_main_option("script_location", scripts)
            config.set_main_option("path_separator", "os")
            command.upgrade(config, "head")


_PG_TYPES = {"bigint": "int8", "integer": "int4", "smallint": "int2", "float": "float8"}


def address_of(given: str | Path | None) -> str:
    """The address of a database: what is given, else the environment's `DATABASE_URL`, else `DEFAULT_URL`."""
    return str(given or os.environ.get("DATABASE_URL") or DEFAULT_URL)


def _read_url(given: str | Path | None) -> sa.URL:
    text = address_of(given)
    if "://" not in text:
        text = f"sqlite:///{text}"
    allowed = "must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST/NAME"
    try:
        url = sa.make_url(text)
    except sa.exc.ArgumentError:
        raise BadInput("DATABASE_URL", "(unreadable)", allowed, "Correct the address.") from None
    if url.drivername in ("postgres", "postgresql", "postgresql+psycopg"):
        return url.set(drivername="postgresql+psycopg")
    if url.drivername not in ("sqlite", "sqlite+pysqlite"):
        raise BadInput("DATABASE_URL", url.drivername, allowed, "Choose one of these two.")
    if url.database in (None, "", ":memory:"):
        raise BadInput("DATABASE_URL", text, "must name a file", "A database in memory has no second reader.")
    return url


def _version(connection: sa.Connection, counted_in: str) -> str | None:
    if not sa.inspect(connection).has_table(counted_in):
        return None
    table = sa.table(counted_in, sa.column("version_num", sa.Text))
    return connection.execute(sa.select(table.c.version_num)).scalar()


def _reason(error: Exception) -> str:
    return " ".join(str(error.orig if isinstance(error, sa.exc.DBAPIError) else error).split())


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not on a guess
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    writes = connection.get_execution_options().get("gaelp_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
