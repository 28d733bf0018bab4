"""What coldwarm does in every process that runs a rank of the model: follows the start's depth, and observes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from coldwarm.core.depth import Depth
from coldwarm.core.record import ProcessReport
from coldwarm.core.request import StartRequest
from coldwarm.core.variables import REQUEST_VARIABLE
from coldwarm.engines.counters import snapshot
from coldwarm.engines.vllm.cache_keys import KeyProbe
from coldwarm.observe.probes import CounterProbe, Observer, Probe, process_probes

if TYPE_CHECKING:
    from torch import nn

COMPILER_LOGGERS = ("vllm.compilation", "torch._dynamo", "torch._functorch", "torch._inductor")

_of_this_process: Observer | None = None


def set_up(request: StartRequest, observer: Observer | None = None) -> None:
    """Set up this process once, before vLLM loads a model there; one that is forked from it later has it from there.

    Args:
        request: The start.
        observer: Observes this process already; None: nothing does.
    """
    global _of_this_process
    if _of_this_process is not None:
        return
    from coldwarm.engines.vllm.seeded_weights import SeededWeightsLoader

    if observer is None:
        observer = Observer(request.reports)
        observer.install(*process_probes(request, COMPILER_LOGGERS))
    observer.install(*engine_probes())
    SeededWeightsLoader.depth = request.depth
    _limit_to(request.depth)
    _of_this_process = observer


def engine_probes() -> list[Probe]:
    """Return the probes of vLLM's processes, whether they run a rank or not, in the order of installation."""
    return [KeyProbe(), CounterProbe(snapshot), ModelProbe()]


def set_up_from_environment() -> None:
    """Set up a process that vLLM started for a start of coldwarm's."""
    set_up(StartRequest.model_validate_json(Path(os.environ[REQUEST_VARIABLE]).read_bytes()))


def write_report(model: nn.Module) -> int:
    """Write what was seen in this process, which runs `model`; vLLM calls this in each of them (`LLM.apply_model`).

    Returns:
        The process id, which names the report.

    Raises:
        RuntimeError: The process was not set up: vLLM did not load coldwarm's plugin.
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
    """Reports which rank the process runs, and the layers of the models that vLLM compiles there."""

    name = "model"

    def install(self) -> None:
        """Nothing to install: the loader of the weights notes each model."""

    def report(self, report: ProcessReport) -> None:
        """Report the rank and the layers; a process that loaded no model runs none, but has others do so."""
        import torch

        from coldwarm.engines.vllm.layers import layers_of_models, why_not_compiled
        from coldwarm.engines.vllm.seeded_weights import SeededWeightsLoader

        if not SeededWeightsLoader.loaded:
            report.role = "engine core"
            return
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        report.rank = torch.distributed.get_rank() if distributed else 0
        report.torch_compile = why_not_compiled()
        main, further = layers_of_models()
        report.further_models = further
        if main is not None:
            report.layer_kinds = main.layer_kinds
            report.layer_configurations = main.layer_configurations
            report.main_model = main.name


def _limit_to(depth: Depth) -> None:
    """Have vLLM and Inductor do what `depth` asks for, and no more."""
    if depth is Depth.TRACE:
        from coldwarm.engines.vllm.keys_only import stop_at_keys

        stop_at_keys()
    elif depth is Depth.COUNT:
        from coldwarm.engines.vllm.without_kernels import leave_kernels_out

        leave_kernels_out()
