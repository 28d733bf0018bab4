"""Reads the sides of a comparison from folders."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from coldwarm.catalog.catalog import Catalog
from coldwarm.comparison.sides import Side
from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.errors import UsageError, unreadable_as_usage_error
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import RunFolder, SuiteFolder
from coldwarm.store.suite_folder import StoredRun, models_not_started, read_runs
from coldwarm.suite.result import RunResult
from coldwarm.suite.stored import judge_run


def sides_of(folder: Path, catalog: Catalog) -> dict[str, Side]:
    """Return the runs in `folder`, by name: a suite, a single run, or a folder of suites, whose starts are combined.

    Raises:
        UsageError: `folder` contains no run, one that cannot be read, or runs of one name with different settings.
    """
    runs = [run for suite in _suites(folder) for run in read_runs(suite)]
    if not runs:
        raise UsageError(f"{folder} contains no run, because nothing was started")
    found: dict[str, list[tuple[StoredRun, RunResult]]] = {}
    for run in runs:
        found.setdefault(run.case.name, []).append((run, judge_run(run, catalog)))
    for name, same in found.items():
        _check_settings(folder, name, [result for _, result in same])
    return {name: _side(sorted(same, key=_began)) for name, same in found.items()}


def _check_settings(folder: Path, name: str, results: Sequence[RunResult]) -> None:
    """Check that the starts of these runs can be combined.

    Raises:
        UsageError: They cannot.
    """
    settings = [_settings(result) for result in results]
    for setting in dict.fromkeys(setting for each in settings for setting in each):
        values = sorted({each.get(setting, "not set") for each in settings})
        if len(values) > 1:
            raise UsageError(
                f"{folder}: the starts of {name} cannot be combined, because its suites have different settings "
                f"({setting}: {', '.join(values)}); give one suite, or a folder of suites with the same settings"
            )


def _settings(result: RunResult) -> dict[str, str]:
    case = result.case
    settings = Side([result]).settings() | {"depth": case.depth.value}
    if case.command is not None:
        settings["command"] = shlex.join(case.command.words)
        if result.cold is not None:
            settings["device"] = result.cold.device  # chosen by the command itself
    return settings


def not_started_in(folder: Path) -> list[str]:
    """Return the names of the runs that the suites in `folder` did not start, because they were aborted.

    Raises:
        UsageError: A suite cannot be read.
    """
    return list(dict.fromkeys(name for suite in _suites(folder) for name in models_not_started(suite)))


def _suites(folder: Path) -> list[Path]:
    """Return `folder` itself if it is a suite or a run, or else the suites in it."""
    with unreadable_as_usage_error():
        if RunFolder(folder).case.is_file() or SuiteFolder(folder).suite.is_file() or not folder.is_dir():
            return [folder]
        return sorted(path for path in folder.iterdir() if SuiteFolder(path).suite.is_file()) or [folder]


def _began(run: tuple[StoredRun, RunResult]) -> float:
    cold = run[0].cold
    return cold.began.timestamp() if cold is not None else 0.0


def _side(runs: Sequence[tuple[StoredRun, RunResult]]) -> Side:
    newest, _ = runs[-1]
    files = RunFolder(newest.folder)
    keys = {kind: found for kind in StartKind if (found := _keys(files, kind)) is not None}
    return Side([result for _, result in runs], keys)


def _keys(files: RunFolder, kind: StartKind) -> CacheKeys | None:
    try:
        keys = CacheKeys.model_validate_json(files.keys(kind).read_bytes())
    except (OSError, ValidationError):
        return None
    return keys if keys.factors else None
