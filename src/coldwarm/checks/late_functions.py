"""Functions that were compiled after the engine was ready: those that break an invariant, and those that do not."""

from __future__ import annotations

from coldwarm.core.record import StartKind, StartRecord
from coldwarm.engines.base import load_vocabulary
from coldwarm.measure.late_functions import LateFunction, functions_after_ready


def unexpected(record: StartRecord, rank: int | None = None) -> list[LateFunction]:
    """Return the functions that were compiled after the engine was ready, and should not have been.

    A function that only requests for log-probabilities need is compiled at the first of them, which is coldwarm's, but
    in the cold start only.

    Args:
        record: The start.
        rank: Only those of this rank; None: of all.
    """
    late = functions_after_ready(record, rank)
    return late if record.kind is StartKind.WARM else [each for each in late if not _is_expected(record, each)]


def compiled_on_request(cold: StartRecord) -> list[str]:
    """Return a note for each function that the cold start compiled only for a request for log-probabilities."""
    return [
        f"after a cold start, the first request for log-probabilities waits for torch.compile of {each.name} "
        f"({each.where}): {load_vocabulary(cold.engine).title}'s warm-up makes no such request"
        for each in functions_after_ready(cold)
        if _is_expected(cold, each)
    ]


def _is_expected(record: StartRecord, function: LateFunction) -> bool:
    return function.is_in(load_vocabulary(record.engine).compiled_on_request)
