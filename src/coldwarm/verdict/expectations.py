"""The exact counters that the catalog expects, on top of the invariants."""

from __future__ import annotations

from collections.abc import Mapping

from coldwarm.catalog.conditions import Circumstances
from coldwarm.catalog.entry import ModelEntry
from coldwarm.counters import torch_source
from coldwarm.counters.expect import unknown_counter
from coldwarm.starts.depth import Depth
from coldwarm.starts.record import StartKind
from coldwarm.verdict.check import Check
from coldwarm.verdict.invariants import Starts


def check_expectations(starts: Starts, entry: ModelEntry, circumstances: Circumstances) -> list[Check]:
    """Check every counter of every expectation whose conditions hold.

    Expectations were measured without options of the user's, and say nothing of starts that have some.
    """
    if starts.cold.options:
        return []
    checks = []
    for expectation in entry.expect:
        if not expectation.when.hold(circumstances):
            continue
        for kind, expected in ((StartKind.COLD, expectation.cold), (StartKind.WARM, expectation.warm)):
            counters = starts.counters.get(kind, {})
            told = [name for name in expected if is_told(name, starts.cold.depth, counters)]
            checks += [_check(kind, name, expected[name], counters) for name in told]
    return checks


def is_told(name: str, depth: Depth, counters: Mapping[str, int]) -> bool:
    """Whether starts of this depth tell of a counter: a trace of few; without kernels, not of PyTorch's own.

    What a kernel would have compiled within itself (a decorated function in a custom operation) counts there too.
    """
    match depth:
        case Depth.TRACE:
            return name in counters
        case Depth.COUNT:
            return not name.startswith(torch_source.PREFIX)
        case Depth.FULL:
            return True


def _check(kind: StartKind, name: str, expected: int, counters: Mapping[str, int]) -> Check:
    seen = counters.get(name)
    if seen is None:
        words = unknown_counter(name, counters)
    else:
        words = f"{kind}: {name} expected {expected}, got {seen}"
    return Check(id=f"expected:{kind}:{name}", holds=seen == expected, words=words)
