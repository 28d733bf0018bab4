"""Describes a changed component of vLLM's cache keys, and what the user can do about it."""

from __future__ import annotations

import re

from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.record import StartKind
from coldwarm.engines.vllm.saved_keys import HASH

ORDER = ("vllm", "torch", "system", "environment", "config.additional_config", "source")
"""Groups of components (`CacheKeys.factors`) that a user can act on, the most useful first."""


_OF_A_NODE = re.compile(r"_(HOST|IP|PORT|ADDRESS|RANK)$")
"""Variables such as VLLM_P2P_SIDE_CHANNEL_HOST, which vLLM 0.32 has in its key, unlike VLLM_NIXL_SIDE_CHANNEL_HOST."""
_IF_EACH_NODE_NEEDS_ITS_OWN = (
    "; if each node needs its own, no setting helps: ask vLLM to leave it out of the key, as it does VLLM_HOST_IP "
    "(`ignored_factors` in vllm/envs.py)"
)


def describe(factor: ChangedFactor) -> tuple[str, str]:
    """Return what changed, and what the user can try."""
    match factor.group:
        case "environment":
            return (
                f"the environment variable {factor.name} is part of vLLM's cache key and changed",
                f"set {factor.name} to the same value wherever the cache is filled and used"
                + (_IF_EACH_NODE_NEEDS_ITS_OWN if _OF_A_NODE.search(factor.name) else ""),
            )
        case "source" if factor.name != HASH and (factor.cold is None or factor.warm is None):
            there, missing = (
                (StartKind.COLD, StartKind.WARM) if factor.warm is None else (StartKind.WARM, StartKind.COLD)
            )
            return (
                f"{factor.name} is part of the {there} start's cache key but not of the {missing} start's",
                "this is a defect of vLLM, unless the model took a different path through its code: the cold start "
                "hashes all files that Dynamo traced, the warm start those that the saved function lists "
                "(vllm/compilation/decorators.py, _verify_source_unchanged)",
            )
        case "source" if factor.name != HASH:
            return (
                f"a source file that the model is compiled from changed, {factor.name}",
                "refill the cache after every change of the code; a cache is valid only for the sources that it was "
                "compiled from",
            )
        case "config.additional_config":
            return (
                f"the engine's option additional_config.{factor.name} is part of vLLM's cache key and changed",
                "remove from additional_config the values that differ from start to start",
            )
        case "vllm" | "torch" | "system":
            return (
                f"the cache was filled with a different {factor.group} ({factor.name})",
                "fill the cache with the same versions and on the same hardware that use it",
            )
    if factor.name == HASH:
        return (
            f"the {factor.group} part of vLLM's cache key changed, of which vLLM stores only a hash",
            "fill the cache with 'coldwarm watch', which stores all components with it",
        )
    return (
        f"{factor.group}.{factor.name} is part of vLLM's cache key and changed"
        if factor.group.startswith("config.")
        else f"{factor.name} of the {factor.group} is part of the cache key and changed",
        "start with the same setting wherever the cache is filled and used",
    )
