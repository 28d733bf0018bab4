"""Counts what the kernel compilers did in a start, from the events of its processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from coldwarm.core.kernels import Compiler, KernelEvent, KernelOutcome
from coldwarm.core.phases import GENERATE, Step
from coldwarm.core.record import ProcessReport, StartRecord
from coldwarm.core.stats import CompilerCounts, KernelCounts, KernelWork, RepeatedKey
from coldwarm.measure.intervals import Interval, seconds


def kernel_work(
    processes: Iterable[ProcessReport], steps: Sequence[Step], by_files: Sequence[KernelEvent] = ()
) -> KernelWork | None:
    """Return what the kernel compilers did in the processes of one rank; None if it was not recorded.

    Args:
        processes: The processes. A key is repeated only if one process compiled it several times.
        by_files: Kernels of the start that no process reported. A key is in only one file.
        steps: The steps of the start, which are the phases of events that have only a time.
    """
    recorded = [process.kernels for process in processes if process.kernels is not None]
    if not recorded and not by_files:
        return None
    by_process = [[_in_phase(event, steps) for event in kernels.events] for kernels in recorded]
    events = [event for own in by_process for event in own] + [_in_phase(event, steps) for event in by_files]
    compiled = compiled_events(events)
    return KernelWork(
        events=tuple(events),
        compilers=tuple(_counts(compiler, events) for compiler in Compiler if _of(compiler, events)),
        kernels=tuple(kernel_counts(compiled)),
        repeated=tuple(repeated for own in by_process for repeated in _repeated(own)),
        after_ready=tuple(kernel_counts(events_after_ready(events))),
        without_phase=sum(1 for event in compiled if event.phase is None),
        dropped=sum(kernels.dropped for kernels in recorded),
    )


def kernel_work_of_rank(record: StartRecord, rank: int) -> KernelWork | None:
    """Return what kernel compilers did in a rank; kernels of processes without a rank count towards the first."""
    first = min((process.rank for process in record.processes if process.rank is not None), default=0)
    own = [each for each in record.processes if each.rank == rank or (each.rank is None and rank == first)]
    return kernel_work(own, record.steps, record.kernels_by_files if rank == first else ())


def compiled_events(events: Iterable[KernelEvent]) -> list[KernelEvent]:
    """Return those of `events` in which something was compiled or autotuned."""
    return [event for event in events if event.outcome is KernelOutcome.COMPILED]


def events_after_ready(events: Iterable[KernelEvent]) -> list[KernelEvent]:
    """Return those of `events` in which something was compiled after the engine was ready for requests."""
    return [event for event in compiled_events(events) if event.phase == GENERATE]


def kernel_counts(events: Iterable[KernelEvent]) -> list[KernelCounts]:
    """Return how often each kernel of `events` was compiled, the slowest first."""
    by_kernel: dict[tuple[Compiler, str], list[KernelEvent]] = {}
    for event in events:
        by_kernel.setdefault((event.compiler, event.kernel), []).append(event)
    found = [
        KernelCounts(
            compiler=compiler,
            kernel=kernel,
            keys=len({event.key for event in own}),
            times=len(own),
            seconds=seconds_of(own),
        )
        for (compiler, kernel), own in by_kernel.items()
    ]
    return sorted(found, key=lambda each: -(each.seconds or 0.0))


def intervals_of(events: Iterable[KernelEvent]) -> list[Interval]:
    """Return when `events` took place, as far as that is known; they may overlap."""
    return [
        (event.begin, event.begin + event.seconds)
        for event in events
        if event.begin is not None and event.seconds is not None
    ]


def seconds_of(events: Iterable[KernelEvent]) -> float | None:
    """Return the wall time in which any of `events` took place; None if that is not known of any."""
    intervals = intervals_of(events)
    return seconds(intervals) if intervals else None


def _in_phase(event: KernelEvent, steps: Sequence[Step]) -> KernelEvent:
    if event.phase is not None or event.begin is None:
        return event
    begin = event.begin
    step = next((step.name for step in steps if step.begin <= begin < step.end), None)
    return event.model_copy(update={"phase": step})


def _of(compiler: Compiler, events: Iterable[KernelEvent]) -> list[KernelEvent]:
    return [event for event in events if event.compiler is compiler]


def _counts(compiler: Compiler, events: Iterable[KernelEvent]) -> CompilerCounts:
    by_outcome: dict[KernelOutcome, list[KernelEvent]] = {outcome: [] for outcome in KernelOutcome}
    for event in _of(compiler, events):
        by_outcome[event.outcome].append(event)
    compiled, loaded = by_outcome[KernelOutcome.COMPILED], by_outcome[KernelOutcome.LOADED]
    return CompilerCounts(
        compiler=compiler,
        compiled=len(compiled),
        loaded=len(loaded),
        listed=len(by_outcome[KernelOutcome.LISTED]),
        keys=len({(event.kernel, event.key) for event in compiled}),
        seconds=seconds_of(compiled),
        seconds_loading=seconds_of(loaded),
    )


def _repeated(events: Iterable[KernelEvent]) -> list[RepeatedKey]:
    times = Counter((event.compiler, event.kernel, event.key) for event in compiled_events(events))
    return [
        RepeatedKey(compiler=compiler, kernel=kernel, key=key, times=n)
        for (compiler, kernel, key), n in times.items()
        if n > 1
    ]
