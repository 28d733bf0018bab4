from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from types import ModuleType

import pytest

from coldwarm.observe.after_import import after_import

NAMES = ["first_waited_for", "second_waited_for", "missing_waited_for"]


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    for name in NAMES[:2]:
        (tmp_path / f"{name}.py").write_text("NUMBER = 3\n")
    (tmp_path / "broken_waited_for.py").write_text("raise ImportError('broken')\n")
    monkeypatch.syspath_prepend(tmp_path)
    finders = list(sys.meta_path)
    yield []
    sys.meta_path[:] = finders
    for name in (*NAMES, "begun_waited_for"):
        sys.modules.pop(name, None)


def test_imported_modules_are_passed_on_and_none_is_imported(seen: list[str]) -> None:
    first, second, missing = NAMES
    importlib.import_module(first)
    after_import(NAMES, lambda module: seen.append(f"{module.__name__} {module.NUMBER}"))
    assert seen == [f"{first} 3"]
    assert second not in sys.modules
    importlib.import_module(second)
    assert seen == [f"{first} 3", f"{second} 3"]
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(missing)


def test_several_can_wait_for_the_same_module(seen: list[str]) -> None:
    for n in range(3):
        after_import(NAMES, lambda module, n=n: seen.append(f"{n}"))  # type: ignore[misc]
    importlib.import_module(NAMES[0])
    assert sorted(seen) == ["0", "1", "2"]


def test_a_module_that_is_being_imported_is_not_complete(seen: list[str]) -> None:
    incomplete = ModuleType(NAMES[0])
    incomplete.__spec__ = ModuleSpec(NAMES[0], None)
    incomplete.__spec__._initializing = True  # type: ignore[attr-defined]
    sys.modules[NAMES[0]] = incomplete
    after_import(NAMES, lambda module: seen.append(module.__name__))
    assert seen == []


# As a library does that imports torch, with which coldwarm's probes are installed.
WAITS_FOR_ITSELF = """
import sys
from coldwarm.observe.after_import import after_import

for n in range(2):
    after_import([__name__], lambda module, n=n: sys.seen.append(f"{n} {module.NUMBER}"))
if sys.fails:
    raise ImportError("broken")
NUMBER = 3
"""


def test_a_module_whose_import_has_begun_is_passed_on_at_its_end(
    seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "begun_waited_for.py").write_text(WAITS_FOR_ITSELF)
    monkeypatch.setattr(sys, "seen", seen, raising=False)
    monkeypatch.setattr(sys, "fails", True, raising=False)
    with pytest.raises(ImportError, match="broken"):
        importlib.import_module("begun_waited_for")
    assert seen == []
    monkeypatch.setattr(sys, "fails", False)
    module = importlib.import_module("begun_waited_for")
    # Those of the failed import still wait.
    assert sorted(seen) == ["0 3", "0 3", "1 3", "1 3"]
    assert type(module.__spec__) is ModuleSpec


def test_a_module_whose_import_is_forbidden_is_waited_for(seen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, NAMES[0], None)
    after_import(NAMES[:1], lambda module: seen.append(module.__name__))
    assert seen == []
    monkeypatch.delitem(sys.modules, NAMES[0])
    importlib.import_module(NAMES[0])
    assert seen == NAMES[:1]


def test_an_import_that_another_thread_ends_meanwhile_is_passed_on(seen: list[str]) -> None:
    class Ending(ModuleType):
        """The first question whether it is being imported is answered with yes."""

        @property
        def __spec__(self) -> ModuleSpec:  # type: ignore[override]
            spec = ModuleSpec(NAMES[0], None)
            spec._initializing = not vars(self).setdefault("asked", [])  # type: ignore[attr-defined]
            vars(self)["asked"].append(True)
            return spec

    sys.modules[NAMES[0]] = Ending(NAMES[0])
    after_import(NAMES[:1], lambda module: seen.append(module.__name__))
    assert seen == NAMES[:1]


def test_an_error_in_what_is_called_at_the_end_of_an_import_reaches_the_importer(
    seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "begun_waited_for.py").write_text(WAITS_FOR_ITSELF.replace("NUMBER = 3", ""))
    monkeypatch.setattr(sys, "seen", seen, raising=False)
    monkeypatch.setattr(sys, "fails", False, raising=False)
    with pytest.raises(AttributeError, match="NUMBER"):
        importlib.import_module("begun_waited_for")


def test_a_failed_import_is_not_passed_on(seen: list[str]) -> None:
    after_import(["broken_waited_for"], lambda module: seen.append(module.__name__))
    with pytest.raises(ImportError, match="broken"):
        importlib.import_module("broken_waited_for")
    assert seen == []


def test_the_source_of_a_module_can_still_be_read(seen: list[str]) -> None:
    after_import(NAMES, lambda module: seen.append(module.__name__))
    module = importlib.import_module(NAMES[0])
    assert isinstance(module.__loader__, SourceFileLoader)
    assert inspect.getsource(module) == "NUMBER = 3\n"


def test_a_loader_of_several_modules_is_not_changed_for_the_others(
    seen: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneForAll(MetaPathFinder, Loader):
        def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
            return ModuleSpec(fullname, self) if fullname in NAMES else None

        def exec_module(self, module: ModuleType) -> None:
            vars(module)["NUMBER"] = 4

    monkeypatch.setattr(sys, "meta_path", [OneForAll(), *sys.meta_path])
    after_import(NAMES[:1], lambda module: seen.append(f"{module.__name__} {module.NUMBER}"))
    importlib.import_module(NAMES[0])
    importlib.import_module(NAMES[1])
    assert seen == [f"{NAMES[0]} 4"]


def test_other_finders_do_not_break_the_import(seen: list[str]) -> None:
    class Wrapper:
        def __init__(self, finder: MetaPathFinder) -> None:
            self.find_spec = finder.find_spec

    after_import(NAMES[:1], lambda module: seen.append(module.__name__))
    sys.meta_path[0] = Wrapper(sys.meta_path[0])  # type: ignore[arg-type]
    importlib.import_module(NAMES[0])
    after_import(NAMES[2:], lambda module: seen.append(module.__name__))
    sys.meta_path.append(object())  # type: ignore[arg-type]
    finder = sys.meta_path[0]
    assert finder.find_spec(NAMES[2], None) is None
    assert seen == []
