"""Prepares the comparison of two groups of runs for the templates, and renders it."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from coldwarm.comparison.compare import FailOn, RunComparison, SidesComparison
from coldwarm.comparison.exact import Direction
from coldwarm.comparison.seconds import Answer, SecondsChange
from coldwarm.core.record import StartKind
from coldwarm.diagnose.cache_layers import CacheLayer
from coldwarm.report.comparison_view import answer
from coldwarm.report.html.page import Machine, render_page
from coldwarm.report.html.run_page import RunPage, longest_start, records_of
from coldwarm.report.html.time_line import TimeLine
from coldwarm.report.summary import RunSummary

BEFORE, NOW = "before", "now"


@dataclass(frozen=True)
class ComparedRun:
    """One run that both sides have."""

    number: int
    run: RunComparison
    before: RunPage
    after: RunPage
    time_line: TimeLine
    """The cold starts of both sides, then the warm ones."""
    layers: list[tuple[str, list[CacheLayer | None]]]
    """The cache layers of both sides, by name."""

    @classmethod
    def of(cls, number: int, run: RunComparison, longest: float) -> Self:
        """Prepare a run; its parts get the numbers ``2 * number - 1`` and ``2 * number``."""
        pages = [
            RunPage.of(2 * number - 1 + place, RunSummary.of(side.result), longest)
            for place, side in enumerate((run.before, run.after))
        ]
        records = [
            (f"{kind}, {name}", record)
            for kind in StartKind
            for name, page in zip((BEFORE, NOW), pages, strict=True)
            for record in records_of(page.summary)
            if record.kind is kind
        ]
        by_name = [{layer.name: layer for layer in page.layers} for page in pages]
        names = dict.fromkeys(name for each in by_name for name in each)
        return cls(
            number=number,
            run=run,
            before=pages[0],
            after=pages[1],
            time_line=TimeLine.of(records),
            layers=[(name, [each.get(name) for each in by_name]) for name in names],
        )

    @property
    def total_seconds(self) -> list[SecondsChange | None]:
        """The wall time of the cold and the warm start; None: not on both sides."""
        return [next((e for e in self.run.seconds if e.quantity == kind), None) for kind in StartKind]

    @property
    def tested_seconds(self) -> list[SecondsChange]:
        """The quantities that were tested, totals first."""
        return [each for each in self.run.seconds if each.difference is not None]

    @property
    def too_few(self) -> SecondsChange | None:
        """A total of which there are too few starts; None: there is none."""
        return next((e for e in self.run.seconds if e.is_total and e.answer is Answer.TOO_FEW), None)

    @property
    def worse(self) -> int:
        """How many counts and findings got worse."""
        return self._count(Direction.WORSE)

    @property
    def better(self) -> int:
        """How many counts and findings got better."""
        return self._count(Direction.BETTER)

    def _count(self, direction: Direction) -> int:
        counts = sum(change.direction is direction for change in self.run.counts)
        return counts + sum(change.direction is direction for change in self.run.findings)


def render_comparison(
    comparison: SidesComparison, *, names: tuple[str, str], fail_on: Collection[FailOn] = tuple(FailOn)
) -> str:
    """Return the comparison as HTML.

    Args:
        comparison: The comparison.
        names: The names of the older and the newer side.
        fail_on: The regressions that the headline is about.
    """
    sides = [[RunSummary.of(side.result) for side in (run.before, run.after)] for run in comparison.runs]
    longest = longest_start([summary for both in sides for summary in both])
    return render_page(
        "comparison.html.jinja",
        comparison=comparison,
        headline="".join(answer(comparison, fail_on)).removesuffix("."),
        sides=[(name, Machine.of([both[place] for both in sides])) for place, name in enumerate(names)],
        runs=[ComparedRun.of(number, run, longest) for number, run in enumerate(comparison.runs, start=1)],
    )
