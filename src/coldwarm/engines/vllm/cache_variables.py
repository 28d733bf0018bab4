"""The variables that name vLLM's cache folders."""

from __future__ import annotations

from coldwarm.engines.vocabulary import CacheFolders

CACHES = CacheFolders(
    always={
        "VLLM_CACHE_ROOT": "vllm",  # artifacts, AOT-compiled functions, model infos
        "VLLM_CONFIG_ROOT": "vllm-config",
    },
    where_set={
        "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": "flashinfer-autotune",
        "VLLM_ASSETS_CACHE": "vllm-assets",
        "VLLM_MEDIA_CACHE": "vllm-media",
        "VLLM_XLA_CACHE_PATH": "xla",
    },
    of_more_than_caches=frozenset({"VLLM_CONFIG_ROOT"}),
    # The user's inputs (LoRA adapters, tuned configurations), and output that nothing reads.
    no_caches=frozenset({"VLLM_LORA_RESOLVER_CACHE_DIR", "VLLM_TUNED_CONFIG_FOLDER", "VLLM_DEBUG_DUMP_PATH"}),
    default="vllm",
    sockets=("VLLM_RPC_BASE_PATH",),  # not a part of the cache key (`compile_factors` of vllm/envs.py)
    # The file with which the ranks of a start find each other (vllm/utils/network_utils.py); a start that ends without
    # shutting down does not remove it.
    rendezvous=("vllm_dist_",),
)
"""The variables of vllm/envs.py (0.26 to 0.33)."""
