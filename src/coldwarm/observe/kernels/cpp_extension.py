"""Observes PyTorch's C++ extensions, which ninja builds."""

from __future__ import annotations

import time
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from coldwarm.core.kernels import Compiler, KernelOutcome, KernelSource
from coldwarm.observe.kernels import ninja
from coldwarm.observe.kernels.probe import CompilerProbe, Observation
from coldwarm.observe.kernels.recorder import Recorder, component, digest


class CppExtensionProbe(CompilerProbe):
    """Watches each build of an extension: what it compiled, and why if it was built before."""

    name = "C++ extensions"
    compilers: ClassVar[tuple[Compiler, ...]] = (Compiler.CPP_EXTENSION,)
    module = "torch.utils.cpp_extension"
    distribution = "torch"

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self._file = ""

    def hook(self, module: ModuleType) -> None:
        """Wrap the function that runs ninja."""
        self._file = str(module.__file__)
        self.wrap(Compiler.CPP_EXTENSION, module, "_run_ninja_build", self._run_ninja_build)

    def _run_ninja_build(self, build_directory: str, *_: Any, **__: Any) -> Observation:
        folder = Path(build_directory)
        request = self.recorder.request(self._file)
        builds = ninja.Builds(folder)
        # Ninja has to be asked before it builds. It takes 7 to 30 ms, so an extension that is new is not asked about.
        why = None if builds.is_first else ninja.rebuilt_because(ninja.reasons(folder))
        build_file = (folder / "build.ninja").read_text(errors="replace")
        began, begin = time.perf_counter(), time.time()
        yield
        outputs = builds.outputs()
        self.recorder.add(
            request,
            compiler=Compiler.CPP_EXTENSION,
            kernel=folder.name,
            key=digest(build_file),
            outcome=KernelOutcome.COMPILED if outputs else KernelOutcome.LOADED,
            source=KernelSource.WRAPPED,
            begin=begin,
            seconds=time.perf_counter() - began,
            components={name: component(value) for name, value in ninja.variables(build_file).items()},
            cache_folder=str(folder),
            why_not_cached=why if outputs else None,
        )
