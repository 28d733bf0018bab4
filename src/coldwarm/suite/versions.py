"""Compares stored suites of several versions of the engine: what each version broke or fixed, model by model."""

from __future__ import annotations

from collections.abc import Sequence
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
    def counts(self) -> tuple[int | None, int | None]:
        """Artifacts saved and loaded."""
        return self.saved, self.loaded


@dataclass
class Column:
    """One version of the engine, with the suites that were made with it."""

    version: str
    torch: str
    depth: Depth
    suites: list[str] = field(default_factory=list)
    """The names of their folders."""
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
        found: dict[tuple[str, str], Change] = {}
        after = self.columns[number]
        for model in self.models():
            cell = after.cells.get(model)
            before = next((c.cells[model] for c in reversed(self.columns[:number]) if model in c.cells), None)
            if cell is None or before is None:
                continue
            for change in _changes(model, before, cell):
                key = change.how, change.issue.id if change.issue else change.what
                found.setdefault(key, change).models[model] = before, cell
        return list(found.values())


def compare_versions(folders: Sequence[Path], catalog: Catalog) -> list[VersionTable]:
    """Return a table for each device and way of compiling in the stored suites, if it has several versions.

    If several suites have the same model with the same version, the deepest and then the latest counts. Runs with
    options or with changes of the warm start are left out.

    Raises:
        UsageError: A folder contains no suite, or no table would have two versions.
    """
    tables: dict[tuple[str, str, str | None, str], VersionTable] = {}
    began: dict[tuple[int, str], datetime] = {}
    for folder in folders:
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
    several = [_without_shallow(table) for table in tables.values()]
    several = [table for table in several if len(table.columns) > 1]
    if not several:
        raise UsageError("these suites have no two versions of the engine on the same device with the same settings")
    return sorted(several, key=lambda table: (table.device, table.compilation, table.aot_artifact or ""))


def _versions(results: Sequence[RunResult], engine: str) -> tuple[str, str] | None:
    """Return the versions of the engine and of torch in a suite; a crashed start did not record them."""
    for result in results:
        for record in (result.cold, result.warm):
            if record is not None and record.facts is not None:
                versions = record.facts.versions
                return versions.get(engine, "?"), versions.get("torch", "?")
    return None


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


def _without_shallow(table: VersionTable) -> VersionTable:
    """Leave out what was measured at depth count, if the same versions were measured at depth full."""
    full = {(each.version, each.torch) for each in table.columns if each.depth is Depth.FULL}
    table.columns = [
        each for each in table.columns if each.depth is Depth.FULL or (each.version, each.torch) not in full
    ]
    return table


def _cell(result: RunResult) -> Cell:
    verdict, vocabulary = result.verdict, load_vocabulary(result.case.engine)
    accepted = [
        (name, check)
        for check in verdict.checks
        if check.accepted_by
        for name in (check.accepted_by, *check.accepted_in_part_by)
    ]
    cold, warm = (
        next(iter(vocabulary.compile_stats(record).values()), None) if record is not None else None
        for record in (result.cold, result.warm)
    )
    # That an issue no longer occurs is a change of its own.
    healthy = verdict.status in (Status.PASSED, Status.KNOWN_ISSUE, Status.UNEXPECTEDLY_FIXED)
    return Cell(
        status=verdict.status,
        saved=cold.saved if cold else None,
        loaded=warm.loaded if warm else None,
        reason=None if healthy else verdict.reasons[0],
        issues={issue.id: issue for issue in verdict.issues if issue.id in {name for name, _ in accepted}},
        of_counts=frozenset(name for name, check in accepted if check.id in _OF_ARTIFACTS and not check.only_kernels),
        not_compiled=cold.torch_compile if cold else None,
    )


def _changes(model: str, before: Cell, after: Cell) -> list[Change]:
    if after.not_compiled is not None and before.not_compiled is None and before.saved:
        gone = f" (before, it showed {', '.join(sorted(before.issues))})" if before.issues else ""
        return [Change("changed", None, f"not compiled with torch.compile: {after.not_compiled}{gone}", {})] + [
            Change("new", issue, issue.title, {}) for id_, issue in after.issues.items() if id_ not in before.issues
        ]
    changes = [Change("new", issue, issue.title, {}) for id_, issue in after.issues.items() if id_ not in before.issues]
    changes += [
        Change("gone", issue, issue.title, {}) for id_, issue in before.issues.items() if id_ not in after.issues
    ]
    if after.reason != before.reason:
        if after.reason is not None:
            changes.append(Change("new", None, f"{after.status}: {after.reason}", {}))
        elif before.reason is not None:
            changes.append(Change("gone", None, f"{before.status}: {before.reason}", {}))
    if not changes and after.counts != before.counts:
        changes.append(Change("changed", None, "other counts, without a known issue", {}))
    return changes


def _parsed(version: str) -> Version:
    try:
        return Version(version)
    except InvalidVersion:
        return _ANY
