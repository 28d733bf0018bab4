"""Creates the tables of the history, and brings those of older versions up to date (Alembic)."""
