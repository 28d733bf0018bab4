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
    """Create a folder on `sys.path` with a package of two modules, whose bytecode is cached in the package."""
    (tmp_path / "some_package").mkdir()
    for name in ("__init__", "module"):
        (tmp_path / "some_package" / f"{name}.py").write_text("x = 1\n")
    # Registered with monkeypatch, so that the probe's hook is removed at the end.
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
    for name in [name for name in sys.modules if name.startswith("some_package")]:
        del sys.modules[name]
    importlib.invalidate_caches()


def test_a_module_is_compiled_only_once_if_its_bytecode_is_cached(folder: Path) -> None:
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


def test_all_modules_are_recompiled_if_bytecode_is_disabled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", [str(folder.parent), *sys.path, str(folder.parent)])
    probe = installed()
    importlib.import_module("some_package.module")
    missing = probe.missing()
    assert (missing.modules, missing.modules_again, missing.switched_off) == (2, 2, True)
    assert missing.roots == [str(folder)]
    assert missing.seconds_again == missing.seconds > 0


def test_a_module_whose_bytecode_cannot_be_written_is_recompiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "file").write_text("not a folder")
    monkeypatch.setattr(sys, "pycache_prefix", str(folder / "file"))
    probe = installed()
    importlib.import_module("some_package")
    missing = probe.missing()
    assert (missing.modules_again, missing.switched_off, missing.roots) == (1, False, [str(folder)])


def test_outdated_bytecode_that_cannot_be_replaced_is_not_cached(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("some_package")
    forget()
    source = folder / "some_package" / "__init__.py"
    [bytecode] = (folder / "some_package" / "__pycache__").glob("__init__.*")
    source.write_text("x = 'changed'\n")
    os.utime(bytecode, (0, 0))
    # As in a read-only folder, which tests that run as root cannot create.
    monkeypatch.setattr(SourceFileLoader, "set_data", lambda *_, **__: None)
    probe = installed()
    importlib.import_module("some_package")
    assert (probe.missing().modules, probe.missing().modules_again) == (1, 1)


def test_a_source_may_be_a_path_object(folder: Path) -> None:
    probe = installed()
    loader = SourceFileLoader("some_package", str(folder / "some_package" / "__init__.py"))
    loader.source_to_code(b"x = 1", folder / "elsewhere" / "x.py")
    assert probe.missing().roots == [str(folder)]


def test_the_root_of_a_module_outside_of_sys_path_is_its_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "path", ["", *(entry for entry in sys.path if entry != str(folder))])
    probe = installed()
    SourceFileLoader("lonely", str(folder / "some_package" / "module.py")).get_code("lonely")
    assert probe.missing().roots == [str(folder / "some_package")]


def test_a_module_with_a_syntax_error_still_raises_it(folder: Path) -> None:
    (folder / "some_package" / "wrong.py").write_text("x = = 1\n")
    probe = installed()
    with pytest.raises(SyntaxError, match=r"wrong\.py"):
        importlib.import_module("some_package.wrong")
    assert probe.missing().modules == 2


def test_only_the_outermost_folders_are_listed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vendored = folder / "some_package" / "vendored"
    vendored.mkdir()
    (vendored / "some_package_vendored.py").write_text("x = 1\n")
    # A sibling whose name has the folder's name as a prefix.
    sibling = folder.parent / f"{folder.name}-2"
    sibling.mkdir()
    (sibling / "some_package_sibling.py").write_text("x = 1\n")
    monkeypatch.setattr(sys, "path", [str(vendored), str(sibling), *sys.path])
    probe = installed()
    for name in ("some_package.module", "some_package_vendored", "some_package_sibling"):
        importlib.import_module(name)
    assert probe.missing().modules == 4
    assert probe.missing().roots == [str(folder), str(sibling)]
