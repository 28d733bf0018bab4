from __future__ import annotations

import ast
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from coldwarm.core.depth import Depth
from coldwarm.engines.vllm import depth_limits
from coldwarm.engines.vllm.depth_limits import limit_to, modules_for


def test_every_depth_but_full_is_limited() -> None:
    assert {depth for depth in Depth if modules_for(depth)} == set(Depth) - {Depth.FULL}


_ALL = sorted({limit for limits in depth_limits._LIMITS.values() for limit in limits})


@pytest.mark.parametrize(("module", "function"), _ALL)
def test_the_module_defines_the_function(module: str, function: str) -> None:
    spec = find_spec(module)
    assert spec is not None and spec.origin is not None
    # Importing it would import vLLM.
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("depth", Depth)
def test_only_the_functions_of_the_depth_are_called(monkeypatch: pytest.MonkeyPatch, depth: Depth) -> None:
    calls: list[str] = []
    for name, function in _ALL:
        module = ModuleType(name)
        vars(module)[function] = lambda name=name: calls.append(name)
        monkeypatch.setitem(sys.modules, name, module)
    limit_to(depth)
    assert tuple(calls) == modules_for(depth)
