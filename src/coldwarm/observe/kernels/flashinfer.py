"""Observes FlashInfer: modules that it builds with ninja, and its autotuner. Its CuTe DSL kernels are that probe's."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from coldwarm.core.kernels import Compiler, KernelOutcome, KernelSource
from coldwarm.observe.kernels.ninja_probe import NinjaProbe
from coldwarm.observe.kernels.probe import CompilerProbe, Observation
from coldwarm.observe.kernels.recorder import Recorder, component, digest


class FlashInferProbe(NinjaProbe):
    """Watches each build of a module."""

    name = "FlashInfer modules"
    compilers: ClassVar[tuple[Compiler, ...]] = (Compiler.FLASHINFER,)
    module = "flashinfer.jit.core"
    distribution = "flashinfer-python"

    def hook(self, module: ModuleType) -> None:
        """Wrap the function that runs ninja."""
        self.library = str(Path(str(module.__file__)).parent) + os.sep
        self.wrap(Compiler.FLASHINFER, module, "run_ninja", self._run_ninja)

    def _run_ninja(self, workdir: Path, ninja_file: Path, *_: Any, **__: Any) -> Observation:
        return self.observe_build(Path(workdir), Path(ninja_file))


class FlashInferAutotuneProbe(CompilerProbe):
    """Observes each choice that is made while the autotuner is on: whether anything was measured for it."""

    name = "FlashInfer autotuner"
    compilers: ClassVar[tuple[Compiler, ...]] = (Compiler.FLASHINFER_AUTOTUNE,)
    module = "flashinfer.autotuner"
    distribution = "flashinfer-python"

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._folder = ""
        self._running = threading.local()
        self._known: set[str] = set()
        """The operations that were measured, or whose results were loaded: later their results are in memory."""

    def hook(self, module: ModuleType) -> None:
        """Wrap the choice, and the measurement of one kernel within it."""
        self._folder = str(Path(str(module.__file__)).parent) + os.sep
        tuner = getattr(module, "AutoTuner", None)
        self.wrap(Compiler.FLASHINFER_AUTOTUNE, tuner, "choose_one", self._choose_one)
        self.wrap(Compiler.FLASHINFER_AUTOTUNE, tuner, "_profile_single_kernel", self._profile)

    def _choose_one(self, tuner: Any, custom_op: str, runners: Any, *args: Any, **kwargs: Any) -> Observation:
        # Each call of a kernel comes here, so this must be the first question.
        if not tuner.is_tuning_mode:
            return
        request = self.recorder.request(self._folder)
        self._running.measured = 0
        began, begin = time.perf_counter(), time.time()
        yield
        measured = self._running.measured
        if not measured and custom_op in self._known:
            return
        self._known.add(custom_op)
        inputs = args[1] if len(args) > 1 else kwargs.get("inputs", ())
        shapes = component([tuple(getattr(each, "shape", ())) for each in inputs])
        names = component(sorted({type(runner).__name__ for runner in runners}))
        self.recorder.add(
            request,
            compiler=Compiler.FLASHINFER_AUTOTUNE,
            kernel=custom_op,
            key=digest(custom_op, names, shapes),
            outcome=KernelOutcome.COMPILED if measured else KernelOutcome.LOADED,
            source=KernelSource.WRAPPED,
            begin=begin,
            seconds=time.perf_counter() - began,
            components={"runners": names, "shapes": shapes},
        )

    def _profile(self, *_: Any, **__: Any) -> Observation:
        self._running.measured = getattr(self._running, "measured", 0) + 1
        yield
