"""Starts have the CPU time of their processes."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; it is NULL for starts that were stored before."""
    op.add_column("coldwarm_start", sa.Column("cpu_seconds", sa.Double))
