"""Schedules parallel runs, longest first: predicts the end, and chooses the number of parallel runs."""

from __future__ import annotations

import math
from collections.abc import Sequence

from coldwarm.core.case import Case
from coldwarm.suite.capacity import fitting_jobs


def seconds_of(case: Case) -> float:
    """Return the measured seconds of all repetitions at depth full, by which other depths are ordered too.

    Infinity if it was never measured: it may take longest.
    """
    return case.repeat * (case.entry.seconds_of_run(case.device, case.aot_artifact) or math.inf)


def total_seconds(seconds: Sequence[float], jobs: int) -> float:
    """Return when the last run ends, if runs that take `seconds` are started longest first, `jobs` at a time."""
    ends = [0.0] * jobs
    for each in sorted(seconds, reverse=True):
        ends[ends.index(min(ends))] += each
    return max(ends)


def chosen_jobs(cases: Sequence[Case]) -> int:
    """Return how many of `cases` to run in parallel: the fewest that end as early as running all that fit.

    More would only take cores and memory from the longest run.
    """
    fitting = fitting_jobs(cases)
    seconds = [seconds_of(case) for case in cases if case.entry.unsupported_on(case.device, case.compilation) is None]
    if any(math.isinf(each) for each in seconds):
        return fitting
    end = total_seconds(seconds, fitting)
    return next(jobs for jobs in range(1, fitting + 1) if total_seconds(seconds, jobs) <= end)
