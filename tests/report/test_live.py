from __future__ import annotations

import pytest

from coldwarm.core.record import Failure, StartKind
from coldwarm.report.live import LiveLines, PlainLines, live_view
from tests.report.consoles import Paper
from tests.support.records import cold_record
from tests.support.repeated import repeated
from tests.support.runs import crashed, passed


def follow(paper: Paper) -> None:
    result = passed("tiny")
    with live_view(paper.console, 2) as view:
        view.start_began(result.case, StartKind.COLD)
        view.phase_began(result.case, StartKind.COLD, "compile")
        view.start_ended(result.case, cold_record(seconds=22.04))
        view.run_ended(result)
        failed = crashed("other", seconds=3.0)
        view.start_began(failed.case, StartKind.COLD)
        assert failed.cold is not None
        view.start_ended(failed.case, failed.cold)
        view.run_ended(failed)


def test_repetitions_are_numbered() -> None:
    result = repeated([20.0, 21.0])
    plain, terminal = Paper(width=80), Paper(terminal=True, width=80)
    for paper in (plain, terminal):
        with live_view(paper.console, 1) as view:
            for each in result.repetitions:
                for record in (each.cold, each.warm):
                    assert record is not None
                    view.start_began(result.case, record.kind)
                    view.phase_began(result.case, record.kind, "compile")
                    view.start_ended(result.case, record)
            view.run_ended(result)
    assert plain.lines[3:6] == [
        "[1/1] tiny warm 1/2: process start",
        "[1/1] tiny warm 1/2: compile",
        "[1/1] tiny warm 1/2: done in 4.0 s",
    ]
    assert plain.lines[6] == "[1/1] tiny cold 2/2: process start"
    assert any("tiny cold 2/2: done in 21.0 s" in line for line in terminal.lines)


def test_the_view_depends_on_the_console() -> None:
    assert isinstance(live_view(Paper().console, 1), PlainLines)
    assert isinstance(live_view(Paper(terminal=True).console, 1), LiveLines)


def test_without_a_terminal_every_step_is_a_line() -> None:
    paper = Paper(width=80)
    follow(paper)
    assert paper.lines == [
        "[1/2] tiny cold: process start",
        "[1/2] tiny cold: compile",
        "[1/2] tiny cold: done in 22.0 s",
        "[1/2] tiny: passed",
        "[2/2] other cold: process start",
        "[2/2] other cold: crashed after 3.0 s: ValueError: no such thing",
        "[2/2] other: error",
    ]


def test_on_a_terminal_finished_starts_stay_visible() -> None:
    paper = Paper(terminal=True)
    follow(paper)
    for text in ("tiny cold: done in 22.0 s", "tiny: passed", "ValueError: no such thing", "other: error"):
        assert text in paper.text


@pytest.mark.parametrize("terminal", [False, True])
def test_text_of_a_failure_is_shown_literally(terminal: bool) -> None:
    paper = Paper(terminal=terminal)
    what = "a.py:100: [/bold] :warning: [1m]"
    result = crashed(failure=Failure(what=what))
    assert result.cold is not None
    with live_view(paper.console, 1) as view:
        view.start_began(result.case, StartKind.COLD)
        view.start_ended(result.case, result.cold)
    assert what in paper.text
