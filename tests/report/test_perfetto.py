from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from coldwarm.core.errors import UsageError
from coldwarm.core.phases import Step
from coldwarm.core.record import StartRecord
from coldwarm.report.perfetto import write_perfetto
from tests.support.explanations import BEGAN, Written, asked, span, write_trace
from tests.support.records import cold_record, warm_record

STEPS = [
    Step(name="process start", begin=BEGAN, end=BEGAN + 0.25),
    Step(name="compile", begin=BEGAN + 0.25, end=BEGAN + 10),
]
SPANS = [
    span("outer", "B", 1.0),
    span("inner", "B", 2.0, thread=1, compile_id="0/0"),
    span("other thread", "B", 2.5, thread=2),
    span("inner", "E", 3.0),
    span("inner", "B", 3.5),
    span("other thread", "E", 3.75, thread=2),
    span("inner", "E", 4.0),
    span("outer", "E", 5.0),
]


def events(folder: Path, *records: StartRecord) -> list[dict[str, Any]]:
    path = folder / "deep" / "below" / "trace.json"
    write_perfetto(path, folder, list(records) or [cold_record(steps=STEPS)])
    content = json.loads(path.read_bytes())
    assert content["displayTimeUnit"] == "ms"
    found: list[dict[str, Any]] = content["traceEvents"]
    return found


def spans(folder: Path, *written: Written) -> list[tuple[str, float, float]]:
    """Return the name, begin and duration of each span; times in microseconds."""
    write_trace(folder / "cold.trace", *written)
    return [(each["name"], each["ts"], each["dur"]) for each in events(folder, cold_record()) if each["ph"] == "X"]


def test_the_output_is_in_chromes_trace_event_format(tmp_path: Path) -> None:
    write_trace(tmp_path / "cold.trace", *SPANS)
    for event in events(tmp_path):
        assert isinstance(event["name"], str)
        assert isinstance(event["pid"], int)
        if event["ph"] == "M":
            assert set(event["args"]) == {"name"}
        else:
            assert event["ph"] == "X"
            assert isinstance(event["tid"], int)
            assert event["ts"] >= 0 and event["dur"] >= 0
            assert isinstance(event.get("args", {}), dict)


def test_each_start_is_a_named_process_that_begins_at_0(tmp_path: Path) -> None:
    later = 3600.0
    warm = warm_record(
        began=datetime.fromtimestamp(BEGAN + later, UTC),
        steps=[step.model_copy(update={"begin": step.begin + later, "end": step.end + later}) for step in STEPS],
    )
    found = events(tmp_path, cold_record(steps=STEPS), warm)
    names = {each["pid"]: each["args"]["name"] for each in found if each["name"] == "process_name"}
    assert names == {1: "cold start", 2: "warm start"}
    tracks = [(each["pid"], each["tid"], each["args"]["name"]) for each in found if each["name"] == "thread_name"]
    assert tracks == [(1, 0, "steps"), (2, 0, "steps")]
    assert {each["tid"] for each in found if each.get("cat") == "step"} == {0}
    steps = [(each["pid"], each["name"], each["ts"], each["dur"]) for each in found if each.get("cat") == "step"]
    assert steps == [(pid, *step) for pid in (1, 2) for step in (("process start", 0, 250e3), ("compile", 25e4, 975e4))]


def test_the_first_step_never_begins_below_0(tmp_path: Path) -> None:
    # Times from a stored record: the step at 1795468223.4412618 belongs to a start that began at ….441262.
    begin = 1795468223.4412618
    record = cold_record(
        began=datetime.fromtimestamp(begin, UTC), steps=[Step(name="process start", begin=begin, end=begin + 1)]
    )
    assert all(each["ts"] >= 0 for each in events(tmp_path, record) if each["ph"] == "X")


def test_no_span_has_a_negative_time_if_the_clock_is_set_back(tmp_path: Path) -> None:
    written = (span("early", "B", -0.5), span("early", "E", 0.5), span("late", "B", 2.0), span("late", "E", 1.999))
    assert spans(tmp_path, *written) == [("early", 0, 5e5), ("late", 2e6, 0)]


def test_spans_have_their_times_threads_and_facts(tmp_path: Path) -> None:
    assert spans(tmp_path, *SPANS) == [
        ("inner", 2e6, 1e6),
        ("other thread", 2.5e6, 1.25e6),
        ("inner", 3.5e6, 0.5e6),
        ("outer", 1e6, 4e6),
    ]
    compiler = [each for each in events(tmp_path) if each.get("cat") == "compiler, rank 0"]
    assert [each["tid"] for each in compiler] == [1, 2, 1, 1]
    assert [each["args"] for each in compiler] == [{"compile_id": "0/0"}, {}, {}, {}]


def test_spans_of_a_thread_nest(tmp_path: Path) -> None:
    found = [(begin, begin + length) for name, begin, length in spans(tmp_path, *SPANS) if name != "other thread"]
    for one in found:
        for other in found:
            separate = one[1] <= other[0] or other[1] <= one[0]
            within = (one[0] <= other[0] and other[1] <= one[1]) or (other[0] <= one[0] and one[1] <= other[1])
            assert separate or within


def test_an_inner_span_of_the_same_name_ends_first(tmp_path: Path) -> None:
    edges = [span("f", "B", 1), span("f", "B", 2), span("f", "E", 3), span("f", "E", 4)]
    assert spans(tmp_path, *edges) == [("f", 2e6, 1e6), ("f", 1e6, 3e6)]


@pytest.mark.parametrize(
    "edges",
    [
        [span("f", "B", 1)],
        [span("f", "E", 1)],
        [span("f", "E", 1), span("f", "B", 2)],
        [span("f", "B", 1), span("g", "E", 2)],
        [span("f", "B", 1, thread=1), span("f", "E", 2, thread=2)],
    ],
    ids=["never ends", "never begins", "wrong way round", "another name", "another thread"],
)
def test_a_begin_or_end_without_its_counterpart_is_left_out(tmp_path: Path, edges: list[Written]) -> None:
    assert spans(tmp_path, *edges) == []
    assert spans(tmp_path, *edges, span("h", "B", 3), span("h", "E", 4)) == [("h", 3e6, 1e6)]


def test_a_span_is_not_closed_by_another_process(tmp_path: Path) -> None:
    write_trace(tmp_path / "cold.trace", span("f", "B", 1), name="t_rank_0_a.log")
    write_trace(tmp_path / "cold.trace", span("f", "E", 2), name="t_rank_1_a.log")
    assert [each for each in events(tmp_path, cold_record()) if each["ph"] == "X"] == []


def test_spans_are_labelled_with_their_rank(tmp_path: Path) -> None:
    for rank in (0, 1):
        write_trace(tmp_path / "cold.trace", span("f", "B", 1), span("f", "E", 2), name=f"t_rank_{rank}_a.log")
    assert [each["cat"] for each in events(tmp_path, cold_record()) if each["ph"] == "X"] == [
        "compiler, rank 0",
        "compiler, rank 1",
    ]


def test_other_records_and_malformed_lines_are_skipped(tmp_path: Path) -> None:
    path = write_trace(tmp_path / "cold.trace", asked("miss"), span("f", "B", 1), span("f", "E", 2))
    path.write_bytes(b"\xff\x00[/x]\n" + path.read_bytes())
    assert [each["name"] for each in events(tmp_path, cold_record()) if each["ph"] == "X"] == ["f"]


def test_names_are_not_changed(tmp_path: Path) -> None:
    name = '[/x] "é" \u2028 \x1b[31m'
    assert [found[0] for found in spans(tmp_path, span(name, "B", 1), span(name, "E", 2))] == [name]


def test_a_start_without_steps_or_trace_has_only_its_name(tmp_path: Path) -> None:
    assert [each["ph"] for each in events(tmp_path, cold_record())] == ["M", "M"]
    write_perfetto(tmp_path / "none.json", tmp_path, [])
    assert json.loads((tmp_path / "none.json").read_bytes())["traceEvents"] == []


def test_an_existing_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "trace.json").write_text("x" * 10_000)
    write_perfetto(tmp_path / "trace.json", tmp_path, [cold_record()])
    assert json.loads((tmp_path / "trace.json").read_bytes())


def test_a_file_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "trace.json"):
        with pytest.raises(UsageError, match=f"cannot write {path}: [INF]"):
            write_perfetto(path, tmp_path, [cold_record()])
