"""Reports as progress when vLLM loads a saved, AOT-compiled function, which has no span in the trace."""

from __future__ import annotations

import functools
from typing import Any

from coldwarm.core.phases import COMPILE, WARM_UP
from coldwarm.measure.busy_time import Stage
from coldwarm.observe.progress import Progress


def announce_cache_load(progress: Progress) -> None:
    """Announce vLLM's attempt to load as a separate step (vllm/compilation/decorators.py)."""
    from vllm.compilation import decorators

    load = getattr(decorators, "_try_load_aot_compiled_fn", None)
    if load is None:
        return

    @functools.wraps(load)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        progress.enter(Stage.LOAD)
        loaded = None
        try:
            loaded = load(*args, **kwargs)
            return loaded
        finally:
            # Next, vLLM runs the loaded function (its initial profiling run) or, if there is none, compiles the model.
            progress.enter(COMPILE if loaded is None else WARM_UP)

    decorators._try_load_aot_compiled_fn = wrapper
