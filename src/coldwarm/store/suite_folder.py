"""Stores a suite on disk, each record as soon as it exists, so that a later failure loses nothing.

`coldwarm.core.run_folder` says which files there are and what they are called.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel

from coldwarm.checks.verdict import Verdict
from coldwarm.core.case import Case
from coldwarm.core.errors import UsageError, unreadable_as_usage_error
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import CASE, SUITE, RunFolder, SuiteFolder
from coldwarm.diagnose.explanation import Explanation
from coldwarm.store import schema

DEFAULT_PARENT = Path("coldwarm-runs")

_Model = TypeVar("_Model", bound=BaseModel)


class StoredRun(BaseModel):
    """A run read back from its folder."""

    folder: Path
    case: Case
    cold: StartRecord | None
    warm: StartRecord | None
    explanation: Explanation | None


class Store:
    """The folder of one suite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(cls, folder: Path | None, models: list[str], *, written_by: Literal["run", "pytest"] = "run") -> Store:
        """Make the folder of a new suite; ``coldwarm-runs/`` and the time unless given.

        Args:
            folder: Where it is kept.
            models: Names of its cases, in the order in which they run.
            written_by: What makes it, so that `replace` knows its own.

        Raises:
            UsageError: The folder holds a suite already, or cannot be made.
        """
        try:
            store = cls(_new_default_folder() if folder is None else folder)
            store.folder.mkdir(parents=True, exist_ok=True)
            with SuiteFolder(store.folder).suite.open("x") as file:
                suite = schema.SuiteRecord(
                    began=datetime.now(UTC), command=sys.argv, models=models, written_by=written_by
                )
                json.dump(schema.SUITE.to_data(suite), file, indent=2)
        except FileExistsError as error:
            raise UsageError(f"{error.filename} is there already; --output wants a folder without a suite") from error
        except OSError as error:
            raise UsageError(f"cannot write to {error.filename}: {error.strerror}") from error
        return store

    @classmethod
    def replace(cls, folder: Path, models: list[str]) -> Store:
        """Make the folder of a new suite of pytest's, in place of one that an earlier call of pytest left there.

        Raises:
            UsageError: The folder holds something else, or cannot be replaced.
        """
        with unreadable_as_usage_error():
            holds_something = folder.exists() and any(folder.iterdir())
        if holds_something:
            suite = schema.SUITE.read(SuiteFolder(folder).suite)
            if suite is None or suite.written_by != "pytest":
                raise UsageError(f"{folder} was not written by pytest; choose another --coldwarm-output, or remove it")
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise UsageError(f"cannot replace {folder}: {error.filename}: {error.strerror}") from error
        return cls.create(folder, models, written_by="pytest")

    def folder_of(self, case: Case) -> Path:
        """Where the run of `case` is kept."""
        return self.folder / case.name

    def keep_case(self, case: Case) -> None:
        """Keep what is about to be started."""
        self.folder_of(case).mkdir(parents=True, exist_ok=True)
        self._write(self._files_of(case).case, schema.CASE, case)

    def keep_start(self, case: Case, record: StartRecord) -> None:
        """Keep a start that ended, however."""
        self._write(self._files_of(case).record(record.kind), schema.RECORD, record)

    def keep_verdict(self, case: Case, verdict: Verdict) -> None:
        """Keep the verdict on the run of `case`."""
        self._write(self._files_of(case).verdict, schema.VERDICT, verdict)

    def keep_explanation(self, case: Case, explanation: Explanation) -> None:
        """Keep why the run of `case` went as it did."""
        self._write(self._files_of(case).explanation, schema.EXPLANATION, explanation)

    def _files_of(self, case: Case) -> RunFolder:
        return RunFolder(self.folder_of(case))

    def _write(self, path: Path, kind: schema.Schema[_Model], content: _Model) -> None:
        unfinished = path.with_suffix(".part")
        text = json.dumps(kind.to_data(content), indent=2, ensure_ascii=False)
        try:
            # What is no UTF-8 (a path, a variable) is kept as question marks rather than not at all.
            unfinished.write_bytes(text.encode("utf-8", "replace"))
            unfinished.replace(path)
        except OSError as error:
            # A write alone does not say to which file.
            raise OSError(error.errno, error.strerror, str(path)) from error


def read_runs(folder: Path) -> list[StoredRun]:
    """Read all runs of the suite in `folder`, or the one run that `folder` holds.

    Raises:
        UsageError: There is none, or a record cannot be read.
    """
    with unreadable_as_usage_error():
        if RunFolder(folder).case.is_file():
            return [_read_run(folder)]
        suite = schema.SUITE.read(SuiteFolder(folder).suite)
        if suite is None:
            raise UsageError(f"{folder} holds neither a suite ({SUITE}) nor a run ({CASE})")
        runs = [SuiteFolder(folder).run(model) for model in suite.models]
        return [_read_run(run.path) for run in runs if run.case.is_file()]


def never_started(folder: Path) -> list[str]:
    """The models of the suite in `folder` that it was ended before; empty for a single run."""
    suite = schema.SUITE.read(SuiteFolder(folder).suite)
    with unreadable_as_usage_error():
        return [name for name in suite.models if not SuiteFolder(folder).run(name).case.is_file()] if suite else []


def read_verdict(folder: Path) -> Verdict | None:
    """Read the verdict that was stored with the run in `folder`; None if it was stopped before.

    Raises:
        UsageError: It cannot be read.
    """
    return schema.VERDICT.read(RunFolder(folder).verdict)


def _read_run(folder: Path) -> StoredRun:
    files = RunFolder(folder)
    case = schema.CASE.read(files.case)
    assert case is not None
    starts = {kind: schema.RECORD.read(files.record(kind)) for kind in StartKind}
    return StoredRun(
        folder=folder,
        case=case,
        cold=starts[StartKind.COLD],
        warm=starts[StartKind.WARM],
        explanation=schema.EXPLANATION.read(files.explanation),
    )


def _new_default_folder() -> Path:
    name = datetime.now().strftime("%Y-%m-%d-%H%M%S")
    for number in range(1, 1000):
        folder = DEFAULT_PARENT / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UsageError(f"{DEFAULT_PARENT} is full of suites of this second")
