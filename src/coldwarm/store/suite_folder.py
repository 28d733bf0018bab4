"""Stores a suite on disk, each record as soon as it exists, so that a later failure loses nothing.

`coldwarm.core.run_folder` defines the files and their names.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel

from coldwarm.checks.verdict import Verdict
from coldwarm.core.case import Case
from coldwarm.core.checkout import Checkout
from coldwarm.core.errors import UsageError, unreadable_as_usage_error
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import CASE, REPETITIONS, SUITE, RunFolder, SuiteFolder
from coldwarm.diagnose.explanation import Explanation
from coldwarm.store import schema

DEFAULT_PARENT = Path("coldwarm-runs")

_Model = TypeVar("_Model", bound=BaseModel)


@dataclass(frozen=True)
class StoredRun:
    """A run that was read from its folder."""

    folder: Path
    case: Case
    cold: StartRecord | None
    warm: StartRecord | None
    explanation: Explanation | None
    repetitions: list[StoredRun] = field(default_factory=list)
    """The second, third, ... repetition; empty: it was not repeated."""

    @property
    def all_repetitions(self) -> list[StoredRun]:
        """All repetitions, with the first, in order."""
        return [self, *self.repetitions]


class Store:
    """The folder of one suite."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def create(
        cls,
        folder: Path | None,
        models: list[str],
        *,
        written_by: Literal["run", "pytest"] = "run",
        versions: Mapping[str, str] | None = None,
        checkout: Checkout | None = None,
    ) -> Store:
        """Create the folder of a new suite.

        Args:
            folder: The folder to create; None: a new one in ``coldwarm-runs/``, named after the current time.
            models: Names of the cases, in the order in which they run.
            written_by: Who writes the suite; `replace` only replaces suites that pytest wrote.
            versions: The installed versions by distribution name.
            checkout: The checkout under test.

        Raises:
            UsageError: The folder already contains a suite, or cannot be created.
        """
        try:
            store = cls(new_default_folder() if folder is None else folder)
            store.folder.mkdir(parents=True, exist_ok=True)
            with SuiteFolder(store.folder).suite.open("x") as file:
                suite = schema.SuiteRecord(
                    began=datetime.now(UTC),
                    command=sys.argv,
                    models=models,
                    written_by=written_by,
                    versions=dict(versions or {}),
                    checkout=checkout,
                )
                json.dump(schema.SUITE.to_data(suite), file, indent=2)
        except FileExistsError as error:
            raise UsageError(
                f"output directory already contains a suite: {error.filename}; choose another --output"
            ) from error
        except OSError as error:
            raise UsageError(f"cannot write to {error.filename}: {error.strerror}") from error
        return store

    @classmethod
    def replace(cls, folder: Path, models: list[str]) -> Store:
        """Create the folder of a new suite for pytest, replacing one that an earlier pytest run wrote.

        Raises:
            UsageError: The folder contains something else, or cannot be replaced.
        """
        with unreadable_as_usage_error():
            is_not_empty = folder.exists() and any(folder.iterdir())
        if is_not_empty:
            suite = schema.SUITE.read(SuiteFolder(folder).suite)
            if suite is None or suite.written_by != "pytest":
                raise UsageError(f"{folder} was not written by pytest; choose another --coldwarm-output, or remove it")
            try:
                shutil.rmtree(folder)
            except OSError as error:
                raise UsageError(f"cannot replace {folder}: {error.filename}: {error.strerror}") from error
        return cls.create(folder, models, written_by="pytest")

    def folder_of(self, case: Case, repetition: int = 1) -> Path:
        """Return the folder of the run of `case`, or of one of its further repetitions."""
        return SuiteFolder(self.folder).run(case.name).repetition(repetition).path

    def write_case(self, case: Case, repetition: int = 1) -> None:
        """Store a case before it is started."""
        self.folder_of(case, repetition).mkdir(parents=True, exist_ok=True)
        self._write(self._files_of(case, repetition).case, schema.CASE, case)

    def write_start(self, case: Case, record: StartRecord, repetition: int = 1) -> None:
        """Store the record of a start that has ended, with any outcome."""
        self._write(self._files_of(case, repetition).record(record.kind), schema.RECORD, record)

    def write_verdict(self, case: Case, verdict: Verdict, repetition: int = 1) -> None:
        """Store the verdict on the run of `case`, or on one of its further repetitions."""
        self._write(self._files_of(case, repetition).verdict, schema.VERDICT, verdict)

    def write_explanation(self, case: Case, explanation: Explanation, repetition: int = 1) -> None:
        """Store the explanation of a repetition of `case`."""
        self._write(self._files_of(case, repetition).explanation, schema.EXPLANATION, explanation)

    def _files_of(self, case: Case, repetition: int) -> RunFolder:
        return RunFolder(self.folder_of(case, repetition))

    def _write(self, path: Path, kind: schema.Schema[_Model], content: _Model) -> None:
        unfinished = path.with_suffix(".part")
        text = json.dumps(kind.to_data(content), indent=2, ensure_ascii=False)
        try:
            # Store text that is not UTF-8 (a path, a variable) with question marks, rather than fail.
            unfinished.write_bytes(text.encode("utf-8", "replace"))
            unfinished.replace(path)
        except OSError as error:
            # The error of a write does not name the file.
            raise OSError(error.errno, error.strerror, str(path)) from error


def keep_records(source: Path, target: Path) -> None:
    """Copy the suite in `source` to `target`, without logs and traces; a suite that is there is replaced.

    Raises:
        UsageError: `source` has no suite, `target` is `source` or is not a suite, or cannot be written.
    """
    suite = SuiteFolder(source)
    if not suite.suite.is_file():
        raise UsageError(f"{source} contains no suite ({SUITE})")
    if target.exists() and target.samefile(source):
        raise UsageError(f"{target} is the run itself, whose logs and traces would be lost; choose another folder")
    if target.exists() and not SuiteFolder(target).suite.is_file():
        raise UsageError(f"{target} exists and is not a suite, so it is not replaced; choose another folder")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Several agents of a CI system may share the folder.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as scratch:
            unfinished = Path(scratch) / "new"
            for path in [*source.glob("*.json"), *source.glob("*/*.json"), *source.glob(f"*/{REPETITIONS}/*.json")]:
                copy = unfinished / path.relative_to(source)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, copy)
            old = Path(scratch) / "old"
            if target.exists():
                target.rename(old)
            try:
                unfinished.rename(target)
            except BaseException:
                if old.exists():
                    old.rename(target)
                raise
    except OSError as error:
        raise UsageError(f"cannot write to {error.filename or target}: {error.strerror}") from error


def read_runs(folder: Path) -> list[StoredRun]:
    """Read all runs of the suite in `folder`, or the single run in `folder`.

    Raises:
        UsageError: There is no run, or a record cannot be read.
    """
    with unreadable_as_usage_error():
        if RunFolder(folder).case.is_file():
            return [_read_run(folder)]
        suite = _read_suite(folder)
        if suite is None:
            raise UsageError(f"{folder} contains neither a suite ({SUITE}) nor a run ({CASE})")
        runs = [SuiteFolder(folder).run(model) for model in suite.models]
        return [_read_run(run.path) for run in runs if run.case.is_file()]


def models_not_started(folder: Path) -> list[str]:
    """Return the models that the suite in `folder` did not start before it was aborted; empty for a single run."""
    suite = _read_suite(folder)
    with unreadable_as_usage_error():
        return [name for name in suite.models if not SuiteFolder(folder).run(name).case.is_file()] if suite else []


def _read_suite(folder: Path) -> schema.SuiteRecord | None:
    with unreadable_as_usage_error():
        if folder.is_file():
            raise UsageError(f"{folder} is a file, not the folder of a suite or a run")
    return schema.SUITE.read(SuiteFolder(folder).suite)


def read_verdict(folder: Path) -> Verdict | None:
    """Read the verdict that was stored with the run in `folder`; None if the run was aborted.

    Raises:
        UsageError: The verdict cannot be read.
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
        repetitions=[_read_run(each.path) for each in files.repetitions()],
    )


def new_default_folder(suffix: str = "") -> Path:
    """Create a new folder in ``coldwarm-runs/``, named after the current time, with `suffix`.

    Raises:
        UsageError: There is no unused name.
        OSError: It cannot be created.
    """
    name = f"{datetime.now():%Y-%m-%d-%H%M%S}{suffix}"
    for number in range(1, 1000):
        folder = DEFAULT_PARENT / (name if number == 1 else f"{name}-{number}")
        try:
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        return folder
    raise UsageError(f"cannot find an unused folder name in {DEFAULT_PARENT}")
