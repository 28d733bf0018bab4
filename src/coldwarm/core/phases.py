"""Phases and steps of a start, as plain data."""

from __future__ import annotations

from coldwarm.core.deferred_model import DeferredModel

SETUP = "engine setup"
"""The step in which an engine does what no other step is about."""
COMPILE = "compile"
"""The step in which an engine compiles; time without a span in the trace is unaccounted."""
WARM_UP = "warm-up"
"""The step in which an engine first runs the model and the sampler."""
DEVICE = "device"
"""The step in which an engine initializes the device and communication between ranks."""
WEIGHTS = "weights"
"""The step in which an engine builds the model and loads its weights."""
MEMORY_PROFILING = "memory profiling"
"""The step in which an engine runs the model to measure its memory."""
KV_CACHE = "KV cache"
"""The step in which an engine allocates the KV cache."""
CACHE_SAVE = "cache save"
"""The step in which an engine saves what it compiled."""
JIT_WARM_UP = "JIT warm-up"
"""The step in which an engine runs kernels so that they are compiled before the first request."""
AUTOTUNING = "autotuning"
"""The step in which an engine measures which configurations of kernels are fastest."""
GRAPH_CAPTURE = "CUDA graph capture"
"""The step in which an engine captures CUDA graphs, or some of them to measure their memory."""
PROGRAM = "program"
"""The step in which a user's command does what is not known, after it has imported torch."""
UNACCOUNTED = "unaccounted"
GENERATE = "generate"
"""The step in which the engine, ready for requests, generates the first tokens."""


class Phase(DeferredModel):
    """A part of a start's wall time."""

    name: str
    seconds: float


class Step(DeferredModel):
    """A step that the engine announced, with its begin and end."""

    name: str
    begin: float
    """Seconds since the epoch."""
    end: float
