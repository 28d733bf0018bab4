"""Stands for torch in programs whose observation is tested: it is imported in no time, and "compiles" into a file."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tests.support.traces import digested, trace_text
from torch import backends, cuda, distributed
from torch._dynamo.utils import counters

__version__ = "2.13.0"
__all__ = ["backends", "compile_function", "cuda", "distributed"]


def compile_function(name: str, key: str) -> None:
    """Load what the cache has under `key`, or else "compile" it; count and trace what happened as torch does."""
    entry = Path(os.environ["TORCHINDUCTOR_CACHE_DIR"], key)
    outcome = "hit" if entry.exists() else "miss"
    if outcome == "hit":
        entry.read_text()
    else:
        entry.parent.mkdir(parents=True, exist_ok=True)
        entry.write_text("compiled")
    counted = counters["aot_autograd"]
    for counter in ("total", f"autograd_cache_{outcome}", *(["autograd_cache_saved"] if outcome == "miss" else [])):
        counted[counter] = counted.get(counter, 0) + 1
    frame = {"frame_id": counted["total"], "frame_compile_id": 0, "attempt": 0}
    asked: list[tuple[str, dict[str, object]]] = [(f"aotautograd_cache_{outcome}", {"key": key})]
    if outcome == "miss":
        asked.append(("fx_graph_cache_miss", {"key": key, "components": [f"[{key}] gm: compute({key})"]}))
    records = [
        digested({"artifact": {"name": artifact, "encoding": "json"}, **frame}, json.dumps(content))
        for artifact, content in asked
    ]
    compiled = {"compilation_metrics": {"co_name": name, "co_filename": "model.py", "co_firstlineno": 7}, **frame}
    with Path(os.environ["TORCH_TRACE"], f"dedicated_log_torch_trace_{os.getpid()}.log").open("a") as trace:
        trace.write(trace_text(*records, (compiled, None)))
