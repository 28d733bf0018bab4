from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest

from coldwarm.starts.remembered_paths import RememberedPaths


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("remembers")
    monkeypatch.setitem(sys.modules, "remembers", module)
    return module


def test_what_modules_remember_below_the_folder_is_moved(module: ModuleType) -> None:
    vars(module).update(home="/old/home", file=Path("/old/tmp/x"), itself="/old", beside="/older/x", number=7)
    remembered = RememberedPaths(Path("/old"))
    remembered.move(Path("/new"))
    assert (vars(module)["home"], vars(module)["file"], vars(module)["itself"]) == (
        "/new/home",
        Path("/new/tmp/x"),
        "/new",
    )
    assert (vars(module)["beside"], vars(module)["number"]) == ("/older/x", 7)


def test_what_starts_share_stays(module: ModuleType) -> None:
    vars(module).update(headers="/old/tmp/precompiled_headers/locks", tmp="/old/tmp")
    RememberedPaths(Path("/old"), ["precompiled_headers"]).move(Path("/new"))
    assert (vars(module)["headers"], vars(module)["tmp"]) == ("/old/tmp/precompiled_headers/locks", "/new/tmp")
