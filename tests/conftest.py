"""What tests of several packages share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from coldwarm.engines import engine
from tests.support.commands import ROOT, Commands

pytest_plugins = ["pytester"]


_SITE = ROOT / "tests" / "support" / "fake_engine" / "site"


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    """Runs `coldwarm` in processes of its own, which know the engine ``fake`` too."""
    return Commands(tmp_path, [_SITE, ROOT])


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the engine ``fake`` known in this process and in the workers that it starts."""
    monkeypatch.setitem(engine._MODULES, "fake", "tests.support.fake_engine")
    monkeypatch.setenv("PYTHONPATH", f"{_SITE}{os.pathsep}{ROOT}")
