"""Observes PyTorch's C++ extensions, which ninja builds."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

from coldwarm.core.kernels import Compiler
from coldwarm.observe.kernels.ninja_probe import NinjaProbe
from coldwarm.observe.kernels.probe import Observation


class CppExtensionProbe(NinjaProbe):
    """Watches each build of an extension."""

    name = "C++ extensions"
    compilers: ClassVar[tuple[Compiler, ...]] = (Compiler.CPP_EXTENSION,)
    module = "torch.utils.cpp_extension"
    distribution = "torch"

    def hook(self, module: ModuleType) -> None:
        """Wrap the function that runs ninja."""
        self.library = str(module.__file__)
        self.wrap(Compiler.CPP_EXTENSION, module, "_run_ninja_build", self._run_ninja_build)

    def _run_ninja_build(self, build_directory: str, *_: Any, **__: Any) -> Observation:
        folder = Path(build_directory)
        return self.observe_build(folder, folder / "build.ninja")
