from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from coldwarm.launch import file_systems
from coldwarm.launch.file_systems import cache_uses, files_of, problem_of


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


@pytest.mark.usefixtures("mounts")
def test_the_use_of_a_cache_is_counted(tmp_path: Path) -> None:
    used, empty = tmp_path / "used", tmp_path / "empty"
    for folder in (used / "below", empty):
        folder.mkdir(parents=True)
    for name in ("read", "changed", "below/other"):
        (used / name).write_text("x")
    before = {folder: files_of(folder) for folder in (used, empty, tmp_path / "gone")}
    (used / "changed").write_text("longer")
    (used / "new").write_text("x")
    [use] = cache_uses(before, [str(used / "read"), str(used / "new")])
    assert (use.folder, use.file_system, use.problem) == (str(used), "ext4", None)
    assert (use.found, use.read, use.written) == (3, 1, 2)


@pytest.mark.usefixtures("mounts")
@pytest.mark.parametrize(("most", "seconds", "found"), [(2, 60.0, 2), (20_000, -1.0, 0)])
def test_of_a_cache_with_very_many_files_only_the_first_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int, seconds: float, found: int
) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_text("x")
    monkeypatch.setattr(file_systems, "_MOST_FILES", most)
    monkeypatch.setattr(file_systems, "_MOST_SECONDS", seconds)
    before = {tmp_path: files_of(tmp_path)}
    (tmp_path / "0").write_text("longer")
    [use] = cache_uses(before, [str(tmp_path / "3"), "/elsewhere"])
    assert (use.found, use.found_all, use.read, use.written) == (found, False, 1, None)
