"""Histories whose noise is that of real repeated starts."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import fmean, median, pstdev
from typing import Any

from coldwarm.store.history.points import Counts, Point, StartPoint

DATA = Path(__file__).parents[1] / "data" / "repeated-starts.json"
KINDS = ("cold", "warm")


def real_starts() -> dict[str, list[Mapping[str, Any]]]:
    """Return the measured starts by kind: their seconds, CPU seconds and phases."""
    starts = json.loads(DATA.read_text())["starts"]
    return {kind: [start for start in starts if start["kind"] == kind] for kind in KINDS}


class Noise:
    """Draws starts that vary as the measured ones do.

    The logarithm of a phase varies with the whole start, and by itself. Both deviations are those of the measured
    starts; every twentieth start is an outlier, twice as far away.

    Args:
        seed: The seed of the random numbers.
        scale: A factor of all deviations: 1 is the measured noise, of a machine that was busy with other work.
    """

    def __init__(self, seed: int, *, scale: float = 1.0) -> None:
        self._random = random.Random(seed)
        self._scale = scale
        self._typical: dict[str, dict[str, float]] = {}
        self._of_phase: dict[str, dict[str, float]] = {}
        self._of_start: dict[str, float] = {}
        for kind, starts in real_starts().items():
            names = [name for name in starts[0]["phases"] if all(start["phases"].get(name, 0) > 0 for start in starts)]
            usual = {name: median(start["phases"][name] for start in starts) for name in names}
            long = [name for name in names if usual[name] >= 0.5]
            ratios = [{name: math.log(start["phases"][name] / usual[name]) for name in names} for start in starts]
            common = [median(each[name] for name in long) for each in ratios]
            # Five starts: the deviation of the population is larger by this factor.
            few = math.sqrt(len(starts) / (len(starts) - 1))
            self._typical[kind] = usual
            self._of_start[kind] = few * pstdev(common)
            self._of_phase[kind] = {
                name: few * pstdev(each[name] - shift for each, shift in zip(ratios, common, strict=True))
                for name in names
            }

    def phases(self, kind: str) -> dict[str, float]:
        """Return the seconds of the phases of a start."""
        scale = self._scale * (2 if self._random.random() < 0.05 else 1)
        whole = self._random.gauss(0, scale * self._of_start[kind])
        return {
            name: seconds * math.exp(whole + self._random.gauss(0, scale * self._of_phase[kind][name]))
            for name, seconds in self._typical[kind].items()
        }

    def deviation(self, kind: str, phase: str) -> float:
        """Return the deviation of the logarithm of a phase from that of its start."""
        return self._scale * self._of_phase[kind][phase]


def point_of(number: int, phases: Mapping[str, Mapping[str, float]], **fields: Any) -> Point:
    """Return the run of night `number`, whose starts have these phases."""
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number)
    starts = tuple(
        StartPoint(
            kind=kind,
            number=1,
            outcome="finished",
            began=when,
            seconds=sum(phases[kind].values()),
            # Busier machines need more CPU time, but not as much more.
            cpu_seconds=math.sqrt(sum(phases[kind].values())),
            parallel_starts=1,
            phases=phases[kind],
            ranks=1,
            counts=Counts(saved=3 if kind == "cold" else 0, loaded=0 if kind == "cold" else 3),
            peak_memory_bytes=None,
            peak_device_memory_bytes=None,
        )
        for kind in phases
    )
    values: dict[str, Any] = {
        "id": f"{number:032x}",
        "when": when,
        "source": "run",
        "model": "qwen3-32b",
        "name": "qwen3-32b",
        "command": None,
        "engine": "vllm",
        "device": "cpu",
        "compilation": "piecewise",
        "depth": "count",
        "isolation": "fork",
        "aot_artifact": "bundled",
        "versions": {"vllm": "0.32.0", "torch": "2.13.0"},
        "options": {},
        "environment": {},
        "warm_changes": (),
        "settings": "s",
        "commit": None,
        "commit_of": None,
        "has_local_changes": False,
        "machine": "AMD EPYC, 1 core",
        "hardware": {},
        "verdict": "passed",
        "reasons": (),
        "known_issues": (),
        "findings": (),
        "starts": starts,
    }
    return Point(**{**values, **fields})


def history(
    runs: int,
    noise: Noise,
    *,
    slower: tuple[str, str] | None = None,
    since: int = 0,
    by: float = 1.2,
    starts: int = 1,
) -> list[Point]:
    """Return a history of nightly runs.

    Args:
        runs: How many runs it has.
        noise: How they vary.
        slower: The kind of start and the phase that are slower from the run `since` on; None: none is.
        since: The first slower run.
        by: How many times as long the phase takes then.
        starts: The repetitions of each run.
    """
    points = []
    for number in range(runs):
        made = []
        for repetition in range(1, starts + 1):
            phases = {kind: noise.phases(kind) for kind in KINDS}
            if slower is not None and number >= since:
                kind, name = slower
                phases[kind][name] *= by
            made += [replace(start, number=repetition) for start in point_of(number, phases).starts]
        version = "0.33.0" if slower is not None and number >= since else "0.32.0"
        point = point_of(number, {}, versions={"vllm": version, "torch": "2.13.0"})
        points.append(replace(point, starts=tuple(made)))
    return points


def mean(values: Sequence[float]) -> float:
    """Return the mean, 0 for no values."""
    return fmean(values) if values else 0.0


def share(numbers: range, holds: Callable[[int], bool]) -> float:
    """Return the share of `numbers` for which something holds."""
    return mean([float(holds(number)) for number in numbers])
