"""Judges stored runs again, by the catalog as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from coldwarm.catalog.catalog import Catalog, CatalogModel
from coldwarm.core.case import Case
from coldwarm.core.errors import UsageError
from coldwarm.store.suite_folder import StoredRun, never_started, read_runs
from coldwarm.suite.result import RunResult, SuiteResult


def judge_again(folder: Path, catalog: Catalog) -> list[RunResult]:
    """Judge the suite, or the one run, in `folder`.

    The entry of the `catalog` decides if the model was named by its id; without one, or if the model was named by a
    path, the entry that was stored with the run.

    Raises:
        UsageError: `folder` holds no run that can be read.
    """
    return [judge_run(run, catalog) for run in read_runs(folder)]


def judge_run(run: StoredRun, catalog: Catalog) -> RunResult:
    """Judge one run by the entry of the `catalog`; where it has none, by the one that was stored with it."""
    current = _current(run.case, catalog)
    case = run.case.model_copy(update={"entry": current.entry}) if current else run.case
    return RunResult.of(case, run.cold, run.warm, run.explanation)


def _current(case: Case, catalog: Catalog) -> CatalogModel | None:
    """The catalog's model that `case` is a case of; None: a model that was named by a path, or is gone."""
    if case.named_by_id is None and case.argument != case.model_id:
        return _of_older_run(case, catalog)
    model = catalog.get(case.model_id)
    if case.named_by_id is False or model is None:
        return None
    # A packaged model is not the one of that id in the user's folder.
    return None if case.catalog is not None and model.is_packaged else model


def _of_older_run(case: Case, catalog: Catalog) -> CatalogModel | None:
    # Its argument is a path, although the model may have been named by its id in a user's catalog.
    path = Path(case.argument)
    if path.suffix != ".toml":
        return None
    models = [model for model in catalog.models() if not model.is_packaged]
    same_file = (model for model in models if model.path.absolute() == path.absolute())
    return next(same_file, next((model for model in models if model.entry.id == case.model_id), None))


def judge_suite(folder: Path, catalog: Sequence[Path] = ()) -> SuiteResult:
    """Judge the stored suite, or the one run, in `folder` by the current catalog, without an engine or torch.

    Args:
        folder: The folder of the suite or run.
        catalog: Folders of the user's own model TOML files.

    Raises:
        UsageError: `folder` contains no run, or one that cannot be read.
        CatalogError: A catalog entry cannot be used.
    """
    models = Catalog.read(catalog)
    runs = [judge_run(run, models) for run in read_runs(folder)]
    if not runs:
        raise UsageError(f"{folder} holds no run: nothing was started")
    return SuiteResult(folder, runs, never_started(folder))
