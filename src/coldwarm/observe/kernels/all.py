"""The probes of all kernel compilers."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from coldwarm.observe.kernels.cpp_extension import CppExtensionProbe
from coldwarm.observe.kernels.cute_dsl import CuteDslProbe
from coldwarm.observe.kernels.flashinfer import FlashInferAutotuneProbe, FlashInferProbe
from coldwarm.observe.kernels.recorder import Recorder
from coldwarm.observe.kernels.tilelang import TileLangProbe
from coldwarm.observe.kernels.triton import TritonProbe

if TYPE_CHECKING:
    from coldwarm.observe.probes import Probe


def kernel_probes(phase: Callable[[], str | None] = lambda: None) -> list[Probe]:
    """Return the probes, which share a recorder, in the order of installation.

    Args:
        phase: Returns the current phase of the start; None: not known.
    """
    recorder = Recorder(phase)
    return [
        recorder,
        TritonProbe(recorder),
        CuteDslProbe(recorder),
        TileLangProbe(recorder),
        FlashInferProbe(recorder),
        FlashInferAutotuneProbe(recorder),
        CppExtensionProbe(recorder),
    ]
