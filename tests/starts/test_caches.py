from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from coldwarm.starts.caches import CACHE_VARIABLES, Caches, temporary_root


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    return Caches.fresh(tmp_path / "caches")


def test_fresh_caches_are_empty(caches: Caches) -> None:
    assert caches.manifest() == {}
    assert caches.content() == {}


def test_fresh_refuses_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        Caches.fresh(tmp_path)


def test_every_variable_points_to_a_folder_of_its_own_below_the_root(caches: Caches) -> None:
    environment = caches.environment()
    assert environment.keys() == CACHE_VARIABLES
    assert len(set(environment.values())) == len(environment)
    for folder in map(Path, environment.values()):
        assert folder.is_dir()
        assert folder.parent == caches.root


def test_no_two_cases_share_a_cache(tmp_path: Path) -> None:
    one, other = Caches.fresh(tmp_path / "one"), Caches.fresh(tmp_path / "other")
    assert not set(one.environment().values()) & set(other.environment().values())


@pytest.mark.parametrize(
    "variable",
    ["VLLM_CACHE_ROOT", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH", "TMPDIR", "HOME"],
)
def test_the_caches_that_matter_are_redirected(caches: Caches, variable: str) -> None:
    assert variable in caches.environment()


def test_manifest_changes_when_a_file_appears(caches: Caches) -> None:
    before = caches.manifest()
    (caches.root / "vllm" / "deep").mkdir()
    (caches.root / "vllm" / "deep" / "artifact").write_text("x")
    assert before != caches.manifest()
    assert list(caches.manifest()) == ["vllm/deep/artifact"]


def test_manifest_changes_when_a_file_grows_vanishes_or_is_touched(caches: Caches) -> None:
    file = caches.root / "inductor" / "code.py"
    file.write_text("a")
    first = caches.manifest()
    file.write_text("ab")
    second = caches.manifest()
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    third = caches.manifest()
    file.unlink()
    assert first != second != third
    assert caches.manifest() == {}


def test_manifest_stays_when_nothing_changes(caches: Caches) -> None:
    (caches.root / "vllm" / "artifact").write_text("x")
    assert caches.manifest() == caches.manifest()


def test_manifest_takes_a_dangling_link_for_a_file_and_leaves_sockets_out(
    caches: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    (caches.root / "vllm" / "link").symlink_to(caches.root / "nowhere")
    monkeypatch.chdir(caches.root / "tmp")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("ipc")
        assert list(caches.manifest()) == ["vllm/link"]


def test_content_counts_files_and_bytes_by_cache(caches: Caches) -> None:
    (caches.root / "vllm" / "a").write_bytes(b"12")
    (caches.root / "vllm" / "b").write_bytes(b"345")
    (caches.root / "triton" / "c").write_bytes(b"")
    content = caches.content()
    assert (content["vllm"].files, content["vllm"].bytes) == (2, 5)
    assert (content["triton"].files, content["triton"].bytes) == (1, 0)
    assert content.keys() == {"vllm", "triton"}


def test_temporary_root_is_gone_afterwards() -> None:
    with temporary_root() as root:
        Caches.fresh(root / "model")
    assert not root.exists()
