from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.cache_files import FileChange, FileState, Manifest, changes, content
from coldwarm.launch.caches import CACHE_VARIABLES, Caches, temporary_root
from tests.support.commands import Commands


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    return Caches.fresh(tmp_path / "caches")


def test_fresh_caches_are_empty(caches: Caches) -> None:
    assert caches.manifest() == {}
    assert content(caches.manifest()) == {}


def test_fresh_refuses_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        Caches.fresh(tmp_path)


def test_every_variable_points_to_a_separate_folder_below_the_root(caches: Caches) -> None:
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


def test_manifest_changes_when_a_file_grows_changes_or_is_removed(caches: Caches) -> None:
    file = caches.root / "inductor" / "code.py"
    file.write_text("a")
    first = caches.manifest()
    file.write_text("ab")
    second = caches.manifest()
    file.write_text("ax")
    third = caches.manifest()
    file.unlink()
    assert first != second != third
    assert caches.manifest() == {}


def test_manifest_stays_the_same_when_a_file_is_only_touched_or_rewritten(caches: Caches) -> None:
    file = caches.root / "inductor" / "code.py"
    file.write_text("a")
    before = caches.manifest()
    os.utime(file, ns=(1, 1))
    assert caches.manifest() == before
    file.write_text("a")
    assert caches.manifest() == before


def test_files_are_compared_by_content(caches: Caches) -> None:
    for name, text in (("a", "one"), ("b", "one"), ("c", "two"), ("d", "")):
        (caches.root / "vllm" / name).write_text(text)
    digests = {path: state.digest for path, state in caches.manifest().items()}
    assert digests["vllm/a"] == digests["vllm/b"]
    assert len(set(digests.values())) == 3
    assert all(len(digest) == 32 for digest in digests.values())


def test_of_temporary_files_only_the_size_is_compared(caches: Caches) -> None:
    header = caches.root / "tmp" / "torchinductor" / "header.gch"
    header.parent.mkdir()
    header.write_text("one")
    before = caches.manifest()
    assert before == {"tmp/torchinductor/header.gch": FileState(3, "")}
    header.write_text("two")
    assert changes(before, caches.manifest()) == []
    header.write_text("three")
    assert [change.how for change in changes(before, caches.manifest())] == ["grown"]


def test_only_regular_files_are_opened(caches: Caches) -> None:
    os.mkfifo(caches.root / "vllm" / "pipe")
    assert caches.manifest() == {"vllm/pipe": FileState(0, "")}


def test_any_file_name_can_be_recorded(caches: Caches) -> None:
    (caches.root / "home" / os.fsdecode(b"caf\xe9")).touch()
    [change] = changes({}, caches.manifest())
    change.model_dump_json()


def test_manifest_stays_the_same_when_nothing_changes(caches: Caches) -> None:
    (caches.root / "vllm" / "artifact").write_text("x")
    assert caches.manifest() == caches.manifest()


def test_manifest_includes_dangling_links_and_leaves_sockets_out(
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
    (caches.root / "triton" / "deep").mkdir()
    (caches.root / "triton" / "deep" / "c").write_bytes(b"")
    found = content(caches.manifest())
    assert (found["vllm"].files, found["vllm"].bytes) == (2, 5)
    assert (found["triton"].files, found["triton"].bytes) == (1, 0)
    assert found.keys() == {"vllm", "triton"}


@pytest.mark.parametrize(
    ("due", "found", "how", "description"),
    [
        (FileState(5, "a"), None, "missing", "is missing (it had 5 bytes)"),
        (FileState(5, "a"), FileState(2, "b"), "truncated", "is truncated: 2 of 5 bytes"),
        (FileState(5, "a"), FileState(0, "b"), "truncated", "is truncated: 0 of 5 bytes"),
        (FileState(5, "a"), FileState(5, "b"), "altered", "was altered (still 5 bytes)"),
        (FileState(5, "a"), FileState(7, "b"), "grown", "has grown from 5 to 7 bytes"),
        (None, FileState(7, "b"), "new", "is new (7 bytes)"),
        (None, FileState(0, "b"), "new", "is new (0 bytes)"),
    ],
)
def test_a_changed_file_is_described(
    due: FileState | None, found: FileState | None, how: str, description: str
) -> None:
    [change] = changes({"vllm/a": due} if due else {}, {"vllm/a": found} if found else {})
    assert (change.path, change.how) == ("vllm/a", how)
    assert (change.bytes_due, change.bytes_found) == (due.bytes if due else 0, found.bytes if found else 0)
    assert change.describe() == description


def test_changed_files_on_disk_are_listed_in_the_order_of_paths(caches: Caches) -> None:
    folder = caches.root / "vllm"
    for name in ("gone", "cut", "flipped", "longer", "same"):
        (folder / name).write_text("content")
    due = caches.manifest()
    (folder / "gone").unlink()
    (folder / "cut").write_text("con")
    (folder / "flipped").write_text("cOntent")
    (folder / "longer").write_text("contents")
    (caches.root / "triton" / "more").write_text("x")
    assert changes(due, due) == []
    assert [(change.path, change.how) for change in changes(due, caches.manifest())] == [
        ("triton/more", "new"),
        ("vllm/cut", "truncated"),
        ("vllm/flipped", "altered"),
        ("vllm/gone", "missing"),
        ("vllm/longer", "grown"),
    ]


states = st.builds(FileState, st.integers(0, 2), st.sampled_from("ab"))
manifests = st.dictionaries(st.sampled_from(["vllm/a", "vllm/b", "inductor/c", "tmp/d"]), states)


@given(manifests, manifests)
def test_exactly_the_files_that_differ_are_listed(due: Manifest, found: Manifest) -> None:
    changed = changes(due, found)
    paths = [change.path for change in changed]
    assert paths == sorted(path for path in due.keys() | found.keys() if due.get(path) != found.get(path))
    opposite = {"missing": "new", "new": "missing", "truncated": "grown", "grown": "truncated", "altered": "altered"}
    assert [change.how for change in changes(found, due)] == [opposite[change.how] for change in changed]
    assert [FileChange.model_validate_json(change.model_dump_json()) for change in changed] == changed


def test_temporary_root_is_removed_afterwards() -> None:
    with temporary_root() as root:
        Caches.fresh(root / "model")
    assert not root.exists()


@pytest.mark.parametrize("command", ["watch", "run"])
def test_a_machine_without_a_temporary_folder_is_told_to_set_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    commands = Commands(tmp_path, [])
    # What `tempfile` does if no folder can be written, whoever runs the tests.
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("tempfile._candidate_tempdir_list", lambda: [str(tmp_path / "missing")])
    done = commands.run_in_process(command, "--", "true")
    assert (done.returncode, done.stdout) == (2, "")
    assert "coldwarm: no folder for temporary files can be written" in done.stderr and "set TMPDIR" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_rendezvous_file_of_ranks_is_not_a_cache(tmp_path: Path) -> None:
    caches = Caches.fresh(tmp_path / "caches")
    (caches.root / "tmp" / "vllm_dist_0123").touch()
    (caches.root / "tmp" / "header.h").touch()
    assert list(caches.manifest()) == ["tmp/header.h"]
