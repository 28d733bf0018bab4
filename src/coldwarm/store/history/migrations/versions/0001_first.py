"""The first version of the tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision: str | None = None

TIME = sa.DateTime(timezone=True).with_variant(sa.Text(), "sqlite")
JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "coldwarm_run",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("began", TIME, nullable=False),
        sa.Column("stored", TIME, nullable=False),
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
        sa.Column("engine_version", sa.Text),
        sa.Column("torch_version", sa.Text),
        sa.Column("triton_version", sa.Text),
        sa.Column("coldwarm_version", sa.Text),
        sa.Column("versions", JSON, nullable=False),
        sa.Column("options", JSON, nullable=False),
        sa.Column("environment", JSON, nullable=False),
        sa.Column("warm_changes", JSON, nullable=False),
        sa.Column("settings", sa.String(32), nullable=False),
        sa.Column("commit_id", sa.Text),
        sa.Column("commit_of", sa.Text),
        sa.Column("has_local_changes", sa.Boolean, nullable=False),
        sa.Column("machine", sa.Text, nullable=False),
        sa.Column("hardware", JSON, nullable=False),
        sa.Column("verdict", sa.Text, nullable=False),
        sa.Column("reasons", JSON, nullable=False),
        sa.Column("known_issues", JSON, nullable=False),
        sa.Column("findings", JSON, nullable=False),
    )
    op.create_index("coldwarm_run_by_model", "coldwarm_run", ["model", "began"])
    op.create_index("coldwarm_run_by_began", "coldwarm_run", ["began"])
    op.create_table(
        "coldwarm_start",
        sa.Column("run", sa.String(32), sa.ForeignKey("coldwarm_run.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("kind", sa.Text, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("began", TIME, nullable=False),
        sa.Column("seconds", sa.Double, nullable=False),
        sa.Column("parallel_starts", sa.Integer, nullable=False),
        sa.Column("phases", JSON, nullable=False),
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
    op.create_table(
        "coldwarm_content",
        sa.Column("run", sa.String(32), sa.ForeignKey("coldwarm_run.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("files", sa.LargeBinary, nullable=False),
    )
