from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from coldwarm.launch.file_systems import problem_of


@pytest.fixture
def mounts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kinds = {"/": "overlay", str(tmp_path): "ext4", str(tmp_path / "memory"): "tmpfs"}
    found = [SimpleNamespace(mountpoint=path, fstype=kind) for path, kind in kinds.items()]
    monkeypatch.setattr(psutil, "disk_partitions", lambda all: found)
    (tmp_path / "memory").mkdir()


@pytest.mark.usefixtures("mounts")
def test_a_cache_that_is_lost_with_its_container_is_a_problem(tmp_path: Path) -> None:
    assert problem_of(tmp_path / "not" / "there") is None
    assert problem_of(Path("/no/such/cache")) == (
        "/no/such/cache is on the container's own file system, which is lost with it"
    )
    assert "memory (tmpfs)" in str(problem_of(tmp_path / "memory" / "cache"))


@pytest.mark.usefixtures("mounts")
def test_a_cache_that_cannot_be_written_is_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: path != tmp_path)
    assert "cannot be written by this user" in str(problem_of(tmp_path / "cache"))
