"""Compares what stored runs measured with the expectations of the catalog, and decides what to write into it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic_core import from_json, to_json

from coldwarm.catalog.catalog import Catalog, CatalogModel, is_file, read_model
from coldwarm.catalog.preparing import config_for, drafter_for, overrides_for
from coldwarm.catalog.writing import Edit, with_expectations
from coldwarm.checks.expectations import applicable, is_reported_at
from coldwarm.checks.invariants import NOT_COMPILED
from coldwarm.checks.known_issues import IssueSeen
from coldwarm.checks.run_context import context_of, warm_changes
from coldwarm.checks.verdict import Status
from coldwarm.core.conditions import VERSIONED, Conditions, RunContext
from coldwarm.core.errors import nearest
from coldwarm.core.finding import Finding
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.issue_reference import reference
from coldwarm.core.model_entry import Expectation
from coldwarm.core.record import StartKind
from coldwarm.engines.base import load_vocabulary
from coldwarm.store.suite_folder import StoredRun, read_runs
from coldwarm.suite.measurement import conditions_of_times, expectation_of
from coldwarm.suite.result import RunResult
from coldwarm.suite.stored import current_model

_PLATFORM = ("device", "compilation", "aot_artifact")


class Decision(StrEnum):
    """What to do with the measurements of a run."""

    UNCHANGED = "unchanged"
    """The catalog has an expectation for these conditions, and the run meets it."""
    CHANGED = "changed"
    """The catalog has an expectation for these conditions, and it is to be replaced."""
    NEW = "new"
    """The catalog has no expectation for these conditions, and one is to be added."""
    REFUSED = "refused"
    UNSUPPORTED = "unsupported"
    """The device cannot run the model, so nothing was measured."""


@dataclass(frozen=True)
class Change:
    """A value that differs from the one that it is compared with."""

    name: str
    """The key in the catalog: ``cold.vllm.num_compiled_artifacts_saved``."""
    old: str
    new: str


@dataclass(frozen=True)
class Acceptance:
    """The decision on one run, or on several runs of one model under the same conditions."""

    run: str
    """The name of the run."""
    decision: Decision
    path: Path | None = None
    """The TOML file of the model; None: it has none."""
    when: Conditions | None = None
    """The conditions of the run; None: it did not finish."""
    compared_with: Conditions | None = None
    """If new: the conditions of the expectation that it is compared with; None: there is none for this platform."""
    changes: list[Change] = field(default_factory=list)
    why: list[str] = field(default_factory=list)
    """Known issues and findings that may explain the changes."""
    reasons: list[str] = field(default_factory=list)
    """If refused: why, and what to do."""
    to_do: list[str] = field(default_factory=list)
    """What remains to be done by hand."""
    edits: list[Edit] = field(default_factory=list)


@dataclass(frozen=True)
class FileChange:
    """A catalog file before and after all accepted runs."""

    path: Path
    before: str
    after: str


def accept(folders: Sequence[Path], catalog: Catalog) -> list[Acceptance]:
    """Decide on all runs in `folders`, each a suite or a single run. Nothing is written.

    Raises:
        UsageError: A folder contains no readable run.
        CatalogError: A catalog entry cannot be used.
    """
    runs = [each for folder in folders for run in read_runs(folder) for each in run.all_repetitions]
    found: dict[object, list[tuple[StoredRun, Acceptance]]] = {}
    for number, run in enumerate(runs):
        decided = _decide(run, _model_of(run, catalog))
        # Runs of one model under the same conditions.
        same = (decided.path, decided.when.model_dump_json()) if decided.when and decided.edits else number
        found.setdefault(same, []).append((run, decided))
    return [_in_agreement(same) for same in found.values()]


def file_changes(decided: Iterable[Acceptance]) -> list[FileChange]:
    """Return the changes of catalog files, in the order of the runs.

    Raises:
        CatalogError: A file has a layout that does not allow them.
    """
    edits: dict[Path, list[Edit]] = {}
    for each in decided:
        if each.path is not None and each.edits:
            edits.setdefault(each.path, []).extend(each.edits)
    changes = []
    for path, of_file in edits.items():
        before = path.read_text(encoding="utf-8")
        if (after := with_expectations(path, before, of_file)) != before:
            changes.append(FileChange(path, before, after))
    return changes


def _model_of(run: StoredRun, catalog: Catalog) -> CatalogModel | None:
    if (model := current_model(run.case, catalog)) is not None:
        return model
    path = Path(run.case.argument)
    if run.case.named_by_id is False and path.suffix == ".toml" and is_file(path):
        model = read_model(path)
        return model if model.entry.id == run.case.model_id else None
    return None


def _decide(run: StoredRun, model: CatalogModel | None) -> Acceptance:
    case, name = run.case, run.case.name
    if case.command is not None:
        return Acceptance(name, Decision.REFUSED, reasons=["a command of yours has no expectations: it is no model"])
    if model is None:
        return Acceptance(name, Decision.REFUSED, reasons=[_no_entry(run)])
    case = case.model_copy(update={"entry": model.entry})
    result = RunResult.of(case, run.cold, run.warm, run.explanation)
    if result.verdict.status is Status.UNSUPPORTED:
        return Acceptance(name, Decision.UNSUPPORTED, model.path)
    if result.verdict.status is Status.ERROR:
        return Acceptance(name, Decision.REFUSED, model.path, reasons=result.verdict.reasons)
    assert run.cold is not None
    context = context_of(run.cold)
    reasons = [*_unhealthy(result, context), *_other_settings(result, context), *_other_model(run, model)]
    if reasons:
        return Acceptance(name, Decision.REFUSED, model.path, Conditions.of(context), reasons=reasons)
    return _compare(result, model, context)


def _no_entry(run: StoredRun) -> str:
    if Path(run.case.argument).suffix == ".toml":
        return f"no such catalog file: {run.case.argument}; run the command in the folder in which it was run"
    if run.case.catalog is not None or run.case.named_by_id:
        catalog = run.case.catalog or "the packaged catalog"
        return f"no model {run.case.model_id!r} in the catalog; it was in {catalog}: give the same --catalog"
    return f"{run.case.argument} is not in a catalog; `coldwarm add {run.case.argument}` makes an entry for it"


def _unhealthy(result: RunResult, context: RunContext) -> list[str]:
    """Return the broken invariants that no known issue accepts, with known issues that may be extended."""
    reasons = []
    invariants = set(InvariantId)
    for check in result.verdict.checks:
        if check.holds or check.accepted_by is not None or check.id not in invariants:
            continue
        reasons.append(f"{check.id} does not hold: {check.words}")
        reasons += [
            f"  known issue {issue.id} breaks it too, but only if {issue.when}; if this is the same issue, extend its "
            f"`when` ({reference(issue, quoted=True)})"
            for issue in result.case.entry.known_issue
            if check.id in issue.breaks and not issue.when.matches(context)
        ]
    if reasons:
        reasons.append(
            "  find the cause with `coldwarm explain`, fix it or declare a [[known_issue]], and accept again"
        )
    return reasons


def _other_settings(result: RunResult, context: RunContext) -> list[str]:
    """Return why the run's settings do not allow its counters as expectations."""
    case, cold = result.case, result.cold
    assert cold is not None
    reasons = []
    if not cold.depth.level.has_artifacts:
        reasons.append(f"it was run with --depth {cold.depth}, at which nothing is saved or loaded; run it without")
    if changed := warm_changes(cold, result.warm):
        reasons.append(f"its warm start had settings of its own: it was not run {', '.join(changed)}")
    if (context.options or context.environment) and not applicable(case.entry, context):
        settings = [f"--set {name}={value}" for name, value in context.options.items()]
        settings += [f"{name}={value}" for name, value in context.environment.items()]
        reasons.append(
            f"it was run with {', '.join(settings)}, and no expectation is for that; run it without, or write an "
            "[[expect]] with these options and environment in its `when` by hand"
        )
    return reasons


def _other_model(run: StoredRun, model: CatalogModel) -> list[str]:
    """Return why the entry of the model does not describe what was started."""
    case, device = run.case, run.case.device
    if model.entry.unsupported_on(device, case.compilation) is not None:
        return [f"{model.path} declares it [[unsupported]] on {device}; remove that first, as it ran"]
    started = case.config, case.overrides, case.drafter, case.files, case.entry.options
    declared = config_for(model, device), overrides_for(model, device), drafter_for(model, device), dict(model.files)
    if _as_stored(started) != _as_stored((*declared, model.entry.options)):
        return [f"it was started with another config or other overrides than {model.path} has now; run it again"]
    return []


def _as_stored(settings: object) -> object:
    # A stored config has null for infinity.
    return from_json(to_json(settings, inf_nan_mode="null"))


def _compare(result: RunResult, model: CatalogModel, context: RunContext) -> Acceptance:
    cold, warm, entry = result.cold, result.warm, model.entry
    assert cold is not None and warm is not None
    when, note = Conditions.of(context), conditions_of_times(cold, warm)
    fixed = [issue for issue in result.verdict.issues if not issue.shows]
    to_do = [
        f"known issue {issue.id} no longer occurs; remove its [[known_issue]] from {model.path} ({reference(issue)})"
        for issue in fixed
        if any(issue.id == declared.id for declared in entry.known_issue)
    ]
    numbers = [number for number, row in enumerate(entry.expect) if row.when.matches(context)]
    if not numbers:
        return _new(result, model, when, note, to_do)
    changes: list[Change] = []
    edits: list[Edit] = []
    problems: list[str] = []
    for number in numbers:
        old = entry.expect[number]
        compared = _reported(old, result)
        problems += _missing(old, result)
        fixed_ids = {issue.id for issue in fixed}
        has_counters = bool(compared.cold or compared.warm)
        new = expectation_of(cold, warm, result.verdict, _names(compared)) if has_counters else old
        changed = _changes(compared, new, issues_fixed=fixed_ids)
        if compared != old and (changed or not has_counters):
            problems.append(
                f"--depth {cold.depth} does not measure all counters of the expectation for {old.when}, and the run "
                "does not show that it is met; run it without"
            )
        if not changed:
            # Its counters still have to agree with those of other runs.
            edits.append(Edit(old, number, note))
            continue
        changes += changed
        kept = {
            "when": old.when,
            "seconds": old.seconds and (new.seconds or old.seconds),
            "memory": old.memory and (new.memory or old.memory),
        }
        edits.append(Edit(new.model_copy(update=kept), number, note))
    if problems:
        return Acceptance(result.case.name, Decision.REFUSED, model.path, when, reasons=problems)
    if not changes:
        return Acceptance(result.case.name, Decision.UNCHANGED, model.path, when, to_do=to_do, edits=edits)
    why = _why(result, fixed)
    return Acceptance(
        result.case.name, Decision.CHANGED, model.path, when, changes=changes, why=why, to_do=to_do, edits=edits
    )


def _new(result: RunResult, model: CatalogModel, when: Conditions, note: str, to_do: list[str]) -> Acceptance:
    cold, warm = result.cold, result.warm
    assert cold is not None and warm is not None
    older = _similar(model.entry.expect, when, cold.facts.versions if cold.facts else {})
    names = load_vocabulary(cold.engine).expected_counters
    if older is not None:
        names = {start: tuple(dict.fromkeys([*own, *names.get(start, ())])) for start, own in _names(older).items()}
    new = expectation_of(cold, warm, result.verdict, names)
    changes = _changes(_reported(older, result), new, issues_fixed=set(older.shows)) if older else []
    gone = sorted(set(older.shows) - set(new.shows)) if older else []
    why = [f"known issue {name} does not occur" for name in gone] + (_why(result, []) if changes else [])
    return Acceptance(
        result.case.name,
        Decision.NEW,
        model.path,
        when,
        compared_with=older.when if older else None,
        changes=changes,
        why=why,
        to_do=to_do,
        edits=[Edit(new, None, note)],
    )


def _names(row: Expectation) -> dict[StartKind, tuple[str, ...]]:
    return {StartKind.COLD: tuple(row.cold), StartKind.WARM: tuple(row.warm)}


def _reported(row: Expectation, result: RunResult) -> Expectation:
    """Return `row` with only those counters that mean something at the depth of the run."""
    assert result.cold is not None
    depth = result.cold.depth
    counters = {
        kind: {name: count for name, count in expected.items() if is_reported_at(name, depth, {})}
        for kind, expected in (("cold", row.cold), ("warm", row.warm))
    }
    return row.model_copy(update=counters)


def _missing(old: Expectation, result: RunResult) -> list[str]:
    """Return a message for each expected counter that the version of the run does not have."""
    messages = []
    for record, counters in ((result.cold, old.cold), (result.warm, old.warm)):
        assert record is not None and record.facts is not None
        seen = record.facts.counters
        messages += [
            f"no counter {name!r} in this version{nearest(name, seen)}; change the expectation for {old.when} by hand"
            for name in counters
            if name not in seen
        ]
    return list(dict.fromkeys(messages))


def _changes(old: Expectation, new: Expectation, *, issues_fixed: set[str]) -> list[Change]:
    """Return how the counters of `new` differ from those of `old`, and which of the engine's issues are fixed."""
    changes = [
        Change(f"{kind}.{name}", str(counters[name]), str(after[name]) if name in after else "no such counter")
        for kind, counters, after in (("cold", old.cold, new.cold), ("warm", old.warm, new.warm))
        for name in counters
        if counters[name] != after.get(name)
    ]
    # An issue that is not named in `shows` is not a change by itself: naming it is a choice.
    if issues_fixed & set(old.shows) - set(new.shows) or (changes and old.shows != new.shows):
        changes.append(Change("shows", ", ".join(old.shows) or "none", ", ".join(new.shows) or "none"))
    return changes


def _similar(rows: Sequence[Expectation], when: Conditions, versions: dict[str, str]) -> Expectation | None:
    """Return the expectation of the same platform that was measured with the nearest versions, preferably older."""

    def distance(row: Expectation) -> tuple[bool, list[float]]:
        known = [_lowest(getattr(row.when, name)) for name in reversed(VERSIONED)]
        seen = [_lowest(f"=={versions[name]}") if name in versions else 0.0 for name in reversed(VERSIONED)]
        return known[0] > seen[0], [abs(a - b) for a, b in zip(known, seen, strict=True)]

    same = [
        row
        for row in rows
        if all(getattr(row.when, name) in (None, getattr(when, name)) for name in _PLATFORM)
        and (row.when.options, row.when.environment) == (when.options, when.environment)
    ]
    return min(same, key=distance, default=None)


def _lowest(specifier: str | None) -> float:
    """Return the lowest version that a specifier names, as a number; 0 if it names none."""
    found = [0.0]
    for each in SpecifierSet(specifier or ""):
        try:
            version = Version(each.version.removesuffix(".*"))
        except InvalidVersion:
            continue
        found.append(version.major * 1e6 + version.minor * 1e3 + version.micro)
    return min(found[1:], default=0.0)


def _why(result: RunResult, fixed: Sequence[IssueSeen]) -> list[str]:
    """Return known issues that occur or no longer occur, and the findings on the model."""
    accepting = result.verdict.accepting
    shown = [issue for issue in result.verdict.issues if issue.id in accepting]
    why = [note for note in result.verdict.notes if note.startswith(NOT_COMPILED)]
    why += [f"known issue {issue.id} occurs: {issue.title} ({reference(issue)})" for issue in shown]
    why += [f"known issue {issue.id} no longer occurs: {issue.title} ({reference(issue)})" for issue in fixed]
    why += [_finding(finding) for finding in result.findings_on_model]
    return why or ["not known: no known issue and no finding; `coldwarm explain` shows both starts"]


def _finding(finding: Finding) -> str:
    return f"{finding.kind}, {finding.start}: {finding.what}" + (f" at {finding.where}" if finding.where else "")


def _in_agreement(same: Sequence[tuple[StoredRun, Acceptance]]) -> Acceptance:
    """Return the decision on runs of one model under the same conditions, which must have the same counters."""
    # Their times may differ; the latest are kept.
    _, latest = max(same, key=lambda each: each[0].cold.began.timestamp() if each[0].cold else 0.0)
    seen: dict[str, set[int]] = {}
    for _, decided in same:
        for name, count in _counters(decided.edits).items():
            seen.setdefault(name, set()).add(count)
    differing = [
        f"{name} is {' or '.join(map(str, sorted(counts)))}" for name, counts in seen.items() if len(counts) > 1
    ]
    if not differing:
        return latest
    folders = ", ".join(str(run.folder) for run, _ in same)
    reason = f"these runs do not agree ({folders}): {', '.join(differing)}; a counter that varies cannot be expected"
    return Acceptance(latest.run, Decision.REFUSED, latest.path, latest.when, reasons=[reason])


def _counters(edits: Sequence[Edit]) -> dict[str, int]:
    return {
        f"{kind}.{name}": count
        for edit in edits
        for kind, counters in (("cold", edit.expectation.cold), ("warm", edit.expectation.warm))
        for name, count in counters.items()
    }
