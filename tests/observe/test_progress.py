from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from coldwarm.observe.progress import Progress


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    read_end, write_end = os.pipe()
    yield read_end, write_end
    os.close(write_end)
    os.close(read_end)


def reported(read_end: int) -> list[str]:
    return [json.loads(line)["phase"] for line in os.read(read_end, 65536).splitlines()]


def test_each_phase_is_a_line(pipe: tuple[int, int]) -> None:
    progress = Progress(pipe[1])
    progress.enter("import")
    progress.enter("compile")
    assert reported(pipe[0]) == ["import", "compile"]
    assert progress.phase == "compile"


def test_a_phase_is_reported_once_until_the_next_one(pipe: tuple[int, int]) -> None:
    progress = Progress(pipe[1])
    for phase in ("compile", "compile", "warm-up", "compile"):
        progress.enter(phase)
    assert reported(pipe[0]) == ["compile", "warm-up", "compile"]


def test_progress_after_the_launcher_has_ended_is_not_an_error() -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    Progress(write_end).enter("import")
    os.close(write_end)
