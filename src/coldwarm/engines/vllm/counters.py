"""vLLM's compilation counters (vllm/compilation/counter.py, `CompilationCounter`)."""

from __future__ import annotations

import ast
import dataclasses
import sys
from importlib.util import find_spec
from pathlib import Path

PREFIX = "vllm."
_MODULE = "vllm.compilation.counter"
_CLASS = "CompilationCounter"


def read() -> dict[str, int]:
    """Return vLLM's counters; empty if this process has not imported them."""
    # Another thread may be importing the module, which then has no counter yet.
    counter = getattr(sys.modules.get(_MODULE), "compilation_counter", None)
    if counter is None:
        return {}
    return {PREFIX + field.name: getattr(counter, field.name) for field in dataclasses.fields(counter)}


def names_installed() -> list[str] | None:
    """Return the counters that the installed vLLM has, read from its source without importing it.

    Returns:
        Flat names; None if vLLM is not installed or its source has a different layout.
    """
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        return None
    source = Path(spec.origin).parent / "compilation" / "counter.py"
    if not source.is_file():
        return None
    for node in ast.parse(source.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == _CLASS:
            fields = (item.target for item in node.body if isinstance(item, ast.AnnAssign))
            return [PREFIX + target.id for target in fields if isinstance(target, ast.Name)]
    return None
