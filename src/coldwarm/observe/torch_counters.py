"""PyTorch's own counters (`torch._dynamo.utils.counters`): AOTAutograd and the FX graph cache.

These are plain dictionaries: a counter exists once it was counted up for the first time. To tell "never
happened" from "no such counter in this version", the names are read from torch's own source.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PREFIX = "torch."
_MODULE = "torch._dynamo.utils"
_COUNTED = re.compile(r"""counters\[["'](\w+)["']\]\[["'](\w+)["']\]""")
# Where torch 2.11 to 2.13 count them up.
_SOURCES = ("_functorch", "_inductor/codecache.py", "_inductor/output_code.py", "_dynamo/backends")


def read() -> dict[str, int]:
    """Return the AOTAutograd and FX graph cache counters; empty where this process has not imported Dynamo."""
    module = sys.modules.get(_MODULE)
    if module is None:
        return {}
    found = dict.fromkeys(names_installed() or [], 0)
    for group, values in module.counters.items():
        found.update({f"{PREFIX}{group}.{name}": int(n) for name, n in values.items() if _is_ours(group, name)})
    return found


@cache
def names_installed() -> list[str] | None:
    """Return the counters that the installed torch has, read from its source without importing it.

    Returns:
        Flat names, sorted; None where no torch is installed.
    """
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    files = [
        file for part in _SOURCES for file in ([root / part] if part.endswith(".py") else (root / part).rglob("*.py"))
    ]
    names = {
        f"{PREFIX}{group}.{name}"
        for file in files
        if file.is_file()
        for group, name in _COUNTED.findall(file.read_text(encoding="utf-8"))
        if _is_ours(group, name)
    }
    return sorted(names)


def _is_ours(group: str, name: str) -> bool:
    return group == "aot_autograd" or (group == "inductor" and name.startswith("fxgraph_cache_"))
