"""What coldwarm does in every process that runs a rank of the model: follows the start's depth, and observes."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.depth import Depth
from coldwarm.core.record import ProcessReport
from coldwarm.core.request import StartRequest
from coldwarm.core.variables import REQUEST_VARIABLE
from coldwarm.engines.counters import snapshot
from coldwarm.engines.vllm.cache_keys import KeyWatch
from coldwarm.observe.log_watch import WarningKeeper, watch_logs
from coldwarm.observe.outside import OutsideWatch

if TYPE_CHECKING:
    from torch import nn

COMPILER_LOGGERS = ("vllm.compilation", "torch._dynamo", "torch._functorch", "torch._inductor")

_of_this_process: Rank | None = None


def set_up(request: StartRequest, *, is_workers_own: bool) -> Rank:
    """Set up this process once; a process that was forked from one that is set up has it from there.

    Args:
        request: The start.
        is_workers_own: Whether this is coldwarm's own process, which watches logs and files by itself.
    """
    global _of_this_process
    if _of_this_process is None:
        _of_this_process = Rank(request, is_workers_own=is_workers_own)
    return _of_this_process


def set_up_from_environment() -> None:
    """Set up a process that vLLM started for a start of coldwarm's."""
    request = Path(os.environ[REQUEST_VARIABLE])
    set_up(StartRequest.model_validate_json(request.read_bytes()), is_workers_own=False)


def report_of_rank(model: nn.Module) -> tuple[ProcessReport, CacheKeys]:
    """Return what was seen in this process, which runs `model`; vLLM calls this in each of them (`LLM.apply_model`).

    Raises:
        RuntimeError: The process was not set up: vLLM did not load coldwarm's plugin.
    """
    if _of_this_process is None:
        raise RuntimeError(
            f"coldwarm did not observe process {os.getpid()}, which runs a part of the model: "
            "vLLM did not load the plugin 'coldwarm' of the entry point group vllm.general_plugins; reinstall coldwarm"
        )
    return _of_this_process.report(model), _of_this_process.cache_keys


class Rank:
    """One process, from the time that this is created: before vLLM loads a model there.

    Args:
        request: The start.
        is_workers_own: Whether this is coldwarm's own process, which watches logs and files by itself.
    """

    def __init__(self, request: StartRequest, *, is_workers_own: bool) -> None:
        from coldwarm.engines.vllm.seeded_weights import SeededWeightsLoader

        self._keys = KeyWatch()
        self._keys.install()
        SeededWeightsLoader.depth = request.depth
        _limit_to(request.depth)
        self._warnings = WarningKeeper(() if is_workers_own else COMPILER_LOGGERS)
        self._outside: OutsideWatch | None = None
        if not is_workers_own:
            watch_logs(self._warnings)
            self._outside = OutsideWatch(request.own_folders, request.users_caches)
        self._before = snapshot()

    @property
    def cache_keys(self) -> CacheKeys:
        """What went into the keys of vLLM's caches."""
        return self._keys.keys

    def counters(self) -> dict[str, int]:
        """How far each counter rose since this was created."""
        return {name: count - self._before.get(name, 0) for name, count in snapshot().items()}

    def report(self, model: nn.Module) -> ProcessReport:
        """Return what was seen so far."""
        import torch

        from coldwarm.engines.vllm.layers import layers_of

        main, further = layers_of(model)
        distributed = torch.distributed.is_available() and torch.distributed.is_initialized()
        report = ProcessReport(
            pid=os.getpid(),
            rank=torch.distributed.get_rank() if distributed else 0,
            counters=self.counters(),
            layer_kinds=main.layer_kinds if main else [],
            layer_configurations=main.layer_configurations if main else {},
            main_model=main.name if main else None,
            further_models=further,
            messages=list(self._warnings.messages),
            # Linux counts ru_maxrss in KiB.
            peak_memory_bytes=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
            peak_device_memory_bytes=int(torch.cuda.max_memory_reserved()) if torch.cuda.is_available() else None,
        )
        if self._outside is not None:
            report.outside = self._outside.use()
        return report


def _limit_to(depth: Depth) -> None:
    """Have vLLM and Inductor do what `depth` asks for, and no more."""
    if depth is Depth.TRACE:
        from coldwarm.engines.vllm.keys_only import stop_at_keys

        stop_at_keys()
    elif depth is Depth.COUNT:
        from coldwarm.engines.vllm.without_kernels import leave_kernels_out

        leave_kernels_out()
