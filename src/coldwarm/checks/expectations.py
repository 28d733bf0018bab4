"""Checks the exact counters that the catalog expects, in addition to the invariants."""

from __future__ import annotations

from collections.abc import Mapping

from coldwarm.checks.invariants import Starts
from coldwarm.core.checks import Check
from coldwarm.core.conditions import RunContext
from coldwarm.core.depth import Depth
from coldwarm.core.model_entry import Expectation, ModelEntry
from coldwarm.core.record import StartKind
from coldwarm.engines.counters import unknown_counter
from coldwarm.observe import torch_counters as torch_source


def check_expectations(starts: Starts, entry: ModelEntry, context: RunContext) -> list[Check]:
    """Check every counter of every expectation that applies (`applicable`).

    A warm start that has other settings than the cold one is not compared: the counters were measured without them.
    """
    if _sees_only_main_model(starts):
        return []
    checks = []
    for expectation in applicable(entry, context):
        for kind, expected in (
            (StartKind.COLD, expectation.cold),
            (StartKind.WARM, {} if starts.warm_changes else expectation.warm),
        ):
            counters = starts.counters.get(kind, {})
            reported = [name for name in expected if is_reported_at(name, starts.cold.depth, counters)]
            checks += [_check(kind, name, expected[name], counters) for name in reported]
    return checks


def _sees_only_main_model(starts: Starts) -> bool:
    """Return whether the start ended before it compiled further models, such as a drafter, which counters include."""
    return not starts.cold.depth.level.has_artifacts and bool(starts.cold_facts.further_models)


def applicable(entry: ModelEntry, context: RunContext) -> list[Expectation]:
    """Return the expectations that were measured on this platform and with these settings."""
    return [expectation for expectation in entry.expect if expectation.when.matches(context)]


def unchecked_expectations(starts: Starts, entry: ModelEntry, context: RunContext) -> list[str]:
    """Return a note for each expectation for this platform that the run's settings left unchecked."""
    applied = applicable(entry, context)
    if applied and _sees_only_main_model(starts):
        names = ", ".join(model.name for model in starts.cold_facts.further_models)
        return [
            f"expectations were not checked: --depth {starts.cold.depth} ends with the first model, "
            f"and they also count {names}"
        ]
    if not applied:
        return [
            _note("expectations", row, row.when.other_settings(context))
            for row in entry.expect
            if row.when.matches_platform(context)
        ]
    warm = [row for row in applied if row.warm and starts.warm_changes]
    return [f"{_note('expectations of the warm start', row, starts.warm_changes)} in the warm start" for row in warm]


def _note(what: str, row: Expectation, differences: list[str]) -> str:
    when = row.when
    platform = ", ".join(filter(None, [when.device, when.compilation, when.aot_artifact]))
    return (
        f"{what}{f' for {platform}' if platform else ''} were not checked: they were measured {', '.join(differences)}"
    )


def is_reported_at(name: str, depth: Depth, counters: Mapping[str, int]) -> bool:
    """Return whether a counter is meaningful at this depth.

    At depth trace few counters are. Without kernels, PyTorch's own are not: they also count what a kernel compiles when
    it runs, for example a decorated function in a custom operation.
    """
    if not depth.level.has_artifacts:
        return name in counters
    return depth.level.has_kernels or not name.startswith(torch_source.PREFIX)


def _check(kind: StartKind, name: str, expected: int, counters: Mapping[str, int]) -> Check:
    seen = counters.get(name)
    if seen is None:
        message = unknown_counter(name, counters)
    else:
        message = f"{kind}: {name} expected {expected}, got {seen}"
    return Check(id=f"expected:{kind}:{name}", holds=seen == expected, words=message)
