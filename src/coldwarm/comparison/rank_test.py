"""Compares the seconds of two groups of starts: a rank test, the size of the difference, many comparisons at once.

Start-up times are skewed and have outliers, so nothing here assumes a normal distribution:

- The Mann-Whitney U test (`scipy.stats.mannwhitneyu`, exact) decides whether one group tends to be slower.
- The Hodges-Lehmann estimate, the median of all ratios between two starts, says by how much. Its confidence interval
  has the ratios that the same test does not reject (D. F. Bauer, Constructing confidence sets using rank statistics,
  Journal of the American Statistical Association 67, 1972).
- Holm's method corrects for testing many quantities (S. Holm, A simple sequentially rejective multiple test procedure,
  Scandinavian Journal of Statistics 6, 1979), so that `ALPHA` is the probability of any false alarm among them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from coldwarm.core.errors import UsageError

ALPHA = 0.05
"""The probability of a false alarm among all quantities that are tested together: the usual significance level."""
MIN_RATIO = 1.05
"""Smaller differences are not reported: the default `time_tolerance` of BenchmarkTools.jl (J. Chen and J. Revels,
Robust benchmarking in noisy environments, arXiv:1608.04295)."""
MIN_SECONDS = 0.1
"""Nor are differences of fewer seconds, however large the ratio: nobody waits for them."""
_PERMUTATIONS = 20_000
"""With equal values, as many permutations are tried at most: enough for two groups of 8."""
_SHORTEST = 0.001
"""Seconds that stand for zero in a ratio; phases are measured to about a millisecond."""


@dataclass(frozen=True)
class Difference:
    """How the seconds of two groups of starts differ."""

    before: float
    """The median of the first group, in seconds."""
    after: float
    """The median of the second group, in seconds."""
    ratio: float
    """The Hodges-Lehmann estimate of how many times as long the second group takes."""
    low: float
    """The lower end of the confidence interval of `ratio`, at the level 1 - `ALPHA`; 0: there are too few starts."""
    high: float
    """Its upper end; infinity: there are too few starts."""
    p: float
    """The two-sided p-value, not corrected for other comparisons."""

    @property
    def is_large(self) -> bool:
        """Whether it is at least `MIN_RATIO` and `MIN_SECONDS`, in either direction."""
        ratio = max(self.ratio, 1 / self.ratio)
        return ratio >= MIN_RATIO and abs(self.after - self.before) >= MIN_SECONDS


def difference(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Return how `after` differs from `before`, both in seconds and not empty.

    Raises:
        UsageError: scipy is not installed.
    """
    old, new = ([math.log(max(each, _SHORTEST)) for each in group] for group in (before, after))
    ratios = sorted(b - a for a in old for b in new)
    low, high = _interval(old, new, ratios)
    return Difference(
        before=median(before),
        after=median(after),
        ratio=math.exp(median(ratios)),
        low=math.exp(low),
        high=math.exp(high),
        p=_p_value(old, new),
    )


def adjusted(p_values: Sequence[float]) -> list[float]:
    """Return the p-values corrected by Holm's method, in the same order."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, (len(p_values) - rank) * p_values[index])
        corrected[index] = min(1.0, highest)
    return corrected


def can_tell(before: int, after: int, tests: int) -> bool:
    """Return whether groups of these sizes can differ significantly at all, if so many quantities are tested."""
    return min(before, after) > 0 and 2 / math.comb(before + after, after) * tests <= ALPHA


def starts_needed(tests: int) -> int:
    """Return how many starts both groups must have at least, so that `can_tell`."""
    needed = 1
    while not can_tell(needed, needed, tests):
        needed += 1
    return needed


def _p_value(before: Sequence[float], after: Sequence[float]) -> float:
    stats = scipy_stats()
    method: Any = "exact"
    if len({*before, *after}) < len(before) + len(after):
        # The exact distribution assumes that no two values are equal. Trying all permutations is exact nevertheless.
        is_small = math.comb(len(before) + len(after), len(after)) <= _PERMUTATIONS
        method = stats.PermutationMethod(n_resamples=_PERMUTATIONS) if is_small else "asymptotic"
    return float(stats.mannwhitneyu(after, before, method=method).pvalue)


def _interval(before: Sequence[float], after: Sequence[float], ratios: Sequence[float]) -> tuple[float, float]:
    """Return the smallest and the largest shift of `after`, in logarithms, that the test does not reject."""

    def rejects(left_out: int) -> bool:
        # Between the ratio with this index and the one below it.
        below = ratios[left_out - 1] if left_out else ratios[0] - 1.0
        shift = (below + ratios[left_out]) / 2
        return _p_value(before, [each - shift for each in after]) <= ALPHA

    # The fewer ratios are below the shift, the smaller the p-value: look for the first that is not rejected.
    first, last = 0, len(ratios) // 2
    while first < last:
        middle = (first + last) // 2
        if rejects(middle):
            first = middle + 1
        else:
            last = middle
    if first == 0:
        return -math.inf, math.inf
    return ratios[first - 1], ratios[len(ratios) - first]


def scipy_stats() -> Any:
    """Return the module `scipy.stats`.

    Raises:
        UsageError: scipy is not installed.
    """
    try:
        from scipy import stats
    except ImportError as error:
        raise UsageError("comparing seconds needs scipy; to install it: pip install scipy") from error
    return stats
