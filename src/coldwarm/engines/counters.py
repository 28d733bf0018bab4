"""The counters of the engine and the compiler in this process, and `expect()`, which asserts how they rise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from coldwarm.core.errors import nearest
from coldwarm.engines.base import read_counters
from coldwarm.observe import torch_counters


def snapshot() -> dict[str, int]:
    """Return every counter of the engines and compilers that this process has imported, by flat name.

    Programs that were not imported have no counters.
    """
    return {**read_counters(), **torch_counters.read()}


class UnknownCounterError(AssertionError):
    """An expected counter does not exist in this version of the engine or the compiler."""


class UnexpectedCountersError(AssertionError):
    """Counters rose by different amounts than expected."""


@contextmanager
def expect(
    expected: Mapping[str, int],
    *,
    snapshot: Callable[[], Mapping[str, int]] = snapshot,
) -> Iterator[None]:
    """Assert how much the block raises counters.

    Args:
        expected: The exact rise of each counter by flat name, for example
            ``{"vllm.num_compiled_artifacts_saved": 3, "torch.aot_autograd.autograd_cache_miss": 3}``.
        snapshot: Returns the counters; by default those of this process.

    Raises:
        UnknownCounterError: A counter does not exist in this version; the message names the nearest ones.
        UnexpectedCountersError: Counters rose by different amounts; the message lists them, before and after.

    If the block raises an exception, it propagates, and nothing is asserted.
    """
    before = snapshot()
    yield
    after = snapshot()
    # Checked after the block, because the block may import the program that has the counters.
    unknown = [unknown_counter(name, after) for name in expected if name not in after]
    wrong = [
        f"  {name}: expected +{rise}, got {after[name] - before.get(name, 0):+d} "
        f"(before {before.get(name, 0)}, after {after[name]})"
        for name, rise in expected.items()
        if name in after and after[name] - before.get(name, 0) != rise
    ]
    if wrong:
        wrong.insert(0, f"{len(wrong)} of {len(expected)} counters differ:")
    if unknown:
        raise UnknownCounterError("\n".join([*unknown, *wrong]))
    if wrong:
        raise UnexpectedCountersError("\n".join(wrong))


def unknown_counter(name: str, known: Mapping[str, int]) -> str:
    """Return a message that `name` is not among the `known` counters, with the nearest ones."""
    source = name.split(".", 1)[0] + "."
    if not any(other.startswith(source) for other in known):
        sources = ", ".join(sorted({other.split(".", 1)[0] for other in known})) or "none"
        return f"no counter {name!r}: nothing was counted by {source[:-1]!r} (sources here: {sources})"
    return f"no counter {name!r} in this version{nearest(name, known)}"
