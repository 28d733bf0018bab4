from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldwarm.core.seen_in_process import OutsideUse
from coldwarm.launch.outside import Look
from coldwarm.observe import outside
from coldwarm.observe.outside import OutsideProbe


@dataclass
class Folders:
    own: Path
    cache: Path
    other: Path

    def use_of(self, act: Callable[[], object]) -> OutsideUse:
        """What a watch hears while `act` runs."""
        probe = OutsideProbe([self.own], [self.cache])
        probe.install()
        try:
            act()
        finally:
            use = probe.use()
            probe.stop()
        return use


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    folders = Folders(tmp_path / "own", tmp_path / "cache", tmp_path / "other")
    for folder in (folders.own, folders.cache, folders.other):
        (folder / "inner").mkdir(parents=True)
        (folder / "file").write_text("there")
    return folders


def test_files_are_told_apart_by_where_they_lie(folders: Folders) -> None:
    def act() -> None:
        for folder in (folders.own, folders.cache, folders.other):
            (folder / "inner" / "new").write_text("x")
            (folder / "file").read_text()

    assert folders.use_of(act) == OutsideUse(
        caches_written=[str(folders.cache / "inner" / "new")],
        caches_read=[str(folders.cache / "file")],
        written=[str(folders.other / "inner" / "new")],
    )


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda file: file.write_text("x"), id="write"),
        pytest.param(lambda file: file.open("a").close(), id="append"),
        pytest.param(lambda file: os.close(os.open(file, os.O_WRONLY | os.O_CREAT)), id="os.open"),
        pytest.param(lambda file: os.close(os.open(os.fsencode(file), os.O_WRONLY | os.O_CREAT)), id="bytes"),
        pytest.param(lambda file: file.mkdir(), id="mkdir"),
        pytest.param(lambda file: file.symlink_to("file"), id="symlink"),
        pytest.param(lambda file: os.link(file.parent / "file", file), id="link"),
        pytest.param(lambda file: (file.parent / "file").rename(file), id="rename"),
    ],
)
def test_every_way_to_make_a_file_is_seen(folders: Folders, act: Callable[[Path], object]) -> None:
    assert folders.use_of(lambda: act(folders.cache / "new")).caches_written == [str(folders.cache / "new")]


def test_a_file_that_is_removed_is_one_that_is_written(folders: Folders) -> None:
    assert folders.use_of((folders.cache / "file").unlink).caches_written == [str(folders.cache / "file")]


def test_a_cache_is_known_by_its_path_through_a_link_and_without(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folders.cache)
    linked = Folders(folders.own, tmp_path / "link", folders.other)
    for file in (folders.cache / "file", tmp_path / "link" / "file"):
        assert linked.use_of(file.read_text).caches_read == [str(file)]


def test_what_lies_in_the_starts_own_folders_is_no_cache_of_the_users(folders: Folders) -> None:
    inner = Folders(folders.cache / "inner", folders.cache, folders.other)

    def act() -> None:
        (folders.cache / "inner" / "file").write_text("x")
        (folders.cache / "inner" / "file").read_text()

    assert inner.use_of(act) == OutsideUse()


def test_what_is_merely_tried_is_not_noted(folders: Folders) -> None:
    def act() -> None:
        (folders.cache / "inner").mkdir(exist_ok=True)
        for attempt in (
            lambda: (folders.cache / "no-such-folder" / "file").write_text("x"),
            lambda: (folders.cache / "no-such-folder" / "file").read_text(),
            lambda: (folders.cache / "no-such-folder" / "folder").mkdir(),
            lambda: (folders.cache / "no-such-file").unlink(),
        ):
            with pytest.raises(FileNotFoundError):
                attempt()

    assert folders.use_of(act) == OutsideUse()


def test_devices_bytecode_and_files_that_are_gone_are_not_noted(folders: Folders) -> None:
    shared_memory = Path("/dev/shm", folders.own.parent.name)

    def act() -> None:
        Path(os.devnull).write_text("x")
        shared_memory.write_text("x")
        (folders.other / "__pycache__").mkdir()
        (folders.other / "__pycache__" / "module.cpython-311.pyc.12345").write_text("x")
        (folders.other / "temporary").write_text("x")
        (folders.other / "temporary").unlink()
        (folders.other / "__pycache__").joinpath("index.nbi").write_text("x")

    try:
        written = folders.use_of(act).written
    finally:
        shared_memory.unlink()
    assert written == [str(folders.other / "__pycache__"), str(folders.other / "__pycache__" / "index.nbi")]


def test_only_the_first_files_are_kept(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "FILES_RECORDED", 2)

    def act() -> None:
        for name in "cab":
            (folders.cache / name).write_text("x")

    assert folders.use_of(act).caches_written == [str(folders.cache / "a"), str(folders.cache / "c")]


def test_a_probe_that_was_stopped_hears_nothing(folders: Folders) -> None:
    probe = OutsideProbe([folders.own], [folders.cache])
    probe.install()
    (folders.cache / "first").write_text("x")
    assert probe.use() == OutsideUse(caches_written=[str(folders.cache / "first")])
    (folders.cache / "second").write_text("x")
    assert len(probe.use().caches_written) == 2
    probe.stop()
    (folders.cache / "third").write_text("x")
    assert len(probe.use().caches_written) == 2


@pytest.mark.parametrize("arguments", [(), (None,), (object(), "w", os.O_WRONLY), ("\udc80\0", "w", os.O_WRONLY)])
def test_an_event_that_is_not_understood_is_passed_over(folders: Folders, arguments: tuple[object, ...]) -> None:
    def act() -> None:
        sys.audit("open", *arguments)
        (folders.cache / "new").write_text("x")

    assert folders.use_of(act) == OutsideUse(caches_written=[str(folders.cache / "new")])


def test_a_second_look_tells_what_is_new_other_or_gone(folders: Folders) -> None:
    for name in ("altered", "gone", "same", "touched"):
        (folders.cache / "inner" / name).write_text("x")
    before = Look([folders.cache, folders.other / "no-such-folder"])
    (folders.cache / "inner" / "altered").write_text("xx")
    (folders.cache / "inner" / "gone").unlink()
    (folders.cache / "inner" / "new").write_text("x")
    os.utime(folders.cache / "inner" / "touched", ns=(1, 1))
    (folders.other / "file").write_text("not looked at")
    after = Look([folders.cache, folders.other / "no-such-folder"])
    assert before.changed(after) == [
        str(folders.cache / "inner" / name) for name in ("altered", "gone", "new", "touched")
    ]
    assert after.changed(Look([folders.cache])) == []
    assert (before.incomplete, after.incomplete) == ([], [])


def test_folders_apart_are_not_looked_at(folders: Folders) -> None:
    before = Look([folders.cache], apart=[folders.cache / "inner"])
    (folders.cache / "inner" / "new").write_text("x")
    assert before.changed(Look([folders.cache], apart=[folders.cache / "inner"])) == []


def test_of_too_many_files_those_that_were_seen_twice_are_compared(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abcd":
        (folders.cache / name).write_text("x")
    monkeypatch.setattr("coldwarm.launch.outside._ENTRIES_COMPARED", 3)
    before = Look([folders.cache])
    assert before.incomplete == [str(folders.cache)]
    (folders.cache / "0").write_text("pushes one out")
    (folders.cache / "a").write_text("xx")
    assert before.changed(Look([folders.cache])) == [str(folders.cache / "a")]
