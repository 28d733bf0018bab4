"""The exact counters that the catalog expects, on top of the invariants."""

from __future__ import annotations

from collections.abc import Mapping

from coldwarm.checks.invariants import Starts
from coldwarm.core.checks import Check
from coldwarm.core.conditions import Circumstances
from coldwarm.core.depth import Depth
from coldwarm.core.model_entry import Expectation, ModelEntry
from coldwarm.core.record import StartKind
from coldwarm.engines.counters import unknown_counter
from coldwarm.observe import torch_counters as torch_source


def check_expectations(starts: Starts, entry: ModelEntry, circumstances: Circumstances) -> list[Check]:
    """Check every counter of every expectation that applies (`applicable`).

    A warm start with settings that the cold one has not is not compared: the counters were measured without them.
    """
    checks = []
    for expectation in applicable(entry, circumstances):
        for kind, expected in (
            (StartKind.COLD, expectation.cold),
            (StartKind.WARM, {} if starts.warm_changes else expectation.warm),
        ):
            counters = starts.counters.get(kind, {})
            told = [name for name in expected if is_told(name, starts.cold.depth, counters)]
            checks += [_check(kind, name, expected[name], counters) for name in told]
    return checks


def applicable(entry: ModelEntry, circumstances: Circumstances) -> list[Expectation]:
    """Return the expectations that were measured on this platform and with these settings."""
    return [expectation for expectation in entry.expect if expectation.when.hold(circumstances)]


def unchecked_expectations(starts: Starts, entry: ModelEntry, circumstances: Circumstances) -> list[str]:
    """Say which expectations for this platform were not checked because of the run's settings; a note for each."""
    applied = applicable(entry, circumstances)
    if not applied:
        return [
            _note("expectations", row, row.when.other_settings(circumstances))
            for row in entry.expect
            if row.when.hold_on_platform(circumstances)
        ]
    warm = [row for row in applied if row.warm and starts.warm_changes]
    return [f"{_note('expectations of the warm start', row, starts.warm_changes)} in the warm start" for row in warm]


def _note(what: str, row: Expectation, differences: list[str]) -> str:
    when = row.when
    platform = ", ".join(filter(None, [when.device, when.compilation, when.aot_artifact]))
    return f"{what}{f' for {platform}' if platform else ''} were not checked: measured {', '.join(differences)}"


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
