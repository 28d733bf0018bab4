"""Searches for the first bad candidate."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from coldwarm.bisection.candidates import Say
from coldwarm.bisection.measure import BROKEN, HOLDS, STARTS, Measurement, Measurements
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError, nearest


@dataclass(frozen=True)
class Found:
    """The end of a search: no candidate that can be judged is between the last good and the first bad one."""

    check: str
    depth: Depth
    """The cheapest depth at which the ends differ."""
    last_good: Measurement
    first_bad: Measurement
    between: list[Measurement] = field(default_factory=list)
    """Candidates between them that cannot be judged; any of them may be the first bad one."""
    measured: list[Measurement] = field(default_factory=list)
    """All that were measured at this depth, from good to bad."""


def search(
    names: list[str], measurements: Measurements, *, check: str | None, depths: Iterable[Depth], say: Say
) -> Found:
    """Search for the first bad one of `names`, halving the candidates each time.

    A candidate is bad if the check has a different result than with the good one.

    Args:
        names: The candidates: the first is good, the last is bad.
        measurements: Measures them.
        check: What decides; None: the first check whose result differs between the ends.
        depths: The depths to try, the cheapest first.
        say: Receives what is being done.

    Raises:
        UsageError: The ends do not differ at any depth, or cannot be judged.
    """
    check, depth = _where_the_ends_differ(names, measurements, check, list(depths))
    good, bad = measurements.measure(names[0], depth), measurements.measure(names[-1], depth)
    say(f"{check} at depth {depth}: {good.value(check)} with {names[0]}, {bad.value(check)} with {names[-1]}")
    expected = good.value(check)
    known = {0: good, len(names) - 1: bad}
    last_good, first_bad = 0, len(names) - 1
    while rest := [number for number in range(last_good + 1, first_bad) if number not in known]:
        middle = (last_good + first_bad) / 2
        number = min(rest, key=lambda number: abs(number - middle))
        say(f"{len(rest)} left to search: {names[number]}")
        known[number] = made = measurements.measure(names[number], depth)
        value = made.value(check)
        if value is None:
            say(f"{names[number]} cannot be judged: {made.why_not or f'no {check} at depth {depth}'}")
        elif value == expected:
            last_good = number
        else:
            first_bad = number
    return Found(
        check=check,
        depth=depth,
        last_good=known[last_good],
        first_bad=known[first_bad],
        between=[known[number] for number in range(last_good + 1, first_bad)],
        measured=[known[number] for number in sorted(known)],
    )


def _where_the_ends_differ(
    names: list[str], measurements: Measurements, check: str | None, depths: list[Depth]
) -> tuple[str, Depth]:
    """Return the check in which the ends differ, and the first of `depths` at which they do."""
    seen: set[str] = set()
    for depth in depths:
        good, bad = measurements.measure(names[0], depth), measurements.measure(names[-1], depth)
        if depth is not depths[-1] and (good.needs_kernels or bad.needs_kernels):
            continue
        if good.why_not is not None:
            raise UsageError(f"{good.name} cannot be judged at depth {depth}: {good.why_not}")
        if bad.why_not is not None and (STARTS not in bad.values or check not in (None, STARTS)):
            raise UsageError(f"{bad.name} cannot be judged at depth {depth}: {bad.why_not}")
        seen |= {*good.values, *bad.values}
        for candidate in [check] if check is not None else good.default_checks:
            if _differs(candidate, good, bad):
                return candidate, depth
    if check is not None and check not in seen:
        raise UsageError(f"no check {check!r}{nearest(check, seen)}")
    tried = ", ".join(depths)
    if check is not None:
        results = f"{good.value(check)} with {names[0]}, {bad.value(check)} with {names[-1]}"
        raise UsageError(
            f"{check}, at depth {tried}: {results}; it must hold with the good one and differ with the bad"
        )
    message = f"{names[0]} and {names[-1]} differ in no check at depth {tried}"
    if fixed := [each for each in good.default_checks if (good.value(each), bad.value(each)) == (BROKEN, HOLDS)]:
        message += f"; {fixed[0]} is broken with {names[0]}: swap --good and --bad to find what fixed it"
    raise UsageError(f"{message}; name a counter with --check, for example {next(reversed(good.values))}")


def _differs(check: str, good: Measurement, bad: Measurement) -> bool:
    before, after = good.value(check), bad.value(check)
    # An invariant must hold with the good one.
    return None not in (before, after) and before != after and before != BROKEN
