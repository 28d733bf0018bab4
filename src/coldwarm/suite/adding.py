"""Makes the catalog entry of a published config.json: shrinks it, starts it several times, and measures."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from coldwarm.catalog.bare_config import entry_of_bare_config
from coldwarm.catalog.catalog import PACKAGED, Catalog, CatalogModel, is_file
from coldwarm.catalog.files import read_config
from coldwarm.catalog.writing import check_writable, entry_text, with_expectations
from coldwarm.checks.run_context import context_of
from coldwarm.checks.verdict import Status
from coldwarm.core.case import Case
from coldwarm.core.conditions import Conditions
from coldwarm.core.crash_cause import CrashKind
from coldwarm.core.errors import CatalogError, UsageError
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.model_entry import ModelEntry, Unsupported
from coldwarm.store.suite_folder import new_default_folder
from coldwarm.suite.acceptance import Acceptance, Decision, accept
from coldwarm.suite.issue_skeleton import IssueSkeleton, id_and_url, issue_from
from coldwarm.suite.longest_first import chosen_jobs
from coldwarm.suite.observer import ProgressObserver
from coldwarm.suite.plan import plan
from coldwarm.suite.result import RunResult
from coldwarm.suite.session import Session

RUNS = 2
"""How often a model is run: an expectation has to be the same in each run."""
UNKNOWN_SOURCE = "unknown"
_EXCEPTION = re.compile(r"\b\w*(Error|Exception): ")
_LAST_LINES = 5


@dataclass(frozen=True)
class Request:
    """What to add."""

    config: Path
    """The published config.json, or its folder."""
    catalog: Path | None = None
    """The folder of the user's catalog; None: the packaged catalog."""
    model_id: str | None = None
    """None: from the name of the file or its folder."""
    name: str | None = None
    source: str | None = None
    """The URL where the config was published; None: unknown."""
    source_note: str = ""
    known_issue: str | None = None
    """The id under which a broken invariant is to be declared as known, with ``=URL`` if it is tracked elsewhere."""
    as_unsupported: bool = False
    """Whether to write the entry even if the device cannot run the model."""
    replace: bool = False
    """Whether an existing entry with the same id may be replaced."""


@dataclass(frozen=True)
class Addition:
    """The result of adding a model."""

    exit_code: ExitCode
    model: CatalogModel
    records: Path
    """The folder of the runs."""
    results: list[RunResult]
    files: dict[Path, str] = field(default_factory=dict)
    """The files to write, with their content; empty: the entry cannot be written."""
    reasons: list[str] = field(default_factory=list)
    """Why the entry cannot be written, and what to do."""
    to_do: list[str] = field(default_factory=list)
    """What remains to be done by hand."""


class Adder:
    """Adds one model to a catalog. Nothing is written to it: `run` returns the files.

    Args:
        request: What to add.
        timeout: Seconds that a start may take.
        isolation: How the processes of starts are created.
        settings: Further arguments of `plan`: engine, device, aot_artifacts, depth.

    Raises:
        UsageError: The entry exists or may not be written, an id is invalid, or the engine or the device is not
            available.
        CatalogError: The config cannot be used.
    """

    def __init__(
        self, request: Request, *, timeout: float, isolation: IsolationKind = IsolationKind.FORK, **settings: Any
    ) -> None:
        self._request, self._timeout, self._isolation, self._settings = request, timeout, isolation, settings
        if request.known_issue is not None:
            id_and_url(request.known_issue)
        self._model = _new_model(request)
        # Now, because the file may change while the model runs. As bytes, because line endings are kept, too.
        self._config_text = _path_of(request).read_bytes().decode("utf-8")
        self._results: list[RunResult] = []
        self._folder = Path()
        # Finds errors of all arguments.
        cases = self._plan()
        if not cases[0].depth.level.has_artifacts:
            raise UsageError(f"--depth {cases[0].depth} saves and loads nothing; use count or full")

    def run(
        self, output: Path | None, observed: Callable[[int, int], AbstractContextManager[ProgressObserver]]
    ) -> Addition:
        """Run the model `RUNS` times, or until it is known that there can be no entry.

        Args:
            output: The folder for the records, with a suite for each run; None: a new one in ``coldwarm-runs/``.
            observed: Returns an observer for a run, given its number from 1 and the number of its cases.

        Raises:
            UsageError: `output` already contains runs, or cannot be written.
        """
        try:
            self._folder = output or new_default_folder(f"-add-{self._model.entry.id}")
        except OSError as error:
            raise UsageError(f"cannot write to {error.filename}: {error.strerror}") from error
        folders = [self._folder / str(number) for number in range(1, RUNS + 1)]
        skeleton = None
        for number, folder in enumerate(folders, 1):
            self._run(folder, partial(observed, number))
            if skeleton is None and self._request.known_issue is not None:
                skeleton, problems = self._declare(self._request.known_issue)
                if problems:
                    return self._ended(ExitCode.FAILED, reasons=problems)
            if (stopped := self._stopped()) is not None:
                return stopped
            decided = accept(folders[:number], Catalog([self._model]))
            if refused := [each for each in decided if each.decision is Decision.REFUSED]:
                return self._ended(ExitCode.FAILED, reasons=[reason for each in refused for reason in each.reasons])
        return self._measured(decided, skeleton)

    def _run(self, folder: Path, observed: Callable[[int], AbstractContextManager[ProgressObserver]]) -> None:
        cases = self._plan()
        session = Session(cases, jobs=chosen_jobs(cases), timeout=self._timeout, isolation=self._isolation)
        session.create_folder(folder)
        with observed(len(cases)) as observer:
            session.run(observer)
        self._results += session.results

    def _plan(self) -> list[Case]:
        return plan(Catalog([self._model]), [self._model.entry.id], **self._settings)

    def _declare(self, name: str) -> tuple[IssueSkeleton | None, list[str]]:
        """Add the known issue that the user named to the entry, if a run failed; or return why that is not possible."""
        failed = next((result for result in self._results if result.verdict.status is Status.FAILED), None)
        if failed is None:
            return None, []
        skeleton, problems = issue_from(failed, name, self._model)
        if skeleton is not None:
            entry = self._model.entry.model_copy(update={"known_issue": (skeleton.issue,)})
            self._model = replace(self._model, entry=entry)
            self._results = [_with_entry(result, entry) for result in self._results]
        return skeleton, problems

    def _stopped(self) -> Addition | None:
        """Return why the entry cannot have expectations; None if each run so far can be one."""
        for result in self._results:
            reasons = result.verdict.reasons
            match result.verdict.status:
                case Status.UNSUPPORTED:
                    return self._unsupported(result)
                case Status.ERROR:
                    record = result.warm or result.cold
                    errors = _errors(record.failure.log_tail) if record and record.failure else []
                    return self._ended(ExitCode.CRASHED, reasons=[*reasons, *(f"  log: {line}" for line in errors)])
                case Status.FAILED:
                    return self._ended(ExitCode.FAILED, reasons=[*reasons, *_how_to_declare(result)])
        return None

    def _unsupported(self, result: RunResult) -> Addition:
        device, why, cause = result.case.device, "; ".join(result.verdict.reasons), result.verdict.crash_cause
        if cause is not None and cause.kind is CrashKind.RELEASE:
            how = "  add it with a release that has it; an [[unsupported]] block is about devices"
            return self._ended(ExitCode.FAILED, reasons=[f"the installed release cannot run it: {why}", how])
        if not self._request.as_unsupported:
            how = f"  --unsupported writes an entry that declares this for {device}"
            return self._ended(ExitCode.FAILED, reasons=[f"{device} cannot run it: {why}", how])
        declared = Unsupported.model_validate({"devices": [device], "reason": why})
        entry = self._model.entry.model_copy(update={"unsupported": (declared,)})
        self._model = replace(self._model, entry=entry)
        return self._ended(ExitCode.HEALTHY, files=self._files(_entry_text(self._model, [])), to_do=_to_do(entry))

    def _measured(self, decided: Sequence[Acceptance], skeleton: IssueSkeleton | None) -> Addition:
        text = _entry_text(self._model, _kinds(self._results[-1]))
        files = self._files(
            with_expectations(self._model.path, text, [edit for each in decided for edit in each.edits])
        )
        to_do = _to_do(self._model.entry)
        if skeleton is not None and skeleton.page is not None and skeleton.page.exists():
            to_do.append(f"add this model to {skeleton.page}, which exists and was left as it is")
        elif skeleton is not None and skeleton.page is not None:
            files[skeleton.page] = skeleton.text
            to_do.append(f"complete {skeleton.page}: why it occurs, and how it could be fixed")
        elif self._request.known_issue is not None and skeleton is None:
            to_do.append(f"nothing broke an invariant, so no known issue {self._request.known_issue} was declared")
        return self._ended(ExitCode.HEALTHY, files=files, to_do=to_do)

    def _files(self, text: str) -> dict[Path, str]:
        # The config comes first, because the entry refers to it.
        return {self._model.config_path: self._config_text, self._model.path: text}

    def _ended(
        self,
        exit_code: ExitCode,
        *,
        files: dict[Path, str] | None = None,
        reasons: Sequence[str] = (),
        to_do: Sequence[str] = (),
    ) -> Addition:
        return Addition(
            exit_code, self._model, self._folder, self._results, files or {}, reasons=[*reasons], to_do=[*to_do]
        )


def _new_model(request: Request) -> CatalogModel:
    path = _path_of(request)
    config = read_config(path)
    bare = entry_of_bare_config(path, config)
    folder = request.catalog or PACKAGED
    model_id = request.model_id or bare.id
    relative = ("../configs/" if folder == PACKAGED else "configs/") + model_id + ".json"
    try:
        entry = ModelEntry.model_validate(
            {
                **bare.model_dump(),
                "id": model_id,
                "name": request.name or bare.name,
                "config": relative,
                "source": request.source or UNKNOWN_SOURCE,
                "source_note": request.source_note,
            }
        )
    except ValidationError as error:
        raise UsageError(f"--id {model_id}: {error.errors()[0]['msg']}") from error
    model = CatalogModel(entry, config, folder / f"{model_id}.toml", (folder / relative).resolve())
    _check_id(model, request)
    for file in (model.path, model.config_path):
        check_writable(file)
    return model


def _check_id(model: CatalogModel, request: Request) -> None:
    folders = [request.catalog] if request.catalog and any(request.catalog.glob("*.toml")) else []
    known = Catalog.read(folders).get(model.entry.id)
    path = known.path if known is not None else model.path
    if known is not None and path.resolve() != model.path.resolve():
        raise UsageError(f"{model.entry.id!r} is already the id of {path}; choose another one with --id")
    if (known is not None or path.exists()) and not request.replace:
        raise UsageError(f"{path} exists; choose another id with --id, or replace it with --force")
    same = _path_of(request).resolve() == model.config_path
    if model.config_path.exists() and not same and not request.replace:
        raise UsageError(f"{model.config_path} exists; choose another id with --id, or replace it with --force")


def _path_of(request: Request) -> Path:
    inside = request.config / "config.json"
    return inside if is_file(inside) else request.config


def _entry_text(model: CatalogModel, comments: Sequence[str]) -> str:
    try:
        return entry_text(model.entry, comments)
    except ValueError as error:
        raise CatalogError(model.path, f"cannot be written as TOML: {error}") from error


def _with_entry(result: RunResult, entry: ModelEntry) -> RunResult:
    case = result.case.model_copy(update={"entry": entry})
    return RunResult.of(case, result.cold, result.warm, result.explanation)


def _errors(log_tail: Sequence[str]) -> list[str]:
    """Return the lines of a log that name an exception, or else its last ones; the first may be the cause of others."""
    return [line for line in log_tail if _EXCEPTION.search(line)] or list(log_tail[-_LAST_LINES:])


def _kinds(result: RunResult) -> list[str]:
    """Return a comment with the kinds of layers, which are derived again at each start."""
    kinds = result.cold.facts.layer_kinds if result.cold and result.cold.facts else []
    if not kinds:
        return []
    listed = ", ".join(f"{kind.layers} {kind.layer_class} with {kind.parameters} parameters" for kind in kinds)
    return [f"layer_kinds are derived from the started model: {listed}"]


def _to_do(entry: ModelEntry) -> list[str]:
    to_do = []
    if entry.source == UNKNOWN_SOURCE:
        to_do.append("set source to the URL where the config was published")
    if not entry.source_note:
        to_do.append("compare the config with its source, and say how in source_note")
    return to_do


def _how_to_declare(result: RunResult) -> list[str]:
    conditions = Conditions.of(context_of(result.cold)) if result.cold else ""
    return [
        "  find the cause with `coldwarm explain`, and report it; to add the model nevertheless, declare exactly this",
        f"  failure as a known issue with --known-issue ID, or ID=URL if it is tracked elsewhere ({conditions})",
    ]
