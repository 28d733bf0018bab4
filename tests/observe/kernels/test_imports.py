from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from coldwarm.observe.kernels import imports
from coldwarm.observe.kernels.imports import after_import

NAME = "imported_library"


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of two modules that nothing has imported."""
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "__init__.py").write_text("complete = False\nfrom . import module\ncomplete = True\n")
    (tmp_path / NAME / "module.py").write_text("def function():\n    return 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    monkeypatch.setattr(imports, "_pending", {})
    yield tmp_path / NAME
    for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
        del sys.modules[name]


def test_a_module_is_acted_on_as_soon_as_it_is_imported() -> None:
    seen: list[tuple[ModuleType, bool]] = []
    after_import(NAME, lambda module: seen.append((module, module.complete)))
    assert NAME not in sys.modules
    module = importlib.import_module(NAME)
    assert seen == [(module, True)]
    importlib.reload(module)
    assert len(seen) == 1


def test_a_module_that_is_imported_already_is_acted_on_at_once() -> None:
    module = importlib.import_module(NAME)
    seen: list[ModuleType] = []
    after_import(NAME, seen.append)
    assert seen == [module]


def test_a_submodule_is_acted_on_before_its_package_is_complete() -> None:
    seen: list[str] = []
    after_import(NAME, lambda module: seen.append(module.__name__))
    after_import(f"{NAME}.module", lambda module: seen.append(module.__name__))
    importlib.import_module(NAME)
    assert seen == [f"{NAME}.module", NAME]


def test_several_actions_are_done_in_order() -> None:
    seen: list[int] = []
    after_import(NAME, lambda _: seen.append(1))
    after_import(NAME, lambda _: seen.append(2))
    importlib.import_module(NAME)
    assert seen == [1, 2]


def test_a_search_for_a_module_is_no_import() -> None:
    seen: list[ModuleType] = []
    after_import(NAME, seen.append)
    assert importlib.util.find_spec(NAME) is not None
    assert seen == []
    importlib.import_module(NAME)
    assert len(seen) == 1


def test_the_module_is_as_without_an_action() -> None:
    after_import(NAME, lambda _: None)
    module = importlib.import_module(NAME)
    assert module.__spec__ is not None
    assert "exec_module" not in vars(module.__spec__.loader)
    assert inspect.getsource(module).startswith("complete = False")


def test_a_module_that_cannot_be_imported_fails_as_ever(library: Path) -> None:
    (library / "module.py").write_text("raise ValueError('broken')\n")
    seen: list[ModuleType] = []
    after_import(NAME, seen.append)
    with pytest.raises(ValueError, match="broken"):
        importlib.import_module(NAME)
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("no_such_library")
    assert seen == []
