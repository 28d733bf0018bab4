"""The history of runs: the way in.

Imports inside the functions keep `coldwarm history` fast.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from coldwarm.core.errors import UsageError
from coldwarm.store.history.location import Location, locate
from coldwarm.store.history.packing import unpack
from coldwarm.store.history.points import Added, Filter, ModelRuns, Point

if TYPE_CHECKING:
    from coldwarm.store.history.content import RunContent
    from coldwarm.store.history.database import Database
    from coldwarm.store.history.entries import Entry

_SHORTEST_ID = 4


class History:
    """An open history. Close it, or use it in a ``with`` statement.

    Args:
        database: Its database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    @classmethod
    def open(cls, store: str | None = None, *, create: bool = True) -> History:
        """Open a history; one of an older version is migrated.

        Args:
            store: A path or ``sqlite:///PATH`` of a SQLite file, ``postgresql://...``, or ``default``; None: what the
                variable COLDWARM_STORE names, or else the default file.
            create: Whether to create it if it does not exist.

        Raises:
            UsageError: `store` names none; it cannot be used, or was written by a newer coldwarm; or SQLAlchemy or the
                driver of PostgreSQL is not installed.
        """
        location = locate(store)
        try:
            from coldwarm.store.history.database import Database
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("coldwarm"):
                raise
            raise UsageError(
                f"a history needs the package {error.name}; to install it: pip install sqlalchemy alembic"
            ) from error
        return cls(Database(location, create=create))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections of the database."""
        self._database.close()

    @property
    def location(self) -> Location:
        """Where it is."""
        return self._database.location

    def add(self, folder: Path) -> Added:
        """Store the finished runs of the suite, or the single run, in `folder`: all of them, or none.

        Runs that are stored already are not stored again.

        Raises:
            UsageError: `folder` contains no run, or one that cannot be read; or the database cannot be written.
        """
        from coldwarm.store.history.entries import entries_of

        entries, unsupported, unfinished = entries_of(folder)
        is_new = self.add_entries(entries)
        names = [(entry.point.name, new) for entry, new in zip(entries, is_new, strict=True)]
        return Added(
            stored=tuple(name for name, new in names if new),
            known=tuple(name for name, new in names if not new),
            unsupported=tuple(unsupported),
            unfinished=tuple(unfinished),
        )

    def add_entries(self, entries: Sequence[Entry]) -> list[bool]:
        """Store `entries`, all of them or none, and return for each whether it is new.

        Raises:
            UsageError: The database cannot be written.
        """
        return self._database.insert(entries) if entries else []

    def points(self, model: str | None = None, *, which: Filter | None = None, limit: int | None = None) -> list[Point]:
        """Return points, the oldest first.

        Args:
            model: The id of the model, or the name of the command; None: of all, or that of `which`.
            which: The points to return; None: all.
            limit: Return only the newest so many; None: all.

        Raises:
            UsageError: The database cannot be read.
        """
        from coldwarm.store.history import queries

        which = which or Filter()
        with self._database.reading() as connection:
            return queries.points(connection, which if model is None else which.of(model), limit)

    def models(self, which: Filter | None = None) -> list[ModelRuns]:
        """Return a line for each model, sorted by name.

        Args:
            which: The runs that count; None: all.

        Raises:
            UsageError: The database cannot be read.
        """
        from coldwarm.store.history import queries

        with self._database.reading() as connection:
            return queries.models(connection, which or Filter())

    def point(self, run: str) -> Point:
        """Return one point.

        Args:
            run: Its id, or the first characters of it.

        Raises:
            UsageError: There is none, or more than one; or the database cannot be read.
        """
        [point] = self.points(which=Filter(id=self._id(run)))
        return point

    def content(self, run: str) -> RunContent:
        """Return the records, the verdict and the explanation of a run.

        Args:
            run: Its id, or the first characters of it.

        Raises:
            UsageError: There is none, or more than one; or it cannot be read.
        """
        [content] = self.contents([self._id(run)])
        return content

    def contents(self, runs: Sequence[str]) -> list[RunContent]:
        """Return the records, the verdict and the explanation of each run, by one connection.

        Args:
            runs: Their ids, as points have them.

        Raises:
            UsageError: One of them cannot be read.
        """
        from coldwarm.store.history import queries
        from coldwarm.store.history.content import content_of

        contents = []
        with self._database.reading() as connection:
            stored = [queries.files(connection, run) for run in runs]
        for run, data in zip(runs, stored, strict=True):
            try:
                contents.append(content_of(self._unpacked(run, data)))
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise UsageError(f"cannot read run {run} of {self.location}: {error}") from error
        return contents

    def export(self, run: str, folder: Path) -> None:
        """Write a run to a new folder, as a suite that every command of coldwarm reads.

        Args:
            run: Its id, or the first characters of it.
            folder: The folder, which must be empty or not exist.

        Raises:
            UsageError: There is none, or more than one; it cannot be read or written; or it is a start that was
                watched, which is not a run of a suite.
        """
        from coldwarm.store.history.content import write_files

        point = self.point(run)
        if point.source == "watch":
            raise UsageError(
                f"run {run} was observed by 'coldwarm watch', and only the runs of suites can be exported; to see it: "
                f"coldwarm history show {run}"
            )
        write_files(point.name, self._files(point.id), folder)

    def _id(self, prefix: str) -> str:
        from coldwarm.store.history import queries

        if len(prefix) < _SHORTEST_ID:
            raise UsageError(f"{prefix!r} is too short for the id of a run; give at least {_SHORTEST_ID} characters")
        with self._database.reading() as connection:
            found = queries.ids_like(connection, prefix, 2)
        if len(found) != 1:
            how_many = "no run" if not found else "more than one run"
            raise UsageError(f"{how_many} in {self.location} has an id that begins with {prefix!r}")
        return found[0]

    def _files(self, run: str) -> Mapping[str, Any]:
        from coldwarm.store.history import queries

        with self._database.reading() as connection:
            data = queries.files(connection, run)
        return self._unpacked(run, data)

    def _unpacked(self, run: str, data: bytes | None) -> Mapping[str, Any]:
        try:
            return unpack(data or b"")
        except ValueError as error:
            raise UsageError(f"run {run} of {self.location} is damaged: {error}") from error
