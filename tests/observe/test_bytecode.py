from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path

import pytest

from coldwarm.observe.bytecode import BytecodeProbe


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of `sys.path` with a package of two modules; bytecode goes beside them, and is kept."""
    (tmp_path / "some_package").mkdir()
    for name in ("__init__", "module"):
        (tmp_path / "some_package" / f"{name}.py").write_text("x = 1\n")
    # So that the watch is undone.
    monkeypatch.setattr(SourceFileLoader, "source_to_code", SourceFileLoader.source_to_code)
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    forget()


def installed() -> BytecodeProbe:
    probe = BytecodeProbe()
    probe.install()
    return probe


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "some_package"]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_what_is_compiled_once_is_kept(folder: Path) -> None:
    first = installed()
    importlib.import_module("some_package.module")
    missing = first.missing()
    assert (missing.modules, missing.modules_again, missing.seconds_again) == (2, 0, 0)
    assert (missing.roots, missing.python) == ([str(folder)], sys.executable)
    assert missing.seconds > 0
    forget()
    second = installed()
    importlib.import_module("some_package.module")
    assert (second.missing().modules, second.missing().seconds, second.missing().roots) == (0, 0, [])


def test_where_none_is_to_be_kept_all_is_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [str(folder.parent), *sys.path, str(folder.parent)])
    watch = installed()
    importlib.import_module("some_package.module")
    missing = watch.missing()
    assert (missing.modules, missing.modules_again, missing.switched_off) == (2, 2, True)
    assert missing.roots == [str(folder)]
    assert missing.seconds_again == missing.seconds > 0


def test_what_cannot_be_written_is_compiled_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("no folder")
    monkeypatch.setattr(sys, "pycache_prefix", str(folder / "file"))
    watch = installed()
    importlib.import_module("some_package")
    missing = watch.missing()
    assert (missing.modules_again, missing.switched_off, missing.roots) == (1, False, [str(folder)])


def test_bytecode_of_an_older_source_that_cannot_be_replaced_is_not_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    importlib.import_module("some_package")
    forget()
    source = folder / "some_package" / "__init__.py"
    [bytecode] = (folder / "some_package" / "__pycache__").glob("__init__.*")
    source.write_text("x = 'another one'\n")
    os.utime(bytecode, (0, 0))
    # As in a folder that cannot be written, which root cannot have.
    monkeypatch.setattr(SourceFileLoader, "set_data", lambda *_, **__: None)
    watch = installed()
    importlib.import_module("some_package")
    assert (watch.missing().modules, watch.missing().modules_again) == (1, 1)


def test_a_source_may_be_any_path(folder: Path) -> None:
    watch = installed()
    loader = SourceFileLoader("some_package", str(folder / "some_package" / "__init__.py"))
    loader.source_to_code(b"x = 1", folder / "elsewhere" / "x.py")
    assert watch.missing().roots == [str(folder)]


def test_a_module_outside_of_the_path_lies_in_its_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", ["", *(entry for entry in sys.path if entry != str(folder))])
    watch = installed()
    SourceFileLoader("lonely", str(folder / "some_package" / "module.py")).get_code("lonely")
    assert watch.missing().roots == [str(folder / "some_package")]


def test_a_module_that_cannot_be_compiled_fails_as_ever(folder: Path) -> None:
    (folder / "some_package" / "wrong.py").write_text("x = = 1\n")
    watch = installed()
    with pytest.raises(SyntaxError, match=r"wrong\.py"):
        importlib.import_module("some_package.wrong")
    assert watch.missing().modules == 2


def test_a_folder_within_another_is_not_named_beside_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendored = folder / "some_package" / "vendored"
    vendored.mkdir()
    (vendored / "some_package_vendored.py").write_text("x = 1\n")
    # Its name begins alike, and it lies beside, not within.
    beside = folder.parent / f"{folder.name}-2"
    beside.mkdir()
    (beside / "some_package_beside.py").write_text("x = 1\n")
    monkeypatch.setattr(sys, "path", [str(vendored), str(beside), *sys.path])
    watch = installed()
    for name in ("some_package.module", "some_package_vendored", "some_package_beside"):
        importlib.import_module(name)
        monkeypatch.delitem(sys.modules, name)
    assert watch.missing().modules == 4
    assert watch.missing().roots == [str(folder), str(beside)]
