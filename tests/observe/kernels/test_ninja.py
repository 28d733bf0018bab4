from __future__ import annotations

from pathlib import Path

from coldwarm.observe.kernels.ninja import Builds, rebuilt_because, variables

_BUILD_FILE = """ninja_required_version = 1.3
cxx = c++
cflags = -O1 $
    -g0 $
    -DX=1
ldflags =

rule compile
  command = $cxx $cflags -c $in -o $out

build a.o: compile /src/a.cpp
build a.so: link a.o
default a.so
"""


def test_variables_are_read_over_several_lines() -> None:
    assert variables(_BUILD_FILE) == {
        "ninja_required_version": "1.3",
        "cxx": "c++",
        "cflags": "-O1 -g0 -DX=1",
        "sources": "/src/a.cpp a.o",
    }


def test_outputs_are_those_that_are_new_in_the_log_even_if_ninja_rewrites_it(tmp_path: Path) -> None:
    log = tmp_path / ".ninja_log"
    old = [f"{n}\t{n + 5}\t1\told{n}.o\tabc" for n in range(9)]
    log.write_text("\n".join(["# ninja log v7", *old, ""]))
    builds = Builds(tmp_path)
    assert (builds.is_first, builds.outputs()) == (False, [])
    log.write_text("\n".join(["# ninja log v7", old[8], "10\t20\t2\tb.o\tabc", "0\t9\t3\told0.o\tabc", ""]))
    assert builds.outputs() == ["b.o", "old0.o"]


def test_a_folder_without_a_log_has_built_nothing(tmp_path: Path) -> None:
    builds = Builds(tmp_path, tmp_path / "missing")
    assert (builds.is_first, builds.outputs()) == (True, [])


def test_reasons_that_follow_from_others_are_left_out() -> None:
    found = ["command line changed for a.o", "a.o is dirty", "output a.so missing", "a.so is dirty"]
    assert rebuilt_because(found) == "rebuilt: command line changed for a.o; output a.so missing"
    assert rebuilt_because([]) is None
