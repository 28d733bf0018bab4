"""What a run measured, as an expectation of the catalog."""

from __future__ import annotations

from collections.abc import Mapping

from coldwarm.catalog.engine_issues import engine_issues
from coldwarm.checks.expectations import is_reported_at
from coldwarm.checks.run_context import context_of
from coldwarm.checks.verdict import Verdict
from coldwarm.core.conditions import VERSIONED, Conditions
from coldwarm.core.depth import Depth
from coldwarm.core.model_entry import Expectation, Memory, Seconds
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.engines.base import load_vocabulary

_GIB = 2**30


def expectation_of(
    cold: StartRecord, warm: StartRecord, verdict: Verdict, names: Mapping[StartKind, tuple[str, ...]] | None = None
) -> Expectation:
    """Return the expectation that a run measured; without times and memory if kernels were left out.

    Args:
        cold: The cold start.
        warm: The warm start.
        verdict: The verdict on the run, which has the known issues that occurred.
        names: The counters of each start; None: those that the engine's expectations usually have. Counters that the
            engine's version does not have, or that mean nothing at the depth of the run, are left out.
    """
    is_real = cold.depth.level.has_kernels
    names = names or load_vocabulary(cold.engine).expected_counters
    return Expectation(
        when=Conditions.of(context_of(cold)),
        measured=measured(cold),
        seconds=Seconds(cold=_tenths(cold), warm=_tenths(warm)) if is_real else None,
        memory=_memory(cold, warm) if is_real else None,
        shows=issues_shown(verdict),
        cold=_counters(cold, names[StartKind.COLD]),
        warm=_counters(warm, names[StartKind.WARM]),
    )


def issues_shown(verdict: Verdict) -> tuple[str, ...]:
    """Return the ids of the engine's known issues that occurred in this run and that counters show.

    Others are about kernels, which depend on the model of a GPU, and that is not a condition of an expectation.
    """
    accepting = verdict.accepting
    return tuple(issue.id for issue in engine_issues() if not issue.is_about_kernels and issue.id in accepting)


def measured(cold: StartRecord) -> str:
    """Return the date, the machine, the versions and the depth of a run."""
    facts = cold.facts
    assert facts is not None, "only finished starts are measured"
    hardware, engine = facts.hardware, load_vocabulary(cold.engine).title
    cores = f"{hardware.get('cores', '?')} {'core' if hardware.get('cores') == '1' else 'cores'}"
    if cold.device == "cpu":
        of_cpu = [hardware[name] for name in ("machine", "cpu_capability") if name in hardware]
        machine = [f"{cores} ({', '.join(of_cpu)})" if of_cpu else cores]
    else:
        machine = [f"one {hardware.get('gpu', cold.device)}", cores]
    titles = {cold.engine: engine} | {name: name for name in VERSIONED if name != cold.engine}
    versions = [f"{title} {facts.versions[name]}" for name, title in titles.items() if name in facts.versions]
    if (python := facts.versions.get("python")) is not None:
        versions.append(f"Python {'.'.join(python.split('.')[:2])}")
    depth = [f"--depth {cold.depth}"] if cold.depth is not Depth.FULL else []
    return ", ".join([f"{cold.began:%Y-%m-%d}", *machine, *versions, *depth])


def conditions_of_times(cold: StartRecord, warm: StartRecord) -> str:
    """Return the date of a run and how its starts were made, which affects its seconds and memory."""
    most = max(cold.side_by_side, warm.side_by_side)
    in_parallel = [f"{most} in parallel"] if most > 1 else []
    return ", ".join([f"{cold.began:%Y-%m-%d}", f"{cold.isolation}ed starts", *in_parallel])


def _tenths(record: StartRecord) -> float:
    """Return the seconds of a start, rounded; an expectation requires more than zero."""
    return round(record.seconds, 1) or record.seconds


def _memory(cold: StartRecord, warm: StartRecord) -> Memory | None:
    host = max(record.peak_memory_bytes or 0 for record in (cold, warm))
    device = max((record.facts.peak_device_memory_bytes or 0) if record.facts else 0 for record in (cold, warm))
    if not host:
        return None
    return Memory(host=round(host / _GIB, 2), device=round(device / _GIB, 2) if device else None)


def _counters(record: StartRecord, names: tuple[str, ...]) -> dict[str, int]:
    seen = record.facts.counters if record.facts else {}
    return {name: seen[name] for name in names if name in seen and is_reported_at(name, record.depth, seen)}
