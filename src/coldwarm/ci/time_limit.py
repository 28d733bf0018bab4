"""How long a step may take, from how long its runs took when they were recorded."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from coldwarm.catalog.catalog import CatalogModel
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.store.suite_folder import read_runs
from coldwarm.suite.longest_first import total_seconds

# Installing an engine, and fetching what is cached nowhere.
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
    """Seconds that the runs of a step took, cold and warm together, one number a run.

    Args:
        models: The models of the step; those that `device` cannot run are left out.
        device: ``cpu`` or ``cuda``.
        aot_artifacts: As given to `coldwarm run`; empty: one run a model.
        records: Folders of suites; they win over what the catalog tells. Newest last.
        depth: How far the step's starts go. What the catalog tells is of depth full, and so enough for any.

    A model of which nothing is recorded is taken to be as slow as the slowest; empty where nothing is recorded at all.

    Raises:
        UsageError: One of `records` holds no run that can be read, or none that went as far as the step's.
    """
    from_records: dict[str, float] = {}
    for folder in records:
        runs = [run for run in read_runs(folder) if run.case.depth is depth]
        if not runs:
            raise UsageError(f"{folder} holds no run at --depth {depth}, so that it tells no time limit of such a step")
        for run in (run for run in runs if run.case.device == device):
            if run.cold is not None and (run.warm is not None or depth is Depth.TRACE):
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
    """Whole minutes after which a step of runs that take so long, `jobs` at a time, is to be ended.

    Twice what its runs take, longest first, and ten minutes to set up; an hour where nothing is known.
    """
    if not seconds:
        return 60
    return _SETUP_MINUTES + math.ceil(_SLACK * total_seconds(seconds, jobs) / 60)
