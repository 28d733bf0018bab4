"""Stores for the tests of the history: a SQLite file, and a database of a real PostgreSQL server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
import sqlalchemy as sa

from coldwarm.store.history.location import locate
from tests.support import postgresql

RECORDS = Path(__file__).parents[3] / "records"
_numbers = count()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The URL of a PostgreSQL server, which runs while the tests do."""
    programs = postgresql.programs()
    if programs is None:
        message = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    with postgresql.server(programs) as url:
        yield url


@pytest.fixture
def postgresql_store(postgresql_server: str) -> Iterator[str]:
    """The URL of an empty database."""
    name = f"history_{next(_numbers)}"
    server = sa.create_engine(locate(postgresql_server).url, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with server.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    yield postgresql_server.replace("/postgres?", f"/{name}?")
    with server.connect() as connection:
        connection.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty store of each kind."""
    if request.param == "sqlite":
        return str(tmp_path / "history.db")
    url: str = request.getfixturevalue("postgresql_store")
    return url
