"""The tables of the history, as its newest version has them.

`migrations` creates them, and brings older ones up to date.

All names begin with ``coldwarm_``, because a team may keep them in a database with other tables.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

NEWEST = "0002"
"""The newest revision in `migrations`. Revisions are numbered, so that a later one is recognized."""
VERSION_TABLE = "coldwarm_schema"
"""Alembic's table with the revision of the database."""


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """A time in UTC; in SQLite, which has no type for it, text that sorts by time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the type of the database."""
        return dialect.type_descriptor(sa.Text() if dialect.name == "sqlite" else sa.DateTime(timezone=True))

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> Any:
        """Convert to what the database stores."""
        if value is None:
            return None
        value = value.astimezone(UTC)
        return value.isoformat(" ", "microseconds") if dialect.name == "sqlite" else value

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> datetime | None:
        """Convert what the database stores."""
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return value.astimezone(UTC) if value is not None else None


class Json(sa.types.TypeDecorator[Any]):
    """JSON; in PostgreSQL, in the form that it can search."""

    impl = sa.JSON
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Return the type of the database."""
        if dialect.name == "postgresql":
            # Importing it takes as long as all the rest of SQLAlchemy.
            from sqlalchemy.dialects.postgresql import JSONB

            return dialect.type_descriptor(JSONB())
        return dialect.type_descriptor(sa.JSON())


METADATA = sa.MetaData()

RUN = sa.Table(
    "coldwarm_run",
    METADATA,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("began", UtcDateTime, nullable=False),
    sa.Column("stored", UtcDateTime, nullable=False),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("command", sa.Text),
    sa.Column("engine", sa.Text, nullable=False),
    sa.Column("device", sa.Text, nullable=False),
    sa.Column("compilation", sa.Text, nullable=False),
    sa.Column("depth", sa.Text, nullable=False),
    sa.Column("isolation", sa.Text, nullable=False),
    sa.Column("aot_artifact", sa.Text),
    # Those that questions ask for; `versions` has all of them.
    sa.Column("engine_version", sa.Text),
    sa.Column("torch_version", sa.Text),
    sa.Column("triton_version", sa.Text),
    sa.Column("coldwarm_version", sa.Text),
    sa.Column("versions", Json, nullable=False),
    sa.Column("options", Json, nullable=False),
    sa.Column("environment", Json, nullable=False),
    sa.Column("warm_changes", Json, nullable=False),
    sa.Column("settings", sa.String(32), nullable=False),
    sa.Column("commit_id", sa.Text),
    sa.Column("commit_of", sa.Text),
    sa.Column("has_local_changes", sa.Boolean, nullable=False),
    sa.Column("machine", sa.Text, nullable=False),
    sa.Column("hardware", Json, nullable=False),
    sa.Column("verdict", sa.Text, nullable=False),
    sa.Column("reasons", Json, nullable=False),
    sa.Column("known_issues", Json, nullable=False),
    sa.Column("findings", Json, nullable=False),
    sa.Index("coldwarm_run_by_model", "model", "began"),
    sa.Index("coldwarm_run_by_began", "began"),
)
"""A row for each run."""

START = sa.Table(
    "coldwarm_start",
    METADATA,
    sa.Column("run", sa.ForeignKey("coldwarm_run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Column("began", UtcDateTime, nullable=False),
    sa.Column("seconds", sa.Double, nullable=False),
    sa.Column("cpu_seconds", sa.Double),
    sa.Column("parallel_starts", sa.Integer, nullable=False),
    sa.Column("phases", Json, nullable=False),
    sa.Column("ranks", sa.Integer, nullable=False),
    sa.Column("subgraphs", sa.Integer),
    sa.Column("unique_subgraphs", sa.Integer),
    sa.Column("saved", sa.Integer),
    sa.Column("loaded", sa.Integer),
    sa.Column("misses", sa.Integer),
    sa.Column("code_generations", sa.Integer),
    sa.Column("kernels_compiled", sa.Integer),
    sa.Column("kernels_loaded", sa.Integer),
    sa.Column("kernels_after_ready", sa.Integer),
    sa.Column("peak_memory_bytes", sa.BigInteger),
    sa.Column("peak_device_memory_bytes", sa.BigInteger),
)
"""A row for each start of a run. ``phases`` is a list of pairs: JSON objects have no order in PostgreSQL."""

CONTENT = sa.Table(
    "coldwarm_content",
    METADATA,
    sa.Column("run", sa.ForeignKey("coldwarm_run.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("files", sa.LargeBinary, nullable=False),
)
"""The files of each run (`coldwarm.store.history.content`), apart from its row so that reading many rows is fast."""
