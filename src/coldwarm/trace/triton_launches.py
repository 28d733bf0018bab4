"""Triton kernels that are launched in graphs: what the numbers stand for that a graph has in their place.

A launch is a ``triton_kernel_wrapper_mutation`` with two numbers, the indices of its kernel and of its constant
arguments in a table of the process (torch/_higher_order_ops/triton_kernel_wrap.py, `KernelSideTable`). PyTorch writes
the table into each runnable graph (torch/_dynamo/repro/after_aot.py, `generate_compiler_repro_string`).
"""

from __future__ import annotations

import ast
import hashlib
import re
from dataclasses import dataclass, field

_ADDED = re.compile(r"kernel_side_table\.add_kernel\((\w+)\)")
_CONSTANTS = re.compile(r"kernel_side_table\.constant_args ?= ?(\{.*\})")
_NUMBERS = re.compile(r"\bkernel_idx = (\d+), constant_args_idx = (\d+)")


@dataclass(frozen=True)
class TritonLaunches:
    """The table of a process, as it was when a graph was compiled."""

    kernels: list[str] = field(default_factory=list)
    """The name of each kernel, with a digest of its source and its configs."""
    constants: dict[int, str] = field(default_factory=dict)
    """Constant arguments by number, as code, ``dict(BLOCK=64)``; empty if some are not Python code."""


def has_launches(code: str) -> bool:
    """Return whether the graph with this code launches Triton kernels."""
    return _NUMBERS.search(code) is not None


def resolved(code: str, launches: TritonLaunches) -> str:
    """Return the code of a graph with what the numbers of its launches stand for; None for what the table lacks."""

    def meaning(found: re.Match[str]) -> str:
        kernel, constants = int(found[1]), int(found[2])
        name = repr(launches.kernels[kernel]) if kernel < len(launches.kernels) else None
        return f"kernel = {name}, constant_args = {launches.constants.get(constants)}"

    return _NUMBERS.sub(meaning, code)


def read_launches(runnable: str) -> TritonLaunches:
    """Read the table from the code of a runnable graph; empty if there is none in it."""
    kernels: list[str] = []
    begin = runnable.find("kernel_side_table.reset_table()")
    for added in _ADDED.finditer(runnable):
        kernels.append(_kernel(runnable[begin : added.start()], added[1], len(kernels)))
        begin = added.end()
    table = _CONSTANTS.search(runnable)
    return TritonLaunches(kernels, _constants(table[1]) if table else {})


def _kernel(code: str, written_name: str, number: int) -> str:
    """Return the name and the digest of the kernel at the end of `code`; other kernels that it calls may precede it."""
    name = written_name.removesuffix(f"_{number}")
    start = code.rfind(f"def {written_name}(")
    if start < 0:  # versions that write the kernel's own name
        start = code.rfind(f"def {name}(")
    after_others = code.rfind("\ndef ", 0, max(start, 0)) + 1
    configs = code.find("@triton.autotune(", after_others, max(start, 0))
    source = code[configs if configs >= 0 else start :].replace(f"def {written_name}(", f"def {name}(")
    return f"{name} {hashlib.sha256(source.strip().encode('utf-8', 'replace')).hexdigest()[:8]}"


def _constants(table: str) -> dict[int, str]:
    try:
        found = ast.parse(table, mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the repr of an object is not code
        return {}
    return {number: _as_call(arguments) for number, arguments in _items(found) if isinstance(number, int)}


def _as_call(arguments: ast.expr) -> str:
    """Return the code of a dictionary as ``dict(NAME=value)``, in which a comparison finds the names."""
    return f"dict({', '.join(f'{name}={ast.unparse(value)}' for name, value in _items(arguments))})"


def _items(dictionary: ast.expr) -> list[tuple[object, ast.expr]]:
    if not isinstance(dictionary, ast.Dict):
        return []
    pairs = zip(dictionary.keys, dictionary.values, strict=True)
    return [(key.value, value) for key, value in pairs if isinstance(key, ast.Constant)]
