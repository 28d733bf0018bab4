"""PyTorch's own counters (`torch._dynamo.utils.counters`): AOTAutograd and the FX graph cache.

These are plain dictionaries, in which a counter exists only after its first increment. To distinguish "never
incremented" from "no such counter in this version", the names are read from torch's source.
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
# The sources that increment them in torch 2.11 to 2.13.
_SOURCES = ("_functorch", "_inductor/codecache.py", "_inductor/output_code.py", "_dynamo/backends")


def read() -> dict[str, int]:
    """Return the AOTAutograd and FX graph cache counters; an empty dict if this process has not imported Dynamo."""
    module = sys.modules.get(_MODULE)
    if module is None:
        return {}
    found = dict.fromkeys(names_installed() or [], 0)
    # Copies: another thread may be compiling, and adding counters.
    for group, values in list(module.counters.items()):
        counts = list(values.items())
        found.update({f"{PREFIX}{group}.{name}": int(n) for name, n in counts if _is_included(group, name)})
    return found


@cache
def names_installed() -> list[str] | None:
    """Return the names of the installed torch's counters, read from its source without importing it.

    Returns:
        Flat names, sorted; None if torch is not installed.
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
        if _is_included(group, name)
    }
    return sorted(names)


def _is_included(group: str, name: str) -> bool:
    return group == "aot_autograd" or (group == "inductor" and name.startswith("fxgraph_cache_"))
