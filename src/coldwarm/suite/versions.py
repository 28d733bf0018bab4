"""Compares stored suites of several versions of the engine: what each version broke or fixed, model by model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from packaging.version import InvalidVersion, Version

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.known_issues import IssueSeen
from coldwarm.checks.verdict import Status
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.engines.base import load_vocabulary
from coldwarm.suite.result import RunResult
from coldwarm.suite.stored import judge_stored

_ANY = Version("0")
_OF_ARTIFACTS = {InvariantId.ONLY_UNIQUE, InvariantId.SAVES_NOTHING, InvariantId.LOADS_ALL}


@dataclass(frozen=True)
class Cell:
    """One model with one version."""

    status: Status
    depth: Depth
    saved: int | None
    """Artifacts that the cold start saved; None: it did not finish."""
    loaded: int | None
    """Artifacts that the warm start loaded; None: there was none, or it did not finish."""
    reason: str | None
    """Why the model did not run or failed; None: it passed, or shows known issues."""
    issues: dict[str, IssueSeen]
    """The known issues that it shows, by id."""
    of_counts: frozenset[str]
    """Those of them that break an invariant of the artifacts."""
    not_compiled: str | None
    """Why the engine does not compile it with torch.compile; None: it does."""

    @property
    def was_checked(self) -> bool:
        """Whether its starts finished, so that it shows the issues that it has."""
        return self.status not in (Status.ERROR, Status.UNSUPPORTED)

    @property
    def counts(self) -> tuple[int | None, int | None]:
        """Artifacts saved and loaded."""
        return self.saved, self.loaded


@dataclass
class Column:
    """One version of the engine, with the suites that were made with it."""

    version: str
    torch: str
    depth: Depth
    """The deepest of its cells."""
    suites: list[str] = field(default_factory=list)
    """The names of their folders, sorted; those that were only counted come last if others were not."""
    cells: dict[str, Cell] = field(default_factory=dict)
    """By the id of the model."""


@dataclass(frozen=True)
class Change:
    """What a version did to some models, for one reason."""

    how: str
    """``new``, ``gone`` or ``changed``."""
    issue: IssueSeen | None
    """The known issue that is new or gone; None: it is not about one."""
    what: str
    """A description; that of the issue, if it is about one."""
    models: dict[str, tuple[Cell, Cell]]
    """The models with their cells, before and after."""


@dataclass
class VersionTable:
    """All versions on one device with the same settings."""

    device: str
    compilation: str
    aot_artifact: str | None
    """How artifacts were stored; None: as each version does by default."""
    engine: str
    columns: list[Column] = field(default_factory=list)
    """By version, the oldest first."""

    def models(self) -> list[str]:
        """Return the ids of all models, sorted."""
        return sorted({model for column in self.columns for model in column.cells})

    def changes(self, number: int) -> list[Change]:
        """Return what the version in column `number` changed, for each model since the last version that ran it."""
        pairs = {}
        for model, after in sorted(self.columns[number].cells.items()):
            before = next((c.cells[model] for c in reversed(self.columns[:number]) if model in c.cells), None)
            if before is not None:
                pairs[model] = before, after
        return _by_reason(pairs)


@dataclass(frozen=True)
class Comparison:
    """What is different in a newer suite."""

    packages: dict[str, tuple[str | None, str | None]]
    """The packages whose versions differ, with both; None: not installed, or not recorded."""
    changes: list[Change]
    """What changed in runs that both suites have."""
    compared: list[str]
    """The names of these runs."""
    added: list[str]
    """Runs of the newer suite only."""
    missing: list[str]
    """Runs of the older suite only."""


def compare_suites(old: Path, new: Path, catalog: Catalog) -> Comparison:
    """Return how the suite in `new` differs from that in `old`, both judged by the current catalog.

    Raises:
        UsageError: A folder contains no suite that can be read.
    """
    before, after = ({each.case.name: each for each in judge_stored(folder, catalog)} for folder in (old, new))
    return compare_results(before, after)


def compare_results(before: Mapping[str, RunResult], after: Mapping[str, RunResult]) -> Comparison:
    """Return how the runs of a newer suite differ from those of an older one, both by name."""
    common = [name for name in after if name in before]
    packages_before, packages_after = (_packages(list(results.values())) for results in (before, after))
    return Comparison(
        packages={
            name: (packages_before.get(name), packages_after.get(name))
            for name in sorted({*packages_before, *packages_after})
            if packages_before.get(name) != packages_after.get(name)
        },
        changes=_by_reason({name: (_cell(before[name]), _cell(after[name])) for name in common}),
        compared=common,
        added=[name for name in after if name not in before],
        missing=[name for name in before if name not in after],
    )


def compare_versions(folders: Sequence[Path], catalog: Catalog) -> list[VersionTable]:
    """Return a table for each device and way of compiling in the stored suites, if it has several versions.

    If several suites have the same model with the same version, the deepest and then the latest counts. Runs with
    options or with changes of the warm start are left out, and so are those at depth trace. The order of `folders` does
    not matter: a shell's depends on the locale.

    Raises:
        UsageError: A folder contains no suite, or no table would have two versions.
    """
    tables: dict[tuple[str, str, str | None, str], VersionTable] = {}
    began: dict[tuple[int, str], datetime] = {}
    for folder in sorted(folders, key=lambda each: (each.resolve().name, each.resolve())):
        results = judge_stored(folder, catalog)
        for result in results:
            case = result.case
            changed = case.warm_changes.options or case.warm_changes.environment
            if case.options or changed or case.depth is Depth.TRACE:
                continue
            key = case.device, case.compilation, case.aot_artifact, case.engine
            table = tables.setdefault(key, VersionTable(*key))
            column = _column(table, _versions(results, case.engine), case.depth, folder)
            if column is None:
                continue
            last = began.get((id(column), case.model_id))
            time = result.cold.began if result.cold else None
            if last is None or (time is not None and time > last):
                column.cells[case.model_id] = _cell(result)
                if time is not None:
                    began[id(column), case.model_id] = time
    for table in tables.values():
        _add_counted_to_full(table)
    several = [table for table in tables.values() if len(table.columns) > 1]
    if not several:
        raise UsageError("these suites have no two versions of the engine on the same device with the same settings")
    return sorted(several, key=lambda table: (table.device, table.compilation, table.aot_artifact or ""))


def _versions(results: Sequence[RunResult], engine: str) -> tuple[str, str] | None:
    """Return the versions of the engine and of torch in a suite; a crashed start did not record them."""
    packages = _packages(results)
    return (packages.get(engine, "?"), packages.get("torch", "?")) if packages else None


def _packages(results: Sequence[RunResult]) -> dict[str, str]:
    """Return the versions that the first finished start of a suite recorded."""
    records = (record for result in results for record in (result.cold, result.warm) if record is not None)
    return next((dict(record.facts.versions) for record in records if record.facts is not None), {})


def _column(table: VersionTable, versions: tuple[str, str] | None, depth: Depth, folder: Path) -> Column | None:
    if versions is None:
        return None
    name = folder.resolve().name
    for column in table.columns:
        if (column.version, column.torch, column.depth) == (*versions, depth):
            break
    else:
        column = Column(*versions, depth)
        table.columns.append(column)
        table.columns.sort(key=lambda each: (_parsed(each.version), _parsed(each.torch)))
    if name not in column.suites:
        column.suites.append(name)
    return column


def _add_counted_to_full(table: VersionTable) -> None:
    """Merge the columns of the same versions: what depth full did not measure is taken from depth count."""
    full = {(each.version, each.torch): each for each in table.columns if each.depth is Depth.FULL}
    columns = []
    for column in table.columns:
        deeper = full.get((column.version, column.torch), column)
        if deeper is column:
            columns.append(column)
        elif added := {model: cell for model, cell in column.cells.items() if model not in deeper.cells}:
            deeper.cells.update(added)
            deeper.suites += [name for name in column.suites if name not in deeper.suites]
    table.columns = columns


def _cell(result: RunResult) -> Cell:
    verdict, vocabulary = result.verdict, load_vocabulary(result.case.engine)
    accepted = [(name, check) for check in verdict.checks for name in check.accepting]
    cold, warm = (
        next(iter(vocabulary.compile_stats(record).values()), None) if record is not None else None
        for record in (result.cold, result.warm)
    )
    # That an issue no longer occurs is a change of its own.
    healthy = verdict.status in (Status.PASSED, Status.KNOWN_ISSUE, Status.UNEXPECTEDLY_FIXED)
    return Cell(
        status=verdict.status,
        depth=result.case.depth,
        saved=cold.saved if cold else None,
        loaded=warm.loaded if warm else None,
        reason=None if healthy else verdict.reasons[0],
        issues={issue.id: issue for issue in verdict.issues if issue.id in verdict.accepting},
        of_counts=frozenset(name for name, check in accepted if check.id in _OF_ARTIFACTS and not check.only_kernels),
        not_compiled=cold.torch_compile if cold else None,
    )


def _by_reason(cells: Mapping[str, tuple[Cell, Cell]]) -> list[Change]:
    """Return the changes between the cells of each model, those with the same reason together."""
    found: dict[tuple[str, str], Change] = {}
    for model, (before, after) in cells.items():
        for change in _changes(before, after):
            key = change.how, change.issue.id if change.issue else change.what
            found.setdefault(key, change).models[model] = before, after
    return list(found.values())


def _changes(before: Cell, after: Cell) -> list[Change]:
    if after.not_compiled is not None and before.not_compiled is None and before.saved:
        what = f"not compiled with torch.compile: {after.not_compiled}{_issues_of_both(before, after)}"
        return [Change("changed", None, what, {})] + [
            Change("new", issue, issue.title, {})
            for id_, issue in after.issues.items()
            if id_ not in before.issues and before.was_checked
        ]
    changes = [
        Change("new", issue, issue.title, {})
        for id_, issue in after.issues.items()
        if id_ not in before.issues and _could_show(before, after, id_)
    ]
    changes += [
        Change("gone", issue, issue.title, {})
        for id_, issue in before.issues.items()
        if id_ not in after.issues and _could_show(after, before, id_)
    ]
    if after.reason != before.reason:
        if after.reason is not None and not _failed_deeper(after, before):
            # What a crashed start would have shown is unknown.
            is_new = before.status is not Status.ERROR or after.status is Status.ERROR
            changes.append(Change("new" if is_new else "changed", None, f"{after.status}: {after.reason}", {}))
        elif before.reason is not None and after.reason is None and not _failed_deeper(before, after):
            changes.append(Change("gone", None, f"{before.status}: {before.reason}", {}))
    if not changes and after.counts != before.counts:
        changes.append(Change("changed", None, "other counts, without a known issue", {}))
    return changes


def _issues_of_both(before: Cell, after: Cell) -> str:
    """Return which known issues of a model that is not compiled any more are gone, and which remain."""
    gone = [id_ for id_ in sorted(before.issues) if id_ not in after.issues and _could_show(after, before, id_)]
    parts = [f"before, it showed {', '.join(gone)}"] if gone else []
    kept = sorted(before.issues.keys() & after.issues.keys())
    parts += [f"it still shows {', '.join(kept)}"] if kept else []
    return f" ({'; '.join(parts)})" if parts else ""


def _could_show(cell: Cell, other: Cell, issue: str) -> bool:
    """Return whether `cell` would show a known issue that `other` shows: a crash does not, and not each depth."""
    return cell.was_checked and (not _is_deeper(other, cell) or issue in other.of_counts)


def _failed_deeper(cell: Cell, other: Cell) -> bool:
    """Return whether `cell` failed at a depth that checks more than that of `other`."""
    return cell.status is Status.FAILED and _is_deeper(cell, other)


def _is_deeper(cell: Cell, other: Cell) -> bool:
    return len(cell.depth.level.checked) > len(other.depth.level.checked)


def _parsed(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        return _ANY
