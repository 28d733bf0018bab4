"""Starts a model with vLLM in this process, generates with it, and returns the engine's facts."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from coldwarm.core.depth import Depth
from coldwarm.core.options import merged
from coldwarm.core.phases import GENERATE, SETUP
from coldwarm.core.record import EngineFacts, GeneratedToken
from coldwarm.core.request import StartRequest
from coldwarm.engines.base import Worker
from coldwarm.engines.vllm.loaded_models import LOADED
from coldwarm.engines.vllm.program import aot_artifact, versions
from coldwarm.engines.vllm.rank import COMPILER_LOGGERS
from coldwarm.engines.vllm.steps import announce_steps
from coldwarm.observe.hardware import hardware
from coldwarm.observe.probes import Observer
from coldwarm.observe.progress import Progress

# As in vLLM's own startup tests (tests/compile/h100/test_startup.py).
_MAX_MODEL_LEN = 256
_MAX_NUM_BATCHED_TOKENS = 1024
# Set explicitly, because memory profiling fails if several starts use one device.
_KV_CACHE_BYTES = 256 * 2**20
_NUM_BLOCKS = 64
# vLLM refuses to start if a smaller fraction of the memory is free, even with an explicit size of the KV cache.
_MEMORY_UTILIZATION = 0.05

# vLLM warms up sampling with this number of sequences, over the whole vocabulary: with its default, 256, that takes 4
# to 8 s per start on a CPU. With 8 or more, it samples with a Triton kernel (vllm/v1/sample/ops/topk_topp_sampler.py,
# `apply_top_k_top_p`), which takes 10 s to compile in each cold start on a GPU. The model's graph is the same.
_MAX_NUM_SEQS = 4

_PROMPT_TOKENS = 16
_GENERATED_TOKENS = 8
_LOGPROBS = 5

# The option with which a multimodal model takes text only, and vLLM does not build its encoders.
_LANGUAGE_ONLY = "language_model_only"

# The error that ends a start early; a name, because its module imports vLLM.
_EVERYTHING_KNOWN = "EverythingKnownError"


def create() -> Worker:
    """Return the half of vLLM's adapter that runs in a worker."""
    return VllmWorker()


class VllmWorker:
    """Runs vLLM in this process."""

    compiler_loggers: tuple[str, ...] = COMPILER_LOGGERS

    # Precompiled C++ headers, which torch deliberately stores for the whole machine, not for a model
    # (torch/_inductor/codecache.py, `_HEADER_DIR`).
    shared_folders: tuple[str, ...] = ("precompiled_headers",)

    def __init__(self) -> None:
        # Referenced until the process ends, because vLLM takes a second to shut down an engine that is deleted.
        self._started: Any = None

    def preload(self, depth: Depth) -> None:
        """Import vLLM for starts that are forked from this process."""
        from coldwarm.engines.vllm.preloaded import preload

        preload(depth)

    def after_fork(self) -> None:
        """Make this forked process write its own trace."""
        from coldwarm.engines.vllm.preloaded import after_fork

        after_fork()

    def start(self, request: StartRequest, progress: Progress, observer: Observer) -> EngineFacts:
        """Start the model, generate a few tokens greedily, and return vLLM's facts.

        Tokens are generated only at full depth. Every process that runs a rank, possibly including this one, writes its
        report before this returns.
        """
        progress.enter("import")
        import vllm

        engine = vllm.LLM  # which vLLM imports when it is first used
        announce_steps(progress)
        progress.share()

        from coldwarm.engines.vllm.rank import set_up, write_report
        from coldwarm.engines.vllm.seeded_weights import LOAD_FORMAT

        set_up(request, observer)
        progress.enter(SETUP)
        generation = _Generation()
        try:
            llm = self._started = engine(**_options(request), load_format=LOAD_FORMAT)
            if request.depth is Depth.FULL:
                progress.enter(GENERATE)
                generation.generate(llm)
            ranks = len(llm.apply_model(write_report))
        except BaseException as error:
            if type(error).__name__ != _EVERYTHING_KNOWN:
                raise
            ranks = 1
        return EngineFacts(
            versions=versions(),
            hardware=_hardware(),
            aot_artifact=aot_artifact(),
            ranks=ranks,
            ineffective_options=_ineffective(request.options, self._started or LOADED[0].model),
            prompt_token_ids=generation.prompt,
            generated=generation.generated,
            generated_again=generation.again,
        )


def _ineffective(options: dict[str, Any], started: Any) -> dict[str, str]:
    """Return the options without effect.

    Args:
        options: The user's options.
        started: The started `LLM`, or its model if the start ended early.
    """
    from coldwarm.engines.vllm.ineffective_options import ineffective_options

    try:
        if hasattr(started, "llm_engine"):
            config = started.llm_engine.vllm_config
        else:
            # The modules that vLLM compiles have the config (vllm/compilation/decorators.py).
            config = next(part.vllm_config for part in started.modules() if hasattr(part, "vllm_config"))
        return ineffective_options(options, config)
    except Exception:
        # A failure to record something must not fail the start.
        return {}


class _Generation:
    """The tokens that the started model generates."""

    def __init__(self) -> None:
        self.prompt: list[int] = []
        self.generated: list[GeneratedToken] = []
        self.again: list[GeneratedToken] = []

    def generate(self, llm: Any) -> None:
        """Generate tokens twice from the same prompt."""
        from vllm import SamplingParams

        sampling = SamplingParams(
            temperature=0.0,
            max_tokens=_GENERATED_TOKENS,
            logprobs=_LOGPROBS,
            ignore_eos=True,
            detokenize=False,
        )
        self.prompt = _prompt(llm.llm_engine.model_config.get_vocab_size())
        self.generated = _generate(llm, self.prompt, sampling)
        self.again = _generate(llm, self.prompt, sampling)


def _options(request: StartRequest) -> dict[str, Any]:
    from vllm import EngineArgs
    from vllm.config import CompilationMode

    from coldwarm.engines.vllm.drafter import with_drafter

    options: dict[str, Any] = {
        "model": str(request.model_folder),
        "hf_overrides": request.overrides,
        "skip_tokenizer_init": True,
        # By default, some models have a mode that needs the tokenizer even so (vllm/renderers/inkling.py).
        "tokenizer_mode": "hf",
        "seed": request.seed,
        "max_model_len": _MAX_MODEL_LEN,
        "max_num_batched_tokens": _MAX_NUM_BATCHED_TOKENS,
        "max_num_seqs": _MAX_NUM_SEQS,
        "num_gpu_blocks_override": _NUM_BLOCKS,
        "kv_cache_memory_bytes": _KV_CACHE_BYTES,
        "gpu_memory_utilization": _MEMORY_UTILIZATION,
        "disable_log_stats": True,
        "compilation_config": {
            "mode": CompilationMode.VLLM_COMPILE,
            "cudagraph_mode": "NONE",
            "pass_config": {"fuse_allreduce_rms": False},
        },
    }
    if request.device == "cuda":
        if not _needs_other_blocks(request.model_folder):
            options["block_size"] = 64
    else:
        # vLLM's CPU platform disables it for MLA models too late: it then rejects the block size that it has chosen for
        # linear attention with the cache (vllm/platforms/cpu.py; vllm/config/vllm.py, `validate_mamba_block_size`).
        options["enable_prefix_caching"] = False
    options = merged(options, request.options)
    # Without a tokenizer, vLLM cannot build the processor of images (vllm/multimodal/processing/processor.py).
    if options["skip_tokenizer_init"] and _LANGUAGE_ONLY in {field.name for field in fields(EngineArgs)}:
        options.setdefault(_LANGUAGE_ONLY, True)
    return with_drafter(options, request)


def _needs_other_blocks(model: Path) -> bool:
    """Return whether the attention of a model does not work with blocks of 64 tokens, so that vLLM must choose their
    size: DeepSeek-V4 stores one entry for 4 or 128 tokens, and MiniMax-M3's sparse attention has blocks of 128."""
    config = json.loads((model / "config.json").read_bytes())
    text = config.get("text_config")
    parts = [config, text if isinstance(text, dict) else {}]
    return any(part.get(key) for part in parts for key in ("compress_ratios", "sparse_attention_config"))


def _prompt(vocabulary: int) -> list[int]:
    """Return fixed token ids, spread over the vocabulary."""
    return [(997 * (i + 1)) % vocabulary for i in range(_PROMPT_TOKENS)]


def _generate(llm: Any, prompt: list[int], sampling: Any) -> list[GeneratedToken]:
    [output] = llm.generate([{"prompt_token_ids": prompt}], sampling, use_tqdm=False)
    [completion] = output.outputs
    return [
        GeneratedToken(token_id=token_id, logprobs={i: _number(logprob.logprob) for i, logprob in logprobs.items()})
        for token_id, logprobs in zip(completion.token_ids, completion.logprobs, strict=True)
    ]


def _number(value: float) -> float | None:
    # JSON has no NaN; it is stored as None.
    return None if value != value else value


def _hardware() -> dict[str, str]:
    import torch

    return hardware(uses_gpu=torch.cuda.is_available())
