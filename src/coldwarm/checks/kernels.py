"""What the invariants require of kernel compilers, beside torch.compile."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from coldwarm.core.kernels import MOST_EVENTS, KernelEvent
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.stats import KernelCounts, KernelWork, RepeatedKey
from coldwarm.measure.kernel_work import events_after_ready, kernel_counts
from coldwarm.measure.late_functions import LateFunction
from coldwarm.measure.recompiled_kernels import recompiled_kernels

_MOST_SHOWN = 3
_KEY_LENGTH = 16


@dataclass(frozen=True)
class KernelPart:
    """The part of an invariant that concerns kernels."""

    words: str
    broken_by: Mapping[str, int] = field(default_factory=dict)
    """As `Check.kernels`."""
    is_checked: bool = True

    @property
    def holds(self) -> bool:
        """Whether no kernel breaks the invariant."""
        return not self.broken_by


def repeated_keys(cold: KernelWork) -> KernelPart:
    """Check that no compiler compiled the same key twice in one process of the cold start."""
    by_kernel: dict[str, list[RepeatedKey]] = {}
    for each in cold.repeated:
        by_kernel.setdefault(f"{each.compiler} {each.kernel}", []).append(each)
    if not by_kernel:
        return _unless_dropped(cold, "no kernel was compiled twice with the same key")
    listed = _listed(
        f"{label} ({_plural(len(found), 'key')}; {_short(found[0].key)} {found[0].times} times)"
        for label, found in by_kernel.items()
    )
    return KernelPart(
        words=f"kernels were compiled more than once with the same key: {listed}",
        broken_by={label: len(found) for label, found in by_kernel.items()},
    )


def recompiled(cold: KernelWork | None, warm: KernelWork) -> KernelPart:
    """Check that the warm start compiled no kernel; the message has the reason for each."""
    found = recompiled_kernels(cold, warm)
    if not found:
        return _unless_dropped(warm, "no kernel was compiled by another compiler (expected none)")
    listed = _listed(f"{each.label} ({_amount(each.keys, each.seconds)}; {each.reason})" for each in found)
    return KernelPart(words=f"it compiled kernels (expected none): {listed}", broken_by=keys_of(warm.kernels))


def after_ready(
    works: Mapping[StartKind, KernelWork | None], functions: Mapping[StartKind, Sequence[LateFunction]]
) -> KernelPart:
    """Check that neither start compiled anything after the engine was ready for requests.

    Args:
        works: What the kernel compilers did in each start; None: not recorded.
        functions: What torch.compile compiled then in each start.
    """
    parts, unknown = [], []
    late: list[KernelEvent] = []
    for kind, work in works.items():
        if work is None:
            unknown.append(f"the kernels of the {kind} start were not recorded")
            continue
        parts += [f"{each.label} ({_amount(each.keys, each.seconds)}, {kind} start)" for each in work.after_ready]
        late += events_after_ready(work.events)
        if work.without_phase:
            unknown.append(f"the phase of {_plural(work.without_phase, 'kernel')} of the {kind} start is unknown")
        if work.dropped:
            unknown.append(_dropped(work, kind))
    broken_by = keys_of(kernel_counts(late))
    nouns = ["kernels"] if broken_by else []
    nouns += ["functions"] if any(functions.values()) else []
    for kind, of_start in functions.items():
        for function in of_start:
            parts.append(f"{function.label} ({_amount(function.keys, function.seconds)}, {kind} start)")
            broken_by[function.label] = max(function.keys, broken_by.get(function.label, 0))
    words = f"after the engine was ready, {' and '.join(nouns)} were compiled (expected none): {_listed(parts)}"
    if not parts:
        words = "after the engine was ready, nothing was compiled"
    return KernelPart(
        words="; ".join([words, *(f"not checked: {reason}" for reason in unknown)]),
        broken_by=broken_by,
        is_checked=bool(parts) or not unknown,
    )


def unseen_compilers(*starts: StartRecord | None) -> list[str]:
    """Return a note for each kernel compiler of which not all events can be seen, once for all processes."""
    notes = [
        f"{status.compiler} {status.version or ''}".rstrip()
        + f": not all kernels are seen ({', '.join(status.missing)})"
        for start in starts
        if start is not None
        for process in start.processes
        if process.kernels is not None
        for status in process.kernels.compilers
        if status.missing
    ]
    return list(dict.fromkeys(notes))


def keys_of(kernels: Iterable[KernelCounts]) -> dict[str, int]:
    """Return the number of keys by the kernel's compiler and name."""
    return {each.label: each.keys for each in kernels}


def _unless_dropped(work: KernelWork, words: str) -> KernelPart:
    if not work.dropped:
        return KernelPart(words=words)
    return KernelPart(words=f"{words}; not checked: {_dropped(work)}", is_checked=False)


def _dropped(work: KernelWork, kind: StartKind | None = None) -> str:
    of_start = f" of the {kind} start" if kind else ""
    return f"{_plural(work.dropped, 'event')}{of_start} beyond the first {MOST_EVENTS} were not recorded"


def _listed(parts: Iterable[str]) -> str:
    shown = list(parts)
    more = len(shown) - _MOST_SHOWN
    return "; ".join(shown[:_MOST_SHOWN]) + (f"; and {_plural(more, 'more kernel')}" if more > 0 else "")


def _amount(keys: int, seconds: float | None) -> str:
    return _plural(keys, "key") + ("" if seconds is None else f", {seconds:.1f} s")


def _short(key: str) -> str:
    return key if len(key) <= _KEY_LENGTH else f"{key[:_KEY_LENGTH]}…"


def _plural(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
