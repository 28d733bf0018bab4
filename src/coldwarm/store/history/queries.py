"""Reads points from the database."""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from coldwarm.store.history.points import Filter, ModelRuns, Point, StartPoint
from coldwarm.store.history.rows import POINT_COLUMNS, START_COLUMNS, PointReader
from coldwarm.store.history.tables import CONTENT, RUN, START, Json

_NEWEST_FIRST = (RUN.c.began.desc(), RUN.c.id.desc())


def points(connection: sa.Connection, which: Filter, limit: int | None) -> list[Point]:
    """Return the newest `limit` points that `which` admits, the oldest first."""
    chosen = sa.select(RUN).where(*_conditions(which)).order_by(*_NEWEST_FIRST).limit(limit)
    of_starts = sa.select(*_columns(START, START_COLUMNS)).order_by(START.c.began)
    if limit is not None or which != Filter():
        ids = chosen.with_only_columns(RUN.c.id).subquery()
        of_starts = of_starts.join(ids, START.c.run == ids.c.id)
    reader = PointReader()
    starts: dict[str, list[StartPoint]] = defaultdict(list)
    with _no_garbage_collection():
        for row in connection.execute(of_starts):
            starts[row[0]].append(reader.start(row))
        rows = connection.execute(chosen.with_only_columns(*_columns(RUN, POINT_COLUMNS))).all()
        return [reader.point(row, starts[row[0]]) for row in reversed(rows)]


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Do not look for garbage: of ten thousand points nothing is, and looking takes as long as making half of them."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _columns(table: sa.Table, names: Sequence[str]) -> list[sa.ColumnElement[Any]]:
    columns = [table.c[name] for name in names]
    return [sa.cast(each, sa.Text) if isinstance(each.type, Json) else each for each in columns]


def models(connection: sa.Connection, which: Filter) -> list[ModelRuns]:
    """Return a line for each model with runs that `which` admits, sorted by name."""
    numbered = (
        sa.select(
            RUN.c.model,
            RUN.c.verdict,
            RUN.c.began,
            sa.func.count().over(partition_by=RUN.c.model).label("runs"),
            sa.func.min(RUN.c.began).over(partition_by=RUN.c.model).label("first"),
            sa.func.row_number().over(partition_by=RUN.c.model, order_by=_NEWEST_FIRST).label("number"),
        )
        .where(*_conditions(which))
        .subquery()
    )
    newest = sa.select(numbered).where(numbered.c.number == 1).order_by(numbered.c.model)
    return [
        ModelRuns(row.model, row.runs, row.first, row.began, row.verdict) for row in connection.execute(newest).all()
    ]


def ids_like(connection: sa.Connection, prefix: str, limit: int) -> list[str]:
    """Return the ids of at most `limit` runs that begin with `prefix`."""
    like = RUN.c.id.startswith(prefix, autoescape=True)
    return list(connection.execute(sa.select(RUN.c.id).where(like).order_by(RUN.c.id).limit(limit)).scalars())


def files(connection: sa.Connection, run: str) -> bytes | None:
    """Return the packed files of a run; None: there is none with this id."""
    return connection.execute(sa.select(CONTENT.c.files).where(CONTENT.c.run == run)).scalar()


def _conditions(which: Filter) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = []
    for name in ("id", "source", "model", "engine", "device", "compilation", "depth", "verdict", "settings"):
        value: Any = getattr(which, name)
        if value is not None:
            conditions.append(RUN.c[name] == value)
    if which.version is not None:
        conditions.append(_is_version(RUN.c.engine_version, which.version))
    if which.torch is not None:
        conditions.append(_is_version(RUN.c.torch_version, which.torch))
    if which.machine is not None:
        conditions.append(RUN.c.machine.icontains(which.machine, autoescape=True))
    if which.commit is not None:
        conditions.append(RUN.c.commit_id.startswith(which.commit, autoescape=True))
    if which.since is not None:
        conditions.append(RUN.c.began >= which.since)
    if which.until is not None:
        conditions.append(RUN.c.began < which.until)
    return conditions


def _is_version(column: sa.ColumnElement[Any], version: str) -> sa.ColumnElement[bool]:
    """Return whether a version is `version`, or one of its releases or builds: 0.33 is also 0.33.1 and 0.33.0+cu130."""
    return sa.or_(column == version, *(column.startswith(f"{version}{mark}", autoescape=True) for mark in ".+"))
