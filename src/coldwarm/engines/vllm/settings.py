"""The environment variables that are settings of a start's compilation, without which expectations were measured.

This module does not import vLLM, so that stored runs can be judged without it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


DEFAULTS = {
    # The engine runs in the worker's process, where its counters can be read.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # A rank that is a new process writes its own trace; a forked one would write to that of its parent.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_DO_NOT_TRACK": "1",
    # Optional kernels that take minutes to warm up, or are not installed, and change no artifact.
    "VLLM_USE_FLASHINFER_SAMPLER": "0",
    "VLLM_DEEP_GEMM_WARMUP": "skip",
}
"""Variables that coldwarm sets for every start; the user's values take precedence."""

# Threads (OMP_*, MKL_*) and the toolchain (CC, CUDA_HOME, LD_PRELOAD) change kernels and times, but no graph or count.
_OF_ENGINE_AND_COMPILER = re.compile(r"(VLLM|TORCH|PYTORCH|TRITON|INDUCTOR|AOT|FLASHINFER)[A-Z0-9]*_")

OUTSIDE_THE_KEY = _names(
    """
    CUDA_VISIBLE_DEVICES FORCE_COLOR LD_LIBRARY_PATH LOCAL_RANK MAX_JOBS NO_COLOR S3_ACCESS_KEY_ID S3_ENDPOINT_URL
    S3_SECRET_ACCESS_KEY VLLM_API_KEY VLLM_ASSETS_CACHE VLLM_ASSETS_CACHE_MODEL_CLEAN VLLM_AUDIO_FETCH_TIMEOUT
    VLLM_CACHE_ROOT VLLM_CONFIG_ROOT VLLM_CPU_KVCACHE_SPACE VLLM_CPU_MOE_PREPACK VLLM_CUDA_COMPATIBILITY_PATH
    VLLM_DEBUG_DUMP_PATH VLLM_DEBUG_LOG_API_SERVER_RESPONSE VLLM_DO_NOT_TRACK VLLM_DP_MASTER_IP VLLM_DP_MASTER_PORT
    VLLM_ELASTIC_EP_SCALE_UP_LAUNCH VLLM_ENABLE_CUDA_COMPATIBILITY VLLM_ENABLE_STARTUP_PLAN
    VLLM_ENABLE_V1_MULTIPROCESSING VLLM_ENGINE_ITERATION_TIMEOUT_S VLLM_EXECUTE_MODEL_TIMEOUT_SECONDS
    VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR VLLM_FLASHINFER_AUTOTUNE_SKIP_OPS VLLM_FORCE_AOT_LOAD VLLM_HOST_IP
    VLLM_HTTP_TIMEOUT_KEEP_ALIVE VLLM_IMAGE_FETCH_TIMEOUT VLLM_KEEP_ALIVE_ON_ENGINE_DEATH VLLM_LOGGING_COLOR
    VLLM_LOGGING_CONFIG_PATH VLLM_LOGGING_LEVEL VLLM_LOGGING_PREFIX VLLM_LOGGING_STREAM VLLM_LOG_STATS_INTERVAL
    VLLM_MAX_AUDIO_CLIP_FILESIZE_MB VLLM_MAX_AUDIO_DECODE_BYTES VLLM_MAX_AUDIO_DECODE_DURATION_S
    VLLM_MAX_AUDIO_PREPROCESS_WORKERS VLLM_MAX_EMBED_DECODE_BYTES VLLM_MAX_IMAGE_PIXELS VLLM_MEDIA_CACHE
    VLLM_MEDIA_CACHE_MAX_SIZE_MB VLLM_MEDIA_CACHE_TTL_HOURS VLLM_MEDIA_CONNECTOR VLLM_MEDIA_FETCH_MAX_RETRIES
    VLLM_MEDIA_LOADING_THREAD_COUNT VLLM_MEDIA_URL_ALLOW_REDIRECTS VLLM_MODEL_REDIRECT_PATH
    VLLM_NIXL_SIDE_CHANNEL_HOST VLLM_NO_USAGE_STATS VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME VLLM_PORT
    VLLM_RANDOMIZE_DP_DUMMY_INPUTS VLLM_RINGBUFFER_WARNING_INTERVAL VLLM_RPC_BASE_PATH VLLM_SERVER_DEV_MODE
    VLLM_SKIP_MODEL_NAME_VALIDATION VLLM_SKIP_VERSION_SUFFIX VLLM_TEST_FORCE_LOAD_FORMAT
    VLLM_TRITON_JIT_WARMUP_NUM_THREADS VLLM_TUNED_CONFIG_FOLDER VLLM_USAGE_STATS_SERVER VLLM_USE_MODELSCOPE
    VLLM_V1_OUTPUT_PROC_CHUNK_SIZE VLLM_VIDEO_FETCH_TIMEOUT VLLM_VIDEO_LOADER_BACKEND VLLM_WORKER_MULTIPROC_METHOD
    VLLM_WORKER_SHUTDOWN_TIMEOUT_SECONDS VLLM_XLA_CACHE_PATH VLLM_ZENTORCH_WEIGHT_PREPACK
    """
)
"""Variables that vLLM leaves out of its compile key (vllm/envs.py, `ignored_factors` in `compile_factors`; the lists
of 0.28, 0.30 and 0.32 together)."""

_OF_NO_GRAPH = _names(
    """
    VLLM_BUILD_COMMIT VLLM_BUILD_PIPELINE VLLM_BUILD_URL VLLM_CHAT_TEMPLATE_RENDER_TIMEOUT VLLM_CONFIGURE_LOGGING
    VLLM_CPU_NUM_OF_RESERVED_CPU VLLM_CPU_OMP_THREADS_BIND VLLM_DISABLE_LOG_LOGO VLLM_DOCKER_BUILD_CONTEXT
    VLLM_ENGINE_READY_TIMEOUT_S VLLM_IMAGE_TAG VLLM_LOG_BATCHSIZE_INTERVAL VLLM_LOOPBACK_IP VLLM_MAIN_CUDA_VERSION
    VLLM_PROCESS_NAME_PREFIX VLLM_RPC_TIMEOUT VLLM_TARGET_DEVICE VLLM_USAGE_SOURCE
    TORCH_SYMM_MEM_DISABLE_MULTICAST VLLM_ALLREDUCE_USE_FLASHINFER VLLM_ALLREDUCE_USE_SYMM_MEM
    PYTORCH_ALLOC_CONF PYTORCH_CUDA_ALLOC_CONF PYTORCH_SKIP_CUDNN_COMPATIBILITY_CHECK TORCH_CUDA_ARCH_LIST TORCH_LOGS
    TORCH_LOGS_FORMAT TORCH_LOGS_OUT TORCH_SHOW_CPP_STACKTRACES TORCHINDUCTOR_COMPILE_THREADS
    """
)
"""Variables that may be in a compile key, but are about a time, an address, a log, a build, the memory allocator, the
number of threads, or how ranks communicate within the operator `vllm::all_reduce` (vllm/envs.py;
vllm/distributed/parallel_state.py; PyTorch's documentation of its environment variables)."""

# Conditions have a separate key for it, `aot_artifact`.
_IS_A_CONDITION = "VLLM_USE_MEGA_AOT_ARTIFACT"


def settings_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a recorded `environment` with which a model may be compiled differently."""
    return {name: value for name, value in keyed_in(environment).items() if name not in _OF_NO_GRAPH}


def keyed_in(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of a recorded `environment` that may be in the key of a compile cache."""
    return {
        name: value
        for name, value in environment.items()
        if _OF_ENGINE_AND_COMPILER.match(name)
        and name not in OUTSIDE_THE_KEY
        and name != _IS_A_CONDITION
        and DEFAULTS.get(name) != value
    }
