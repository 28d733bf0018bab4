"""Keeps a suite on disk, each record as soon as it exists, so that a later failure loses nothing.

`coldwarm.core.run_folder` says which files there are and what they are called.
"""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ValidationError, field_serializer

from coldwarm import __version__
from coldwarm.checks.verdict import Verdict
from coldwarm.core.case import Case
from coldwarm.core.errors import UsageError, unreadable_as_usage_error
from coldwarm.core.record import SCHEMA_VERSION, StartKind, StartRecord
from coldwarm.core.run_folder import CASE, SUITE, RunFolder, SuiteFolder
from coldwarm.core.secrets import Secrets, masked_argv
from coldwarm.diagnose.explanation import Explanation

DEFAULT_PARENT = Path("coldwarm-runs")

_Record = TypeVar("_Record", bound=BaseModel)


class SuiteRecord(BaseModel):
    """What a suite was asked to do."""

    schema_version: int = SCHEMA_VERSION
    coldwarm: str = __version__
    began: datetime
    command: list[str]
    models: list[str]
    """In the order in which they run."""
    written_by: Literal["run", "pytest"] = "run"
    """``pytest``: a later call of pytest may replace it."""

    @field_serializer("command")
    def _command_without_secrets(self, command: list[str]) -> list[str]:
        return [Secrets.of_command(command).text(word) for word in masked_argv(command)]


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
                suite = SuiteRecord(began=datetime.now(UTC), command=sys.argv, models=models, written_by=written_by)
                file.write(suite.model_dump_json(indent=2))
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
            suite = _read(SuiteFolder(folder).suite, SuiteRecord)
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
        self._write(self._files_of(case).case, case)

    def keep_start(self, case: Case, record: StartRecord) -> None:
        """Keep a start that ended, however."""
        self._write(self._files_of(case).record(record.kind), record)

    def keep_verdict(self, case: Case, verdict: Verdict) -> None:
        """Keep the verdict on the run of `case`."""
        self._write(self._files_of(case).verdict, verdict)

    def keep_explanation(self, case: Case, explanation: Explanation) -> None:
        """Keep why the run of `case` went as it did."""
        self._write(self._files_of(case).explanation, explanation)

    def _files_of(self, case: Case) -> RunFolder:
        return RunFolder(self.folder_of(case))

    def _write(self, path: Path, content: BaseModel) -> None:
        unfinished = path.with_suffix(".part")
        text = json.dumps(content.model_dump(mode="json"), indent=2, ensure_ascii=False)
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
        suite = _read(SuiteFolder(folder).suite, SuiteRecord)
        if suite is None:
            raise UsageError(f"{folder} holds neither a suite ({SUITE}) nor a run ({CASE})")
        runs = [SuiteFolder(folder).run(model) for model in suite.models]
        return [_read_run(run.path) for run in runs if run.case.is_file()]


def never_started(folder: Path) -> list[str]:
    """The models of the suite in `folder` that it was ended before; empty for a single run."""
    suite = _read(SuiteFolder(folder).suite, SuiteRecord)
    with unreadable_as_usage_error():
        return [name for name in suite.models if not SuiteFolder(folder).run(name).case.is_file()] if suite else []


def _read_run(folder: Path) -> StoredRun:
    files = RunFolder(folder)
    case = _read(files.case, Case)
    assert case is not None
    starts = {kind: _read(files.record(kind), StartRecord) for kind in StartKind}
    return StoredRun(
        folder=folder,
        case=case,
        cold=starts[StartKind.COLD],
        warm=starts[StartKind.WARM],
        explanation=_read(files.explanation, Explanation),
    )


def _read(path: Path, record: type[_Record]) -> _Record | None:
    try:
        content = record.model_validate_json(path.read_bytes())
        known = getattr(record.model_fields.get("schema_version"), "default", SCHEMA_VERSION)
        if (schema := getattr(content, "schema_version", known)) > known:
            raise UsageError(f"{path} is a record of a later version of coldwarm (schema {schema}, known is {known})")
        return content
    except FileNotFoundError:
        return None
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise UsageError(f"{path} is no record of this version of coldwarm: {where}: {problem['msg']}") from error
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error


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
