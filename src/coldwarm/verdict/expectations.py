"""The exact counters that the catalog expects, on top of the invariants."""

from __future__ import annotations

from coldwarm.catalog.conditions import Circumstances
from coldwarm.catalog.entry import ModelEntry
from coldwarm.counters.expect import unknown_counter
from coldwarm.starts.record import EngineFacts
from coldwarm.verdict.check import Check
from coldwarm.verdict.invariants import Starts


def check_expectations(starts: Starts, entry: ModelEntry, circumstances: Circumstances) -> list[Check]:
    """Check every counter of every expectation whose conditions hold."""
    checks = []
    for expectation in entry.expect:
        if expectation.when.hold(circumstances):
            checks += [_check("cold", name, n, starts.cold_facts) for name, n in expectation.cold.items()]
            checks += [_check("warm", name, n, starts.warm_facts) for name, n in expectation.warm.items()]
    return checks


def _check(kind: str, name: str, expected: int, facts: EngineFacts) -> Check:
    seen = facts.counters.get(name)
    if seen is None:
        words = unknown_counter(name, facts.counters)
    else:
        words = f"{kind}: {name} expected {expected}, got {seen}"
    return Check(id=f"expected:{kind}:{name}", holds=seen == expected, words=words)
