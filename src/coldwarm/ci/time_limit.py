"""Derives the time limit of a step from recorded run times."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from coldwarm.catalog.catalog import CatalogModel
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.store.suite_folder import read_runs
from coldwarm.suite.longest_first import total_seconds

# To install an engine and download what is not cached.
_SETUP_MINUTES = 10
# A machine may be slower than the one on which the runs were recorded.
_SLACK = 2.0


def recorded_seconds(
    models: Sequence[CatalogModel],
    device: str,
    aot_artifacts: Sequence[str],
    records: Sequence[Path] = (),
    depth: Depth = Depth.FULL,
) -> list[float]:
    """Return the seconds that each run of a step took, cold and warm together.

    Args:
        models: The models of the step; unsupported ones are skipped.
        device: ``cpu`` or ``cuda``.
        aot_artifacts: As passed to `coldwarm run`; empty: one run for each model.
        records: Folders of suites, newest last; their times override those of the catalog.
        depth: The depth of the step's starts. Times of the catalog are for depth full, and sufficient for the others.

    A model without a recorded time is assumed to take as long as the slowest one. If no times are recorded at all, the
    result is empty.

    Raises:
        UsageError: One of `records` contains no readable run, or none at this depth.
    """
    from_records: dict[str, float] = {}
    for folder in records:
        runs = [run for run in read_runs(folder) if run.case.depth is depth]
        if not runs:
            raise UsageError(f"{folder} contains no run at --depth {depth} to derive the time limit from")
        for run in (run for run in runs if run.case.device == device):
            if run.cold is not None and (run.warm is not None or not depth.level.has_artifacts):
                from_records[run.case.name] = run.cold.seconds + (run.warm.seconds if run.warm is not None else 0)
    found: list[float | None] = []
    for model in models:
        if model.entry.unsupported_on(device, "piecewise") is not None:
            continue
        for artifact in aot_artifacts or (None,):
            name = model.entry.id if artifact is None else f"{model.entry.id}+{artifact}"
            found.append(from_records.get(name) or model.entry.seconds_of_run(device, artifact))
    known = [seconds for seconds in found if seconds is not None]
    return [max(known) if seconds is None else seconds for seconds in found] if known else []


def minutes_for(seconds: Sequence[float], jobs: int) -> int:
    """Return the time limit, in whole minutes, of a step with runs that take `seconds`, `jobs` at a time.

    It is twice the time of its runs, longest first, plus ten minutes for setup; an hour if no times are known.
    """
    if not seconds:
        return 60
    return _SETUP_MINUTES + math.ceil(_SLACK * total_seconds(seconds, jobs) / 60)
