"""The history of runs in a database: SQLite in a file, or PostgreSQL for a team.

`coldwarm.store.history.history.History` is the way in, and `coldwarm.store.history.points` has what it returns. Both
can be imported without SQLAlchemy, which is an extra of coldwarm.
"""
