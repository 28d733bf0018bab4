from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from coldwarm.core.record import ProcessReport
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
        """Return what a probe records while `act` runs."""
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


def test_files_are_classified_by_folder(folders: Folders) -> None:
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
def test_every_way_to_create_a_file_is_recorded(folders: Folders, act: Callable[[Path], object]) -> None:
    assert folders.use_of(lambda: act(folders.cache / "new")).caches_written == [str(folders.cache / "new")]


def test_removing_a_file_is_recorded_as_writing_it(folders: Folders) -> None:
    assert folders.use_of((folders.cache / "file").unlink).caches_written == [str(folders.cache / "file")]


def test_a_cache_is_recognized_with_and_without_a_link_in_its_path(folders: Folders, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folders.cache)
    linked = Folders(folders.own, tmp_path / "link", folders.other)
    for file in (folders.cache / "file", tmp_path / "link" / "file"):
        assert linked.use_of(file.read_text).caches_read == [str(file)]


def test_the_starts_own_folders_are_not_caches_of_the_user(folders: Folders) -> None:
    inner = Folders(folders.cache / "inner", folders.cache, folders.other)

    def act() -> None:
        (folders.cache / "inner" / "file").write_text("x")
        (folders.cache / "inner" / "file").read_text()

    assert inner.use_of(act) == OutsideUse()


def test_failed_attempts_are_not_recorded(folders: Folders) -> None:
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


def test_devices_bytecode_and_removed_files_are_not_recorded(folders: Folders) -> None:
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


def test_only_the_first_files_are_recorded(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outside, "FILES_RECORDED", 2)

    def act() -> None:
        for name in "cab":
            (folders.cache / name).write_text("x")

    assert folders.use_of(act).caches_written == [str(folders.cache / "a"), str(folders.cache / "c")]


def test_a_stopped_probe_records_nothing(folders: Folders) -> None:
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
def test_an_unknown_form_of_an_event_is_ignored(folders: Folders, arguments: tuple[object, ...]) -> None:
    def act() -> None:
        sys.audit("open", *arguments)
        (folders.cache / "new").write_text("x")

    assert folders.use_of(act) == OutsideUse(caches_written=[str(folders.cache / "new")])


def test_a_second_look_lists_new_changed_and_missing_files(folders: Folders) -> None:
    for name in ("changed", "missing", "same", "touched"):
        (folders.cache / "inner" / name).write_text("x")
    before = Look([folders.cache, folders.other / "no-such-folder"])
    (folders.cache / "inner" / "changed").write_text("xx")
    (folders.cache / "inner" / "missing").unlink()
    (folders.cache / "inner" / "new").write_text("x")
    os.utime(folders.cache / "inner" / "touched", ns=(1, 1))
    (folders.other / "file").write_text("not compared")
    after = Look([folders.cache, folders.other / "no-such-folder"])
    assert before.changed(after) == [
        str(folders.cache / "inner" / name) for name in ("changed", "missing", "new", "touched")
    ]
    assert after.changed(Look([folders.cache])) == []
    assert (before.incomplete, after.incomplete) == ([], [])


def test_excluded_folders_are_not_compared(folders: Folders) -> None:
    before = Look([folders.cache], apart=[folders.cache / "inner"])
    (folders.cache / "inner" / "new").write_text("x")
    assert before.changed(Look([folders.cache], apart=[folders.cache / "inner"])) == []


def test_of_too_many_files_only_those_in_both_looks_are_compared(
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


def test_an_exception_that_a_signal_handler_raises_reaches_the_program(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def expire(*_: object) -> None:
        raise TimeoutError("the program's own")

    before = signal.signal(signal.SIGUSR1, expire)
    probe = OutsideProbe([folders.own], [folders.cache])
    # At any moment, such as this one.
    monkeypatch.setattr(outside, "_can_be_written", lambda *_: signal.raise_signal(signal.SIGUSR1))
    probe.install()
    try:
        with pytest.raises(TimeoutError, match="the program's own"):
            (folders.cache / "new").write_text("x")
    finally:
        probe.stop()
        signal.signal(signal.SIGUSR1, before)


def test_a_current_folder_that_was_removed_is_no_failure_of_the_probe(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = OutsideProbe([folders.own], [folders.cache])
    monkeypatch.chdir(folders.other / "inner")
    (folders.other / "inner").rmdir()
    probe.install()
    with pytest.raises(FileNotFoundError):
        Path("relative").write_text("x")
    probe.stop()
    probe.report(ProcessReport())
