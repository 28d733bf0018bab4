"""Observes builds that a library runs with ninja."""

from __future__ import annotations

import time
from pathlib import Path

from coldwarm.core.kernels import KernelOutcome, KernelSource
from coldwarm.observe.kernels import ninja
from coldwarm.observe.kernels.probe import CompilerProbe, Observation
from coldwarm.observe.kernels.recorder import Recorder, component, digest


class NinjaProbe(CompilerProbe):
    """Watches each build: what it compiled, and why if it was built before. Ninja also runs if nothing is compiled.

    A library's probe sets `library` in `hook`, and wraps the function that runs ninja.
    """

    def __init__(self, recorder: Recorder) -> None:
        super().__init__(recorder)
        self.library = ""
        """The beginning of the names of the library's own files, which are nobody's request."""

    def observe_build(self, folder: Path, build_file: Path) -> Observation:
        """Observe one build.

        Args:
            folder: Where ninja runs, and writes its log.
            build_file: The ``build.ninja`` in the folder of what is built; a file of another name builds several.
        """
        request = self.recorder.request(self.library)
        built = build_file.parent if build_file.name == "build.ninja" else folder
        builds = ninja.Builds(folder)
        # Ninja has to be asked before it builds. It takes 7 to 30 ms, so what is built for the first time is not asked
        # about.
        why = None if builds.is_first else ninja.rebuilt_because(ninja.reasons(folder, build_file))
        written = build_file.read_text(errors="replace")
        began, begin = time.perf_counter(), time.time()
        yield
        outputs = builds.outputs()
        self.recorder.add(
            request,
            compiler=self.compilers[0],
            kernel=built.name,
            key=digest(written),
            outcome=KernelOutcome.COMPILED if outputs else KernelOutcome.LOADED,
            source=KernelSource.WRAPPED,
            begin=begin,
            seconds=time.perf_counter() - began,
            components={name: component(value) for name, value in ninja.variables(written).items()},
            cache_folder=str(built),
            why_not_cached=why if outputs else None,
        )
