"""A release of the fake engine: a package that a candidate of a bisection has, and that decides what is compiled."""

from __future__ import annotations

import importlib
from pathlib import Path
from types import ModuleType

from tests.support.graphs import Compiled, comment, first_code, last_code, layer_code, model_records, timed_trace

PACKAGE = "fake_release"

_SOURCE = """VERSION = {version!r}

def forward(x):
    size = {size}
    return x

def start(trace):
    from tests.support.fake_engine.release import compile_layers
    {first}
    return compile_layers(trace, __file__, {burned})
"""


def installed() -> ModuleType | None:
    """Return the package that is on the path; None: there is none."""
    try:
        return importlib.import_module(PACKAGE)
    except ImportError:
        return None


def write_release(folder: Path, version: str, *, burned: bool = False, first: str = "pass") -> Path:
    """Write a release to `folder`, as ``pip install --target`` does, and return the folder.

    Args:
        folder: Where its package is written.
        version: Its version.
        burned: Whether its first layer computes a size that the others do not, so that it needs an artifact more.
        first: A statement that each start begins with.
    """
    path = folder / PACKAGE / "__init__.py"
    path.parent.mkdir(parents=True, exist_ok=True)
    size = "prod(x)" if burned else "None"
    path.write_text(_SOURCE.format(version=version, size=size, first=first, burned=burned))
    return folder


def compile_layers(trace: Path, file: str, burned: bool) -> int:
    """Write the trace of a model with three layers, and return how many artifacts it has."""
    size = ["", comment(4, file, code="size = prod(x)"), 'prod: "Sym(8*s72)" = math_prod((s72, 8))']
    layers = [
        Compiled(layer_code(0, body=size if burned else []), "k1"),
        Compiled(layer_code(1), "k2" if burned else None),
    ]
    subgraphs = [Compiled(first_code(), "k0"), *layers, Compiled(layer_code(2)), Compiled(last_code(2), "k3")]
    (trace / "dedicated_log_torch_trace_rank_0_a.log").write_text(timed_trace(model_records(*subgraphs)))
    return 4 if burned else 3
