"""Finds steps in a series of seconds: since when a start takes longer, or less long, and by how much.

No threshold decides, because noise differs from machine to machine. The statistic is the largest standardized
Mann-Whitney statistic of all ways to cut the series in two (D. M. Hawkins and Q. Deng, A nonparametric change-point
control chart, Journal of Quality Technology 42, 2010; after A. N. Pettitt, A non-parametric approach to the
change-point problem, Applied Statistics 28, 1979). It depends on ranks only, so its distribution without a step depends
only on the length of the series. Shuffled ranks give this distribution, with a fixed seed. A series with a step is cut
there, and both parts are examined again (binary segmentation).

asv fits steps with a penalty instead of a significance level (asv's `step_detect.py`), and the rank cost of ruptures
needs a penalty that is tuned to the noise. A p-value needs no tuning, and Holm's method corrects it for many series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import median
from typing import Any

from coldwarm.comparison.rank_test import MIN_RATIO, MIN_SECONDS, adjusted
from coldwarm.core.errors import UsageError

ALPHA = 0.005
"""The probability of a false alarm in a history without a step, among all of its quantities. It is smaller than for the
comparison of two runs, because a history is examined again after each run. `benchmarks/step_detection.py` measures what
follows."""
WINDOW = 60
"""The most recent runs that are examined: two months of nightly runs."""
SHORTEST_SEGMENT = 3
"""Runs on each side of a step at least; fewer could be outliers."""
SHORTEST_SERIES = 8
"""Shorter series can have no significant step."""
_SHUFFLES = 50_000
_SEED = 20


@dataclass(frozen=True)
class Step:
    """A step in a series."""

    index: int
    """The index of the first value after the step."""
    before: float
    """The median of the segment before the step, in seconds."""
    after: float
    """The median of the segment after the step, in seconds."""
    p: float
    """The p-value, corrected for all quantities that were examined together."""

    @property
    def ratio(self) -> float:
        """How many times as long it takes after the step; infinity: nothing before."""
        return self.after / self.before if self.before else float("inf")

    @property
    def is_slower(self) -> bool:
        """Whether it takes longer after the step."""
        return self.after > self.before


def find_steps(series: Mapping[str, Sequence[float]], *, alpha: float = ALPHA) -> dict[str, list[Step]]:
    """Return the steps of each series that has any, in order.

    Args:
        series: Seconds by quantity, the oldest first. Only the last `WINDOW` values are examined.
        alpha: The probability of a false alarm among all series.

    Raises:
        UsageError: numpy is not installed.
    """
    examined = {name: list(values) for name, values in series.items() if len(values) >= SHORTEST_SERIES}
    offsets = {name: max(0, len(values) - WINDOW) for name, values in examined.items()}
    cuts = {name: _cut(values[offsets[name] :]) for name, values in examined.items()}
    found = {}
    for (name, (_, p)), corrected in zip(cuts.items(), adjusted([p for _, p in cuts.values()]), strict=True):
        if corrected <= alpha:
            values = examined[name][offsets[name] :]
            # Further steps of a series are corrected in the same way as its first.
            steps = _segmented(values, offsets[name], alpha, corrected / p)
            found[name] = [step for step in steps if _is_large(step)]
    return {name: steps for name, steps in found.items() if steps}


def _segmented(values: Sequence[float], offset: int, alpha: float, correction: float) -> list[Step]:
    """Return the steps of a series that begins at `offset`."""
    bounds = sorted(_bounds(values, 0, alpha, correction))
    edges = [0, *(index for index, _ in bounds), len(values)]
    return [
        Step(
            index=offset + index,
            before=median(values[edges[number] : index]),
            after=median(values[index : edges[number + 2]]),
            p=p,
        )
        for number, (index, p) in enumerate(bounds)
    ]


def _bounds(values: Sequence[float], offset: int, alpha: float, correction: float) -> list[tuple[int, float]]:
    if len(values) < SHORTEST_SERIES:
        return []
    index, p = _cut(values)
    if p * correction > alpha:
        return []
    return [
        (offset + index, min(1.0, p * correction)),
        *_bounds(values[:index], offset, alpha, correction),
        *_bounds(values[index:], offset + index, alpha, correction),
    ]


def _is_large(step: Step) -> bool:
    difference = abs(step.after - step.before)
    return difference >= MIN_SECONDS and difference >= (MIN_RATIO - 1) * min(step.before, step.after)


def _cut(values: Sequence[float]) -> tuple[int, float]:
    """Return where a series is cut best, and the p-value of that cut."""
    numpy = _numpy()
    order = numpy.argsort(numpy.argsort(numpy.asarray(values, dtype=float), kind="stable"), kind="stable") + 1.0
    # Equal values share their mean rank.
    _, same, counts = numpy.unique(values, return_inverse=True, return_counts=True)
    ranks = (numpy.bincount(same, weights=order) / counts)[same]
    statistics = _standardized(ranks[None, :])[0]
    best = int(statistics.argmax())
    null = _null(len(values))
    # The floor keeps rounding from making the same statistic smaller.
    as_large = len(null) - int(numpy.searchsorted(null, statistics[best] - 1e-9))
    return best + SHORTEST_SEGMENT, (as_large + 1) / (len(null) + 1)


def _standardized(ranks: Any) -> Any:
    """Return the absolute standardized Mann-Whitney statistics of all cuts, for each row of ranks."""
    numpy = _numpy()
    number = ranks.shape[1]
    sizes = numpy.arange(SHORTEST_SEGMENT, number - SHORTEST_SEGMENT + 1)
    sums = numpy.cumsum(ranks, axis=1)[:, sizes - 1]
    expected = sizes * (number + 1) / 2
    deviation = numpy.sqrt(sizes * (number - sizes) * (number + 1) / 12)
    return numpy.abs(sums - expected) / deviation


@lru_cache(maxsize=128)
def _null(number: int) -> Any:
    """Return the statistics of shuffled series of this length, in ascending order."""
    numpy = _numpy()
    generator = numpy.random.default_rng(_SEED)
    largest = []
    for _ in range(10):  # in parts, which need less memory
        shuffled = numpy.tile(numpy.arange(1.0, number + 1), (_SHUFFLES // 10, 1))
        generator.permuted(shuffled, axis=1, out=shuffled)
        largest.append(_standardized(shuffled).max(axis=1))
    return numpy.sort(numpy.concatenate(largest))


def _numpy() -> Any:
    try:
        import numpy
    except ImportError as error:
        raise UsageError("finding steps needs numpy; to install it: pip install numpy") from error
    return numpy
