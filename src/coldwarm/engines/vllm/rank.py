"""Sets up every process that runs a rank of the model: limits it to the start's depth, and observes it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from coldwarm.core.depth import Depth
from coldwarm.core.phases import SETUP
from coldwarm.core.record import ModelLayers, ProcessReport
from coldwarm.core.request import StartRequest
from coldwarm.core.variables import REQUEST_VARIABLE
from coldwarm.engines.counters import snapshot
from coldwarm.engines.vllm.cache_keys import KeyProbe
from coldwarm.engines.vllm.depth_limits import limit_to
from coldwarm.engines.vllm.jit_warmup import JitWarmupProbe
from coldwarm.engines.vllm.kv_cache import KvCacheProbe
from coldwarm.engines.vllm.loaded_models import LOADED
from coldwarm.engines.vllm.steps import announce_steps
from coldwarm.observe.distributed import DistributedRank
from coldwarm.observe.probes import CounterProbe, Observer, Probe, process_probes
from coldwarm.observe.progress import Progress

if TYPE_CHECKING:
    from torch import nn

COMPILER_LOGGERS = (
    "vllm.compilation",
    "vllm.model_executor.models.registry",  # why a model's class cannot be imported
    "torch._dynamo",
    "torch._functorch",
    "torch._inductor",
)

_of_this_process: Observer | None = None


def set_up(request: StartRequest, observer: Observer | None = None) -> None:
    """Set up this process, once, before vLLM loads a model in it. Processes that are forked later inherit the setup.

    Args:
        request: The start.
        observer: The observer of this process, whose general probes are installed; None: create one.
    """
    global _of_this_process
    if _of_this_process is not None:
        return
    from coldwarm.engines.vllm.seeded_weights import SeededWeightsLoader

    if observer is None:
        observer = Observer(request.reports)
        progress = Progress.shared(SETUP)
        observer.install(*process_probes(request, COMPILER_LOGGERS, progress=progress))
        if progress is not None:
            announce_steps(progress, first_process=False)
    observer.install(*engine_probes(request.depth))
    SeededWeightsLoader.depth = request.depth
    limit_to(request.depth)
    _of_this_process = observer


def engine_probes(depth: Depth = Depth.FULL) -> list[Probe]:
    """Return the additional probes for every process of vLLM, in the order of installation."""
    return [KeyProbe(), CounterProbe(snapshot), ModelProbe(), KvCacheProbe(), JitWarmupProbe(depth)]


def set_up_from_environment() -> None:
    """Set up a process that vLLM created in a start made by coldwarm."""
    set_up(StartRequest.model_validate_json(Path(os.environ[REQUEST_VARIABLE]).read_bytes()))


def write_report(model: nn.Module) -> int:
    """Write the report of this process, which runs `model`. vLLM calls this in every rank (`LLM.apply_model`).

    Returns:
        The process id, by which the report is named.

    Raises:
        RuntimeError: The process was not set up, because vLLM did not load coldwarm's plugin.
        OSError: The report cannot be written.
    """
    if _of_this_process is None:
        raise RuntimeError(
            f"coldwarm did not observe process {os.getpid()}, which runs a part of the model: "
            "vLLM did not load the plugin 'coldwarm' of the entry point group vllm.general_plugins; reinstall coldwarm"
        )
    _of_this_process.write()
    return os.getpid()


class ModelProbe:
    """Reports the rank of the process, and the layers of the models that vLLM compiles in it.

    Args:
        role: Returns the role of a process that loaded no model.
    """

    name = "model"

    def __init__(self, role: Callable[[], str] = lambda: "engine core") -> None:
        self._role = role
        self._rank = DistributedRank()
        self._rank_process: int | None = None
        self._described: tuple[str | None, ModelLayers | None, list[ModelLayers]] = None, None, []

    def install(self) -> None:
        """Do nothing: the loader of the weights stores each model."""

    def milestones(self) -> int:
        """Return a number that rises when this is installed, when the process becomes a rank, and with each model."""
        return 1 + self._is_rank() + len(LOADED)

    def _is_rank(self) -> bool:
        """Return whether vLLM has made this process one of its ranks, which it does before it loads the model.

        A program that uses vLLM may have process groups of its own.
        """
        state = sys.modules.get("vllm.distributed.parallel_state")
        if getattr(state, "_WORLD", None) is not None and self._rank.known() is not None:
            self._rank_process = os.getpid()
        return self._rank_process == os.getpid()

    def report(self, report: ProcessReport) -> None:
        """Report the rank and the layers; or, if the process loads no model, only its role."""
        rank = self._rank.known()
        if not LOADED and not self._is_rank():
            report.role = self._role()
            report.rank = None
            return
        report.role = "worker"
        report.rank = 0 if rank is None else rank
        if not LOADED:  # not yet
            return
        from coldwarm.engines.vllm.layers import layers_of_models, why_not_compiled

        models = [loaded.model for loaded in LOADED]
        # A program may have released a model since it was described.
        if not any(model is None for model in models):
            self._described = why_not_compiled(), *layers_of_models()
        report.torch_compile, main, further = self._described
        report.further_models = further
        if main is not None:
            report.layer_kinds = main.layer_kinds
            report.layer_configurations = main.layer_configurations
            report.main_model = main.name
