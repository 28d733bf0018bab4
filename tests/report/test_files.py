from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from coldwarm.core.errors import UsageError
from coldwarm.report.files import check_writable, remove_stale, write_report


def write(path: Path, content: bytes = b"new") -> None:
    write_report(path, lambda file: file.write_bytes(content))


def test_checking_creates_no_files(tmp_path: Path) -> None:
    (tmp_path / "old.xml").write_text("old")
    for name in ("new.xml", "a/b/new.xml", "old.xml"):
        check_writable(tmp_path / name)
    assert [path.name for path in tmp_path.rglob("*")] == ["old.xml"]
    assert (tmp_path / "old.xml").read_text() == "old"


@pytest.mark.parametrize("name", ["folder", "file/below", "x" * 300, "loop", "file/a/b/c"])
def test_an_unwritable_path_is_an_error_and_creates_no_files(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to("loop")
    before = sorted(tmp_path.rglob("*"))
    for refuse in (check_writable, write):
        with pytest.raises(UsageError, match="cannot write"):
            refuse(tmp_path / name)
        assert sorted(tmp_path.rglob("*")) == before


def test_a_report_is_replaced_only_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text("old")

    def half(file: Path) -> None:
        file.write_text("ne")
        assert path.read_text() == "old"
        raise OSError(28, "No space left on device")

    with pytest.raises(UsageError, match=r"cannot write .*report\.xml: No space left on device"):
        write_report(path, half)
    assert [(each.name, each.read_text()) for each in tmp_path.iterdir()] == [("report.xml", "old")]


def test_a_report_keeps_the_file_mode_of_its_predecessor(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.touch(mode=0o600)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    other = tmp_path / "other.xml"
    write(other)
    by_default = tmp_path / "by-default"
    by_default.write_bytes(b"")
    assert other.stat().st_mode == by_default.stat().st_mode


def test_a_symbolic_link_is_followed_and_not_replaced(tmp_path: Path) -> None:
    link = tmp_path / "link.xml"
    link.symlink_to("below/report.xml")
    (tmp_path / "below").mkdir()
    check_writable(link)
    write(link, b"first")
    remove_stale(link)
    assert not (tmp_path / "below" / "report.xml").exists()
    write(link, b"second")
    assert link.is_symlink()
    assert (tmp_path / "below" / "report.xml").read_bytes() == b"second"


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    check_writable(pipe)
    remove_stale(pipe)
    write(pipe)
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert pipe.is_fifo()


def test_a_device_is_not_removed() -> None:
    path = Path("/dev/null")
    check_writable(path)
    remove_stale(path)
    write(path)
    assert path.is_char_device()


def test_a_file_in_a_read_only_folder_is_written_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "report.xml"
    path.write_text("old report")
    # Every folder is writable for root.
    monkeypatch.setattr(os, "access", lambda of, mode: Path(of) != tmp_path)
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: pytest.fail("the folder is read-only"))
    check_writable(path)
    remove_stale(path)
    assert path.read_text() == ""
    write(path)
    assert path.read_text() == "new"


def test_only_files_are_removed_as_stale(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    for name in ("folder", "missing", "missing/below"):
        remove_stale(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
