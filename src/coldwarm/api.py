"""The functions of the public Python API, which `coldwarm` re-exports: `run` and `judge`.

Imports inside the functions keep `import coldwarm` fast.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coldwarm.core.engine import DEFAULT_ENGINE

if TYPE_CHECKING:
    from coldwarm.suite.observer import ProgressObserver
    from coldwarm.suite.result import SuiteResult


def run(
    *models: str | Path,
    engine: str = DEFAULT_ENGINE,
    device: str | None = None,
    compilation: str = "piecewise",
    aot_artifact: str | Sequence[str] = (),
    depth: str = "full",
    isolation: str = "fork",
    repeat: int = 1,
    options: Mapping[str, Any] | None = None,
    warm_options: Mapping[str, Any] | None = None,
    warm_environment: Mapping[str, str] | None = None,
    jobs: int | None = None,
    timeout: float = 600.0,
    output: str | Path | None = None,
    catalog: str | Path | Sequence[str | Path] = (),
    report: Mapping[str, str | Path] | None = None,
    observer: ProgressObserver | None = None,
    whole_catalog: bool = False,
) -> SuiteResult:
    """Start models cold, then warm, and judge them, as ``coldwarm run`` does.

    Args:
        models: Ids of the catalog, or paths of a config.json or of a model's TOML file; none: the representative
            models.
        engine: The engine's name.
        device: ``cpu`` or ``cuda``; None: the one that the engine was built for.
        compilation: ``piecewise``, or ``shipped`` for the engine's default.
        aot_artifact: ``bundled``, ``separate``, or both for a run with each; empty: the engine's default.
        depth: How much of a start is real: ``trace``, ``count`` or ``full``.
        isolation: ``fork`` or ``spawn``.
        repeat: How many times each model is started cold, then warm, each time with caches of its own.
        options: Options of the engine for both starts: JSON values, by name. A name may have dots, as for ``--set``.
        warm_options: Options of the engine for the warm start only.
        warm_environment: Environment variables for the warm start only.
        jobs: The number of parallel runs; None: chosen by cores and memory.
        timeout: Seconds that a start may take before it is killed.
        output: Where records, logs and traces are stored; None: ``coldwarm-runs/`` and the time.
        catalog: Folders of your own model TOML files.
        report: Files to write, by format: ``{"junit": "out.xml"}``.
        observer: Receives progress events; None: nothing is shown.
        whole_catalog: Run every model of the catalog, instead of naming some.

    Returns:
        The runs with their verdicts. A run that fails or crashes raises nothing; `SuiteResult.raise_for_status` does.

    Raises:
        UsageError: An argument is invalid, or the engine, the device or a model is not available. Nothing was started,
            unless a report could not be written at the end.
        CatalogError: A catalog entry or a config cannot be used. Nothing was started.
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP. All starts were ended. The records of finished ones are stored in
            the folder, and the reports have the finished runs.
    """
    from coldwarm.core.errors import UsageError
    from coldwarm.report.exporters import parse_reports
    from coldwarm.report.summary import SuiteSummary
    from coldwarm.suite.observer import SilentObserver
    from coldwarm.suite.result import SuiteResult
    from coldwarm.suite.session import Session

    reports = parse_reports([f"{format_}={Path(file)}" for format_, file in (report or {}).items()])
    if any(each.path is None for each in reports):
        raise UsageError("report: name a file; there is no report on stdout")
    session = Session.plan(
        [str(model) for model in models],
        catalog=_paths(catalog),
        engine=engine,
        device=device,
        compilation=compilation,
        aot_artifacts=[aot_artifact] if isinstance(aot_artifact, str) else aot_artifact,
        depth=depth,
        isolation=isolation,
        repeat=repeat,
        options=_nested(options, "options"),
        warm_options=_nested(warm_options, "warm_options"),
        warm_environment={name: str(value) for name, value in (warm_environment or {}).items()},
        jobs=jobs,
        timeout=timeout,
        whole_catalog=whole_catalog,
    )
    for each in reports:
        each.check()
    session.create_folder(None if output is None else Path(output))
    for each in reports:
        each.remove_stale()
    try:
        session.run(SilentObserver() if observer is None else observer)
    except BaseException:
        for each in reports:
            with suppress(UsageError):
                each.write(SuiteSummary.of(session.results))
        raise
    for each in reports:
        each.write(SuiteSummary.of(session.results))
    return SuiteResult(session.folder, session.results)


def judge(folder: str | Path, *, catalog: str | Path | Sequence[str | Path] = ()) -> SuiteResult:
    """Judge stored runs by the current catalog, without an engine or torch, as ``coldwarm judge`` does.

    Args:
        folder: The folder of a suite, or of one run in it.
        catalog: Folders of your own model TOML files; give the same as to `run`.

    Raises:
        UsageError: The folder contains no run, or one that cannot be read.
        CatalogError: A catalog entry cannot be used.
    """
    from coldwarm.suite.stored import judge_suite

    return judge_suite(Path(folder), _paths(catalog))


def _paths(folders: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(folder) for folder in ([folders] if isinstance(folders, str | Path) else folders)]


def _nested(options: Mapping[str, Any] | None, argument: str) -> dict[str, Any]:
    """Return `options` with nested mappings instead of names with dots."""
    from coldwarm.core.errors import UsageError
    from coldwarm.core.options import parse_options

    words = []
    for name, value in (options or {}).items():
        try:
            words.append(f"{name}={json.dumps(value)}")
        except (TypeError, ValueError) as error:
            raise UsageError(f"{argument}: the value of {name!r} cannot be written as JSON: {error}") from error
    return parse_options(words, flag=argument)
