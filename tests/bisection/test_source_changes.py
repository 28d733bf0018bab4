"""What changed between two versions of a package."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.bisection.source_changes import Place, Version, changed_around, changed_files

FILE = "engine/moe.py"
BEFORE = """import math


class Kernel:
    def apply(self):
        return 1

    def allocate(self, shape):
        size = math.prod(shape)
        return manager(size)
"""
AFTER = """import math
from engine import platform


class Kernel:
    def apply(self):
        return 2

    @cached
    def allocate(self, shape):
        size = math.prod(shape)
        if platform.is_cpu():
            return empty(size)
        return manager(size)
"""


@pytest.fixture
def versions(tmp_path: Path) -> tuple[Version, Version]:
    for name, text in (("1", BEFORE), ("2", AFTER)):
        (tmp_path / name / "engine").mkdir(parents=True)
        (tmp_path / name / FILE).write_text(text)
        (tmp_path / name / "engine" / "same.py").write_text("def f(): ...\n")
    return Version("1", tmp_path / "1"), Version("2", tmp_path / "2")


def test_the_diff_is_of_the_function_and_has_the_numbers_of_the_file(versions: tuple[Version, Version]) -> None:
    good, bad = versions
    change = changed_around(good, bad, Place(FILE, 11))
    assert change is not None
    assert (change.file, change.function) == (FILE, "Kernel.allocate")
    assert change.diff == [
        "--- 1/engine/moe.py",
        "+++ 2/engine/moe.py",
        "@@ -8,3 +9,6 @@",
        "+    @cached",
        "     def allocate(self, shape):",
        "         size = math.prod(shape)",
        "+        if platform.is_cpu():",
        "+            return empty(size)",
        "         return manager(size)",
    ]
    for number, line in ((9, "    @cached"), (12, "        if platform.is_cpu():")):
        assert bad.lines(FILE)[number - 1] == line


def test_a_function_that_did_not_change_or_is_none_has_no_diff(versions: tuple[Version, Version]) -> None:
    good, bad = versions
    assert changed_around(good, bad, Place("engine/same.py", 1)) is None
    assert changed_around(good, bad, Place(FILE, 2)) is None
    assert changed_around(good, bad, Place("engine/missing.py", 1)) is None


def test_a_new_function_is_shown_whole(versions: tuple[Version, Version]) -> None:
    good, bad = versions
    (good.root / FILE).write_text("import math\n")
    change = changed_around(good, bad, Place(FILE, 11))
    assert change is not None
    assert [line[0] for line in change.diff[3:]] == ["+"] * 6


def test_files_traced_with_one_version_only_come_first(versions: tuple[Version, Version]) -> None:
    good, bad = versions
    for version in versions:
        (version.root / "engine" / "both.py").write_text(version.name)
    (good.root / "engine" / "old.py").write_text("x\n")
    changes = changed_files(
        good, bad, ["engine/both.py", "engine/old.py", "engine/same.py"], ["engine/both.py", FILE, "engine/same.py"]
    )
    assert [(each.file, each.traced_only_with) for each in changes] == [
        (FILE, "2"),
        ("engine/old.py", "1"),
        ("engine/both.py", None),
    ]
    assert (changes[0].added, changes[0].removed) == (5, 1)


def test_a_place_is_found_only_in_the_version_itself(versions: tuple[Version, Version]) -> None:
    good, bad = versions
    assert bad.place(f"{bad.root}/{FILE}:11") == Place(FILE, 11)
    assert bad.place(f"{good.root}/{FILE}:11") is None
    assert bad.place("not a place") is None
