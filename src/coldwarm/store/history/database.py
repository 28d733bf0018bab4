"""The database of the history: connects, migrates and writes.

Only this module, `tables`, `queries` and the migrations import SQLAlchemy.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.exc import SQLAlchemyError

from coldwarm import __version__
from coldwarm.core.errors import UsageError
from coldwarm.core.secrets import Secrets
from coldwarm.store.history.location import Location
from coldwarm.store.history.packing import pack
from coldwarm.store.history.rows import row_of, start_rows_of
from coldwarm.store.history.tables import CONTENT, NEWEST, RUN, START, VERSION_TABLE

if TYPE_CHECKING:
    from coldwarm.store.history.entries import Entry

MIGRATIONS = Path(__file__).parent / "migrations"
BUSY_SECONDS = 60
"""How long a writer waits for another one."""
_CONNECT_SECONDS = 10
_WRITES = "coldwarm_writes"
_LOCK = 0x636F6C64
"""The key of the lock under which PostgreSQL's tables are migrated: "cold"."""


class Database:
    """The database at `location`, at the newest version of its tables.

    Args:
        location: Where it is.
        create: Whether to create it if it does not exist.

    Raises:
        UsageError: It cannot be reached, created or migrated; or it is that of a newer coldwarm, or of another program.
    """

    def __init__(self, location: Location, *, create: bool) -> None:
        self.location = location
        if location.file is not None:
            _prepare_file(location.file, create=create)
        self._engine = _engine(location)
        with self._as_usage_error():
            self._migrate()

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    def insert(self, entries: Sequence[Entry]) -> list[bool]:
        """Store all `entries` in one transaction, and return for each whether it is new.

        Raises:
            UsageError: The database cannot be written. Nothing was stored.
        """
        packed = [pack(entry.files) for entry in entries]
        is_new = [False] * len(entries)
        with self.writing() as connection:
            # In one order, so that two writers of the same runs do not wait for each other.
            for number in sorted(range(len(entries)), key=lambda number: entries[number].point.id):
                point = entries[number].point
                done = connection.execute(self._insert_new(RUN, row_of(point)))
                is_new[number] = done.rowcount == 1
                if is_new[number]:
                    connection.execute(sa.insert(START), start_rows_of(point))
                    connection.execute(sa.insert(CONTENT), {"run": point.id, "files": packed[number]})
        return is_new

    @contextmanager
    def reading(self) -> Iterator[sa.Connection]:
        """Provide a connection that reads one state of the database.

        Raises:
            UsageError: It cannot be read.
        """
        engine = self._engine
        if engine.dialect.name == "postgresql":
            # By default, each statement reads a state of its own.
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with self._as_usage_error(), engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[sa.Connection]:
        """Provide a connection whose transaction is committed at the end, or rolled back by an exception.

        Raises:
            UsageError: It cannot be written.
        """
        engine = self._engine.execution_options(**{_WRITES: True})
        with self._as_usage_error(), engine.begin() as connection:
            yield connection

    def _insert_new(self, table: sa.Table, row: dict[str, Any]) -> sa.Insert:
        """Return the statement that inserts a row unless there is one with its key; its result counts the rows."""
        statement: sa.Insert
        if self._engine.dialect.name == "postgresql":
            from sqlalchemy.dialects import postgresql

            statement = postgresql.insert(table).values(row).on_conflict_do_nothing()
        else:
            statement = sqlite.insert(table).values(row).on_conflict_do_nothing()
        return statement.execution_options(preserve_rowcount=True)

    def _migrate(self) -> None:
        with self._engine.connect() as connection:
            if self._revision(connection) == NEWEST:
                return
        with self.writing() as connection:
            if self._engine.dialect.name == "postgresql":
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
            # Another process may have been faster.
            if self._revision(connection) != NEWEST:
                _upgrade(connection)

    def _revision(self, connection: sa.Connection) -> str | None:
        """Return the revision of the tables; None: there are none.

        Raises:
            UsageError: It is that of a newer coldwarm, or the file is that of another program.
        """
        tables = sa.inspect(connection).get_table_names()
        if VERSION_TABLE not in tables:
            if tables and self.location.file is not None:
                raise UsageError(f"{self.location} is a database of another program; give another file")
            return None
        revision = connection.execute(sa.text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
        if revision is not None and (not str(revision).isdigit() or revision > NEWEST):
            raise UsageError(
                f"the store {self.location} was written by a newer coldwarm: its version is {revision}, and this "
                f"coldwarm ({__version__}) knows versions up to {NEWEST}; to upgrade: pip install --upgrade coldwarm"
            )
        return revision

    @contextmanager
    def _as_usage_error(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, sqlite3.Error) as error:
            cause = getattr(error, "orig", None) or error
            text = " ".join(str(cause).split()) or type(cause).__name__
            secrets = Secrets({"": self.location.url})
            raise UsageError(f"cannot use the store {self.location}: {secrets.text(text)}") from error


def _prepare_file(path: Path, *, create: bool) -> None:
    if path.is_dir():
        raise UsageError(f"{path} is a folder; give a file for the store")
    if path.exists():
        return
    if not create:
        raise UsageError(
            f"there is no history at {path}; fill it with 'coldwarm history add DIR', or run models with --store"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create {path.parent}: {error.strerror}") from error


def _engine(location: Location) -> sa.Engine:
    json = {"json_serializer": lambda value: orjson.dumps(value).decode(), "json_deserializer": orjson.loads}
    try:
        if location.file is None:
            return _postgresql(location, json)
        # Not parsed from text, where `?`, `#` and `%` have a meaning.
        url = sa.URL.create("sqlite", database=str(location.file))
        arguments = {"timeout": BUSY_SECONDS, "isolation_level": None}
        engine = sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments, **json)
    except (sa.exc.ArgumentError, ValueError) as error:
        # The message of a ValueError is about a port that is no number.
        raise UsageError(
            f"{location} is not a URL of a store; its form is postgresql://USER@HOST:PORT/DATABASE"
        ) from error
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the store {location} needs the package {error.name}; to install it: pip install 'psycopg[binary]'"
        ) from error
    sa.event.listen(engine, "connect", _configure_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


def _postgresql(location: Location, json: dict[str, Any]) -> sa.Engine:
    url = sa.make_url(location.url)
    arguments = {} if "connect_timeout" in url.query else {"connect_timeout": _CONNECT_SECONDS}
    return sa.create_engine(url, poolclass=sa.NullPool, connect_args=arguments, **json)


def _configure_sqlite(connection: sqlite3.Connection, _: object) -> None:
    connection.execute("PRAGMA foreign_keys = ON")
    [(mode,)] = connection.execute("PRAGMA journal_mode")
    if mode != "wal":
        # With it, readers and a writer do not wait for each other. Another process may be switching at this moment, and
        # some file systems do not allow it: all other modes are correct, too.
        with suppress(sqlite3.OperationalError):
            connection.execute("PRAGMA journal_mode = WAL")
    # What was reported as stored survives a power failure.
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: sa.Connection) -> None:
    # A writer takes the lock before it reads, so that it cannot fail later because another one wrote in between. With
    # isolation_level=None, Python's driver begins no transaction itself.
    writes = connection.get_execution_options().get(_WRITES, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _upgrade(connection: sa.Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
