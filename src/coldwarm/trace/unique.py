"""Defines which subgraphs are unique, for counts and explanations."""

from __future__ import annotations

from coldwarm.trace.kinds import CacheEvent, PiecewiseCompileStart


def answers(event: CacheEvent, subgraph: PiecewiseCompileStart) -> bool:
    """Return whether `event` is AOTAutograd's answer for `subgraph`, which vLLM is compiling.

    A torch.compile nested in it (a sampler, an expert kernel) has a separate compile id.
    """
    return event.layer == "AOTAutograd" and event.location.compile_id == subgraph.location.compile_id


def is_unique(event: CacheEvent) -> bool:
    """Return whether a subgraph with this answer was not compiled before.

    A hit in a start with empty caches is on the key of an earlier subgraph. vLLM does not ask at all if it still has
    the artifact of that key (vllm/compilation/backends.py, `CompilerManager.compile`).
    """
    return event.outcome != "hit"
