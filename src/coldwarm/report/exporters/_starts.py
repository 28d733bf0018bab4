"""The starts of a suite as plain quantities, for formats that have numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from coldwarm.core.record import Outcome, StartRecord
from coldwarm.core.stats import CompileStats
from coldwarm.engines.base import load_vocabulary
from coldwarm.report.summary import RunSummary, SuiteSummary
from coldwarm.suite.result import Repetition


@dataclass(frozen=True)
class ExportedStart:
    """One start of a run."""

    run: RunSummary
    repetition: int
    """From 1."""
    verdict: str
    """That of the repetition."""
    record: StartRecord

    @property
    def finished(self) -> bool:
        """Whether it ended as it should, so that its times and counts mean anything."""
        return self.record.outcome is Outcome.FINISHED

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions by distribution name; empty if it did not finish."""
        return self.record.facts.versions if self.record.facts is not None else {}

    @property
    def phases(self) -> dict[str, float]:
        """Seconds by phase, in order."""
        return {phase.name: phase.seconds for phase in self.record.phases}

    @property
    def counts(self) -> dict[int, dict[str, int]]:
        """The counts of each rank by name, without those that were not counted; empty if it did not finish."""
        stats = load_vocabulary(self.record.engine).compile_stats(self.record)
        has_artifacts = self.record.depth.level.has_artifacts
        return {rank: _counts(each, has_artifacts=has_artifacts) for rank, each in stats.items()}


COUNTS: Mapping[str, str] = {
    "subgraphs": "Subgraphs of the compiled models, including identical ones.",
    "unique_subgraphs": "Subgraphs that are not identical to an earlier one.",
    "artifacts_saved": "Artifacts that the start saved to the cache.",
    "artifacts_loaded": "Artifacts that the start loaded from the cache.",
    "aot_autograd_misses": "Misses of the AOTAutograd cache.",
    "code_generations": "How often Inductor generated code for a graph.",
    "kernels_compiled": "Kernels that kernel compilers such as Triton compiled.",
    "kernels_compiled_after_ready": "Kernels that were compiled after the engine was ready.",
}
"""What each of the counts means, in order."""


def exported_starts(summary: SuiteSummary) -> Iterator[ExportedStart]:
    """Yield all starts of all runs, in the order in which they were made."""
    for run in summary.runs:
        result = run.result
        alone = Repetition(1, result.cold, result.warm, result.verdict, result.explanation)
        for each in result.repetitions or (alone,):
            for record in (each.cold, each.warm):
                if record is not None:
                    yield ExportedStart(run, each.number, each.verdict.status, record)


def _counts(stats: CompileStats, *, has_artifacts: bool) -> dict[str, int]:
    kernels = stats.kernels
    found: dict[str, int | None] = {"subgraphs": stats.subgraphs, "unique_subgraphs": stats.unique}
    if has_artifacts:  # else nothing is compiled, and zeros would be meaningless
        found |= {
            "artifacts_saved": stats.saved,
            "artifacts_loaded": stats.loaded,
            "aot_autograd_misses": stats.misses,
            "code_generations": stats.code_generations,
        }
        if kernels is not None:
            found["kernels_compiled"] = kernels.compiled
            found["kernels_compiled_after_ready"] = sum(each.times for each in kernels.after_ready)
    return {name: value for name, value in found.items() if value is not None}
