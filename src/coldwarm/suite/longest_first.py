"""Runs side by side, the longest first: when the last one ends, and how many at a time bring that about."""

from __future__ import annotations

import math
from collections.abc import Sequence

from coldwarm.core.case import Case
from coldwarm.suite.capacity import fitting_jobs


def seconds_of(case: Case) -> float:
    """How long the run took when it was timed, at depth full, by which other depths are ordered too; infinity where it
    never was: it may take longest."""
    return case.entry.seconds_of_run(case.device, case.aot_artifact) or math.inf


def seconds_in_all(seconds: Sequence[float], jobs: int) -> float:
    """When the last of the runs that take `seconds` ends, `jobs` at a time, the longest first."""
    ends = [0.0] * jobs
    for each in sorted(seconds, reverse=True):
        ends[ends.index(min(ends))] += each
    return max(ends)


def chosen_jobs(cases: Sequence[Case]) -> int:
    """How many of `cases` to run at one time, at least 1: the fewest that end as early as all that fit would.

    More could only take cores and memory from the longest run, which all wait for.
    """
    fitting = fitting_jobs(cases)
    seconds = [seconds_of(case) for case in cases if case.entry.unsupported_on(case.device, case.compilation) is None]
    if any(math.isinf(each) for each in seconds):
        return fitting
    end = seconds_in_all(seconds, fitting)
    return next(jobs for jobs in range(1, fitting + 1) if seconds_in_all(seconds, jobs) <= end)
