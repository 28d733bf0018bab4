"""Compares two groups of runs: verdicts, counts, key components and findings exactly, seconds with rank tests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from coldwarm.checks.verdict import Status
from coldwarm.comparison.exact import (
    CountChange,
    Direction,
    FindingChange,
    changed_counts,
    changed_findings,
    changed_keys,
    counts_of_both,
    have_counts_in_common,
)
from coldwarm.comparison.seconds import Answer, SecondsChange, compare_seconds, differing_conditions, needed
from coldwarm.comparison.sides import Side
from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.exit_codes import ExitCode
from coldwarm.suite.versions import Comparison, compare_results


class FailOn(StrEnum):
    """What makes a comparison fail."""

    COUNTS = "counts"
    """A count of compiler work that is higher, or artifacts that are saved and not loaded."""
    FINDINGS = "findings"
    """A verdict that got worse, a new known issue or a new finding."""
    TIME = "time"
    """A start or a phase that is significantly slower."""


@dataclass(frozen=True)
class RunComparison:
    """What is different in the newer runs of one model."""

    name: str
    before: Side
    after: Side
    settings: dict[str, tuple[str | None, str | None]]
    """The user's settings that differ, with both values; None: not set."""
    conditions: list[str]
    """The conditions of the measurement that differ, so that seconds were not compared."""
    counts: list[CountChange]
    is_uncounted: bool
    """Whether starts of both sides finished, and were counted on at least one, and no count can be compared."""
    keys: list[ChangedFactor] | None
    """The components of the cold starts' cache keys that differ; None: not recorded on both sides."""
    findings: list[FindingChange]
    seconds: list[SecondsChange]

    @property
    def crashed(self) -> bool:
        """Whether the newer side has nothing to compare, although the device can run the model."""
        return self.after.result.verdict.status is Status.ERROR


@dataclass(frozen=True)
class SidesComparison:
    """What is different in the newer one of two groups of runs."""

    verdicts: Comparison
    """The versions, and the verdicts, known issues and artifact counts that changed, by reason."""
    runs: list[RunComparison]
    """The runs that both groups have."""
    starts_needed: int
    """How many starts of each kind both sides need at least, so that seconds can be compared."""
    not_started: list[str] = field(default_factory=list)
    """Runs of the newer group that were not started, because it was aborted."""

    @property
    def measured(self) -> bool:
        """Whether anything was compared: both sides have a finished start of the same run."""
        return any(run.seconds or (run.before.counts() and run.after.counts()) for run in self.runs)

    def regressions(self) -> set[FailOn]:
        """Return what got worse."""
        found = set()
        if any(each.direction is Direction.WORSE for run in self.runs for each in run.counts):
            found.add(FailOn.COUNTS)
        broke = any(change.how == "new" for change in self.verdicts.changes)
        if broke or any(each.direction is Direction.WORSE for run in self.runs for each in run.findings):
            found.add(FailOn.FINDINGS)
        if any(each.answer is Answer.SLOWER for run in self.runs for each in run.seconds):
            found.add(FailOn.TIME)
        return found

    def untold(self) -> list[RunComparison]:
        """Return the runs with totals of which the seconds could not be compared."""
        unknown = (Answer.TOO_FEW, Answer.OTHER_CONDITIONS)
        return [run for run in self.runs if any(each.is_total and each.answer in unknown for each in run.seconds)]

    def uncounted(self) -> list[RunComparison]:
        """Return the runs of which no count could be compared."""
        return [run for run in self.runs if run.is_uncounted]

    def exit_code(self, fail_on: Collection[FailOn]) -> ExitCode:
        """Return the exit code of a command that fails on these regressions; 0 with none, whatever was found.

        Args:
            fail_on: The regressions that count. If it is not empty, a comparison of nothing is not healthy, either.
        """
        if not fail_on:
            return ExitCode.HEALTHY
        if self.not_started or any(run.crashed for run in self.runs):
            return ExitCode.CRASHED
        if self.regressions() & set(fail_on):
            return ExitCode.FAILED
        if not self.measured or (FailOn.TIME in fail_on and self.untold()):
            return ExitCode.USAGE
        if FailOn.COUNTS in fail_on and self.uncounted():
            return ExitCode.USAGE
        return ExitCode.HEALTHY


def compare_sides(
    before: Mapping[str, Side], after: Mapping[str, Side], not_started: Sequence[str] = ()
) -> SidesComparison:
    """Return how the runs in `after` differ from those in `before`, both by name.

    Args:
        before: The older runs.
        after: The newer runs.
        not_started: The names of newer runs that were not started.

    Raises:
        UsageError: There are enough starts to compare seconds, and scipy is not installed.
    """
    verdicts = compare_results(
        {name: side.result for name, side in before.items()}, {name: side.result for name, side in after.items()}
    )
    pairs = {name: (before[name], after[name]) for name in verdicts.compared}
    seconds = compare_seconds(pairs)
    runs = [_run(name, *sides, seconds[name]) for name, sides in pairs.items()]
    return SidesComparison(verdicts, runs, needed(seconds), list(not_started))


def _run(name: str, before: Side, after: Side, seconds: list[SecondsChange]) -> RunComparison:
    old, new = before.settings(), after.settings()
    counts = counts_of_both(before, after)
    return RunComparison(
        name=name,
        before=before,
        after=after,
        settings={key: (old.get(key), new.get(key)) for key in {**old, **new} if old.get(key) != new.get(key)},
        conditions=differing_conditions(before, after),
        counts=changed_counts(*counts),
        is_uncounted=any(counts)
        and bool(before.finished() and after.finished())
        and not have_counts_in_common(*counts),
        keys=changed_keys(before, after),
        findings=changed_findings(before, after),
        seconds=seconds,
    )
