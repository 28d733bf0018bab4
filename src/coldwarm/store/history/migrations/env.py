"""Run by Alembic: applies migrations in the transaction of `coldwarm.store.history.database`."""

from __future__ import annotations

from alembic import context

from coldwarm.store.history.tables import METADATA, VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    version_table=VERSION_TABLE,
    # The transaction is that of the connection, on SQLite too.
    transactional_ddl=True,
)
context.run_migrations()
