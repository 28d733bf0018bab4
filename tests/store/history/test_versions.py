"""Stores of other versions, and of other programs."""

from __future__ import annotations

import shutil
import sqlite3
from datetime import UTC
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from coldwarm.core.errors import UsageError
from coldwarm.store.history import database
from coldwarm.store.history.database import MIGRATIONS, Database
from coldwarm.store.history.history import History
from coldwarm.store.history.location import locate
from coldwarm.store.history.tables import METADATA, NEWEST, VERSION_TABLE
from tests.store.history.conftest import RECORDS

RUN = RECORDS / "cpu-2026-11-29-vllm-0.32" / "llama-3.1-8b"
DUMP = Path(__file__).parents[2] / "data" / "history-0001.sql"
"""A SQLite store of version 0001 with `RUN`, as ``sqlite3.Connection.iterdump`` writes it."""
LATER = f"{int(NEWEST) + 1:04}"
NEXT = f"""
import sqlalchemy as sa
from alembic import op

revision, down_revision = "{LATER}", "{NEWEST}"


def upgrade() -> None:
    op.add_column("coldwarm_run", sa.Column("region", sa.Text, nullable=False, server_default="unknown"))
"""
"""The migration of a future version."""


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """Makes this coldwarm a future one, whose tables have another column, until the patch is undone."""
    migrations = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, migrations)
    (migrations / "versions" / f"{LATER}_region.py").write_text(NEXT)
    monkeypatch.setattr(database, "MIGRATIONS", migrations)
    monkeypatch.setattr(database, "NEWEST", LATER)
    return monkeypatch


def test_migrations_lead_to_the_tables_that_the_code_uses(store: str) -> None:
    opened = Database(locate(store), create=True)
    with opened.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE, "compare_type": True})
        assert compare_metadata(context, METADATA) == []
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [NEWEST]


def test_a_store_of_an_older_version_is_migrated_and_keeps_its_runs(store: str, request: pytest.FixtureRequest) -> None:
    with History.open(store) as history:
        history.add(RUN)
        points = history.points()
    request.getfixturevalue("next_version")
    with History.open(store) as history:
        assert history.points() == points
        assert history.add(RUN).known == ("llama-3.1-8b",)
    with Database(locate(store), create=False).reading() as connection:
        assert connection.execute(sa.text("SELECT region FROM coldwarm_run")).scalars().all() == ["unknown"]


def test_a_store_of_a_newer_version_is_refused(store: str, next_version: pytest.MonkeyPatch) -> None:
    History.open(store).close()
    next_version.undo()
    with pytest.raises(UsageError) as refused:
        History.open(store)
    assert str(refused.value).startswith(
        f"the store {locate(store)} was written by a newer coldwarm: its version is {LATER}"
    )
    assert str(refused.value).endswith("to upgrade: pip install --upgrade coldwarm")


def test_a_migration_that_fails_changes_nothing(store: str, request: pytest.FixtureRequest) -> None:
    with History.open(store) as history:
        history.add(RUN)
        points = history.points()
    patch = request.getfixturevalue("next_version")
    [version] = (database.MIGRATIONS / "versions").glob(f"{LATER}*")
    version.write_text(NEXT + '    op.execute("SELECT no_such_column FROM coldwarm_run")\n')
    with pytest.raises(UsageError, match="no_such_column"):
        History.open(store)
    patch.undo()
    with History.open(store) as history:
        assert history.points() == points


def test_a_store_of_the_first_version_is_migrated_and_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "history.db") as connection:
        connection.executescript(DUMP.read_text())
    connection.close()
    with History.open(str(tmp_path / "history.db")) as history:
        assert history.add(RUN).known == ("llama-3.1-8b",)
        [point] = history.points()
        assert history.content(point.id).cold is not None
    assert (point.verdict, point.version("vllm"), point.when.tzinfo) == ("passed", "0.32.0", UTC)


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as connection:
        connection.execute("CREATE TABLE bookmarks (url)")
    connection.close()
    with pytest.raises(UsageError, match="is a database of another program; give another file"):
        History.open(str(tmp_path / "other.db"))


def test_a_database_that_a_team_shares_with_other_programs_is_used(postgresql_store: str) -> None:
    engine = sa.create_engine(locate(postgresql_store).url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE alembic_version (version_num text)"))
        connection.execute(sa.text("INSERT INTO alembic_version VALUES ('abcdef')"))
    engine.dispose()
    with History.open(postgresql_store) as history:
        assert history.add(RUN).stored == ("llama-3.1-8b",)
