"""What is compared: on each side, all runs of one model with the same settings."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from coldwarm.checks.run_context import context_of, warm_changes
from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.depth import Depth
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.options import flatten
from coldwarm.core.record import Outcome, StartKind, StartRecord
from coldwarm.core.stats import CompileStats
from coldwarm.engines.base import load_vocabulary
from coldwarm.suite.result import Repetition, RunResult, worst

NOT_LOADED = "artifacts saved and not loaded"
"""The count of artifacts that the cold start saved and the warm start did not load."""
OF_RANK = " of rank "
"""Comes before the number of the rank, in the name of a count of a start with several ranks."""
Counts = Mapping[str, tuple[int, ...]]
"""All values of each count, sorted, by name."""
_NOT_THE_MACHINE = ("system",)
"""What is recorded with the hardware, and changes with each update of the operating system."""
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Side:
    """The runs of one model on one side of a comparison: several, if it was repeated or run several times."""

    results: Sequence[RunResult]
    """Not empty, the oldest first."""
    keys: Mapping[StartKind, CacheKeys] = field(default_factory=dict)
    """The components of the cache keys of the newest run, in its first rank; missing: not recorded."""

    @property
    def result(self) -> RunResult:
        """The run with the worst verdict, the newest of several."""
        return worst(list(reversed(self.results)))

    @property
    def packages(self) -> dict[str, str]:
        """The versions of all packages that the newest finished start recorded."""
        return next((dict(each.facts.versions) for each in reversed(self.finished()) if each.facts is not None), {})

    def starts(self, kind: StartKind) -> list[StartRecord]:
        """Return the finished starts of this kind, the oldest first."""
        return [record for record in self.finished() if record.kind is kind]

    def counts(self) -> Counts:
        """Return all values of each count, sorted, by a name such as ``warm saved``.

        A healthy run has one value. Several values show that its repetitions or runs differ.
        """
        values: dict[str, set[int]] = {}
        for each in self._repetitions():
            for name, value in _counts(each.cold, each.warm):
                values.setdefault(name, set()).add(value)
        return {name: tuple(sorted(found)) for name, found in values.items()}

    def findings(self) -> dict[str, Finding]:
        """Return the findings on the model in any of the runs, each with what identifies it.

        Numbers in the message do not identify a finding, because seconds and line numbers vary.
        """
        found: dict[str, Finding] = {}
        for each in self._repetitions():
            for finding in each.explanation.findings if each.explanation is not None else []:
                if finding.kind is not FindingKind.IMPORTED_FROM_SOURCE:
                    what = [finding.kind, finding.start, finding.kernel or "", _NUMBER.sub("#", finding.what)]
                    found.setdefault("\n".join(what), finding)
        return found

    def could_find(self, finding: Finding) -> bool:
        """Return whether the lack of `finding` means something: a start of its kind finished, and was explained."""
        return any(
            record is not None and record.kind is finding.start and record.outcome is Outcome.FINISHED
            for each in self._repetitions()
            if each.explanation is not None and not each.explanation.failed
            for record in (each.cold, each.warm)
        )

    def settings(self) -> dict[str, str]:
        """Return the user's settings of the newest run, by name."""
        result = self.results[-1]
        settings = {"compilation": result.case.compilation, "device": result.case.device}
        settings |= {f"option {name}": value for name, value in flatten(result.case.options).items()}
        if (cold := next(iter(reversed(self.starts(StartKind.COLD))), None)) is not None:
            settings |= {f"variable {name}": value for name, value in context_of(cold).environment.items()}
            settings |= {f"warm start {each}": "yes" for each in warm_changes(cold, result.warm)}
        return settings

    def conditions(self) -> dict[str, str]:
        """Return the conditions under which seconds were measured, by name; they have to be the same on both sides."""
        finished = self.finished()
        hardware = [record.facts.hardware for record in finished if record.facts is not None]
        names = dict.fromkeys(name for each in hardware for name in each if name not in _NOT_THE_MACHINE)
        return {
            **{name: _listed(each.get(name, "unknown") for each in hardware) for name in names},
            "depth": _listed(record.depth for record in finished),
            "isolation": _listed(record.isolation for record in finished),
        }

    @property
    def most_in_parallel(self) -> int:
        """The most starts that ran in parallel with one of these, including itself."""
        return max((record.side_by_side for record in self.finished()), default=1)

    def finished(self) -> list[StartRecord]:
        """Return all finished starts, the oldest first."""
        records = [record for result in self.results for record in result.records]
        return [record for record in records if record.outcome is Outcome.FINISHED]

    def _repetitions(self) -> Iterator[Repetition]:
        for result in self.results:
            alone = Repetition(1, result.cold, result.warm, result.verdict, result.explanation)
            yield from result.repetitions or (alone,)


def _listed(values: Iterable[str]) -> str:
    return " and ".join(sorted(set(values)))


def _counts(cold: StartRecord | None, warm: StartRecord | None) -> Iterator[tuple[str, int]]:
    """Yield the counts of a cold and a warm start, with their names, for each rank."""
    ranks: dict[StartKind, dict[int, CompileStats]] = {}
    for record in (cold, warm):
        if record is None:
            continue
        ranks[record.kind] = stats = load_vocabulary(record.engine).compile_stats(record)
        for rank, of_rank in stats.items():
            where = f"{OF_RANK}{rank}" if len(stats) > 1 else ""
            for name, value in _of_rank(of_rank, record.depth).items():
                if value is not None:
                    yield f"{record.kind} {name}{where}", value
    if all(ranks.get(kind) for kind in StartKind):
        saved = sum(each.saved for each in ranks[StartKind.COLD].values())
        loaded = sum(each.loaded for each in ranks[StartKind.WARM].values())
        yield NOT_LOADED, max(0, saved - loaded)


def _of_rank(stats: CompileStats, depth: Depth) -> dict[str, int | None]:
    kernels = stats.kernels
    of_graphs = {"subgraphs": stats.subgraphs, "unique subgraphs": stats.unique}
    if not depth.level.has_artifacts:  # nothing is compiled, so the other counts mean nothing
        return of_graphs
    return of_graphs | {
        "saved": stats.saved,
        "loaded": stats.loaded,
        "AOTAutograd misses": stats.misses,
        "code generations": stats.code_generations,
        "kernels compiled": kernels.compiled if kernels is not None else None,
        "kernels compiled after ready": sum(each.times for each in kernels.after_ready)
        if kernels is not None
        else None,
    }
