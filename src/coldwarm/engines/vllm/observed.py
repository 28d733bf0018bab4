"""Observes vLLM in the processes of a user's command: API server, engine core, workers, or a script that uses `LLM`.

Nothing is imported here that the program has not imported itself.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

from coldwarm.core.depth import Depth
from coldwarm.core.record import ProcessReport
from coldwarm.engines.vllm.cache_keys import KeyProbe
from coldwarm.engines.vllm.jit_warmup import JitWarmupProbe
from coldwarm.engines.vllm.kv_cache import KvCacheProbe
from coldwarm.engines.vllm.loaded_models import LOADED, LoadedModel
from coldwarm.engines.vllm.program import aot_artifact, versions
from coldwarm.engines.vllm.rank import COMPILER_LOGGERS, ModelProbe
from coldwarm.engines.vllm.steps import announce_steps
from coldwarm.engines.vllm.warmed_up import WarmedUpProbe
from coldwarm.observe.after_import import after_import
from coldwarm.observe.probes import Observer
from coldwarm.observe.progress import Progress

loggers = COMPILER_LOGGERS

_LOADERS = tuple(f"vllm.model_executor.model_loader.{name}" for name in ("base_loader", "tensorizer_loader"))
_NAME = "vllm"
_SERVER = "vllm.entrypoints.openai.api_server"


def observe(observer: Observer, progress: Progress) -> None:
    """Install the probes of vLLM, each when the program has imported what it observes."""
    # Importing it imports the other modules in which vLLM computes its keys.
    after_import(("vllm.compilation.decorators",), lambda _: observer.install(KeyProbe()))
    after_import(_LOADERS, _note_loaded_models)
    # The model of a process that is forked from a rank is its parent's.
    os.register_at_fork(after_in_child=LOADED.clear)

    def observe_vllm() -> None:
        observer.install(
            ModelProbe(role), VllmProgramProbe(), KvCacheProbe(), WarmedUpProbe(), JitWarmupProbe(Depth.FULL)
        )
        # Until the first rank announces its own steps, most time goes to imports in one process after the other.
        progress.announce("import")

    # Usually it is vLLM that imports torch, which is when this is called: its own import has not ended.
    if _NAME in sys.modules:
        observe_vllm()
    else:
        after_import((_NAME,), lambda _: observe_vllm())
    announce_steps(progress, first_process=False)


def role() -> str:
    """Return the role of a process of vLLM that has loaded no model."""
    name = multiprocessing.current_process().name
    if name.startswith("EngineCore"):
        return "engine core"
    if name != "MainProcess" and not name.startswith("ApiServer"):
        return name
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    is_server = _SERVER in sys.modules or (spec is not None and spec.name == _SERVER)
    return "API server" if is_server else "program"


class VllmProgramProbe:
    """Reports that the program uses vLLM, and which."""

    name = "program of vLLM"

    def install(self) -> None:
        """Do nothing: vLLM knows all of it."""

    def report(self, report: ProcessReport) -> None:
        """Complete what was reported of the program."""
        if report.program is not None:
            report.program.engine = _NAME
            report.program.versions |= versions()
            report.program.aot_artifact = aot_artifact()


def _note_loaded_models(module: ModuleType) -> None:
    """Wrap the method of the loaders in `module` that load a model."""
    for loader in list(vars(module).values()):
        if isinstance(loader, type) and loader.__module__ == module.__name__ and "load_model" in vars(loader):
            loader.load_model = _noting(loader.load_model)  # type: ignore[attr-defined]


def _noting(load_model: Any) -> Any:
    @functools.wraps(load_model)
    def noting(loader: Any, *args: Any, **kwargs: Any) -> Any:
        model = load_model(loader, *args, **kwargs)
        backends = sys.modules.get("vllm.compilation.backends")
        config = kwargs.get("model_config") or (args[1] if len(args) > 1 else None)
        with suppress(Exception):  # the program must not fail because it is observed
            LOADED.append(LoadedModel.of_users_program(model, getattr(backends, "model_tag", "backbone"), config))
            # Here, so that a report, which another thread writes, need not wait for an import.
            importlib.import_module("coldwarm.engines.vllm.layers")
        return model

    return noting
