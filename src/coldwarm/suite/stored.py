"""Judges stored runs by the current catalog, and explains them from their records and traces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from coldwarm.catalog.catalog import Catalog, CatalogModel
from coldwarm.core.case import Case
from coldwarm.core.errors import UsageError, nearest, unreadable_as_usage_error
from coldwarm.core.finding import FindingKind
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import RunFolder
from coldwarm.diagnose.explanation import Explanation, explain
from coldwarm.store.suite_folder import StoredRun, models_not_started, read_runs
from coldwarm.suite.result import RunResult, SuiteResult


def judge_suite(folder: Path, catalog: Sequence[Path] = ()) -> SuiteResult:
    """Judge the stored suite, or the single run, in `folder` by the current catalog, without an engine or torch.

    Args:
        folder: The folder of the suite or run.
        catalog: Folders of the user's own model TOML files.

    Raises:
        UsageError: `folder` contains no run, or one that cannot be read.
        CatalogError: A catalog entry cannot be used.
    """
    runs = judge_stored(folder, Catalog.read(catalog))
    if not runs:
        raise UsageError(f"{folder} contains no run, because nothing was started")
    return SuiteResult(folder, runs, models_not_started(folder))


def judge_stored(folder: Path, catalog: Catalog) -> list[RunResult]:
    """Judge the suite, or the single run, in `folder`.

    If the model was named by its id and the `catalog` has an entry for it, that entry is used. Otherwise, the entry
    that was stored with the run is used.

    Raises:
        UsageError: `folder` contains no readable run.
    """
    return [judge_run(run, catalog) for run in read_runs(folder)]


def judge_run(run: StoredRun, catalog: Catalog) -> RunResult:
    """Judge one run by its entry in the `catalog`, or by the stored entry if the catalog has none."""
    current = current_model(run.case, catalog)
    case = run.case.model_copy(update={"entry": current.entry}) if current else run.case
    return RunResult.of_repetitions(case, [(each.cold, each.warm, each.explanation) for each in run.all_repetitions])


def judge_explained(folder: Path, catalog: Catalog) -> list[RunResult]:
    """Judge the suite, or the single run, in `folder`, and explain again what was not yet recorded in full.

    Raises:
        UsageError: `folder` contains no readable run, or a trace cannot be read.
    """
    results = []
    for run in read_runs(folder):
        result = judge_run(run, catalog)
        # The trace of the first repetition does not explain another one.
        is_first = run.cold is not None and result.number == 1
        results.append(_explain(run, result) if is_first and _lacks_graphs(run.explanation) else result)
    return results


def explain_stored(folder: Path, catalog: Catalog, model: str | None) -> list[tuple[RunResult, Path]]:
    """Explain the started runs in `folder`, or only that of `model`; return each with its folder.

    Raises:
        UsageError: `folder` contains no readable or no started run, or none of `model`; or a trace cannot be read.
    """
    runs = [run for run in read_runs(folder) if run.cold is not None]
    if model is not None:
        ids = [run.case.name for run in runs]
        if model not in ids:
            raise UsageError(f"no run of {model!r} in {folder}{nearest(model, ids)} (runs: {', '.join(ids) or 'none'})")
        runs = [run for run in runs if run.case.name == model]
    if not runs:
        raise UsageError(f"{folder} contains no run that was started")
    judged = [(run, judge_run(run, catalog)) for run in runs]
    shown = [(run.all_repetitions[result.number - 1], result) for run, result in judged]
    return [(_explain(run, result), run.folder) for run, result in shown]


def current_model(case: Case, catalog: Catalog) -> CatalogModel | None:
    """Return the catalog's model of `case`; None if it was named by a path, or is no longer in the catalog."""
    if case.named_by_id is None and case.argument != case.model_id:
        return _of_older_run(case, catalog)
    model = catalog.get(case.model_id)
    if case.named_by_id is False or model is None:
        return None
    # A packaged model is not the model with the same id in the user's folder.
    return None if case.catalog is not None and model.is_packaged else model


def _of_older_run(case: Case, catalog: Catalog) -> CatalogModel | None:
    # The argument is a path, although the model may have been named by its id in a user's catalog.
    path = Path(case.argument)
    if path.suffix != ".toml":
        return None
    models = [model for model in catalog.models() if not model.is_packaged]
    same_file = (model for model in models if model.path.absolute() == path.absolute())
    return next(same_file, next((model for model in models if model.entry.id == case.model_id), None))


def _lacks_graphs(explanation: Explanation | None) -> bool:
    """Return whether graphs that prevent sharing were not yet recorded when the run was explained."""
    if explanation is None:
        return True
    has_finding = any(finding.kind is FindingKind.NOT_SHARED for finding in explanation.findings)
    return has_finding and explanation.compared_graphs is None


def _explain(run: StoredRun, result: RunResult) -> RunResult:
    # Traces are large, so records are often stored without them.
    if run.explanation is not None and not RunFolder(run.folder).has_trace(StartKind.COLD):
        return result
    with unreadable_as_usage_error():
        return replace(result, explanation=explain(run.folder, run.cold, run.warm))
