from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.record import Message, ProcessReport, in_order
from coldwarm.core.seen_in_process import MissingBytecode, OutsideUse
from coldwarm.store.schema import RECORD
from tests.support.records import cold_facts, cold_record


def message(text: str) -> Message:
    return Message(logger="a", level="WARNING", text=text)


ENGINE_CORE = ProcessReport(
    pid=1,
    parent_pid=50,
    role="engine core",
    messages=[message("a")],
    outside=OutsideUse(written=["/b", "/c"]),
    missing_bytecode=MissingBytecode(modules=5, seconds=1.0, modules_again=0, seconds_again=0.0),
    peak_memory_bytes=1,
)
RANKS = [
    ProcessReport(
        pid=12 - rank,
        parent_pid=1,
        rank=rank,
        counters={"n": rank},
        messages=[message("a"), message(f"of {rank}")],
        outside=OutsideUse(written=["/a", "/b"]),
        missing_bytecode=MissingBytecode(modules=7, seconds=1.0, modules_again=0, seconds_again=0.0),
        peak_memory_bytes=10,
        peak_device_memory_bytes=100 + rank,
    )
    for rank in range(2)
]


def test_the_whole_start_is_what_its_processes_saw_together() -> None:
    record = cold_record(processes=[ENGINE_CORE, *RANKS])
    assert [each.text for each in record.messages] == ["a", "of 0", "of 1"]
    assert record.outside.written == ["/a", "/b", "/c"]
    assert record.peak_memory_bytes == 21
    assert record.missing_bytecode is not None
    assert record.missing_bytecode.modules == 5


def test_facts_speak_of_the_first_rank() -> None:
    record = cold_record(processes=[RANKS[1], ENGINE_CORE, RANKS[0]])
    assert record.facts is not None
    assert record.facts.processes == RANKS
    assert (record.facts.counters, record.facts.peak_device_memory_bytes) == ({"n": 0}, 101)


def test_nothing_is_known_of_a_start_without_processes() -> None:
    record = cold_record(processes=[])
    assert record.facts is not None
    assert (record.facts.processes, record.facts.counters, record.facts.main_model) == ([], {}, None)
    assert (record.messages, record.outside, record.peak_memory_bytes) == ([], OutsideUse(), None)
    assert record.missing_bytecode is None


def test_facts_of_a_copy_speak_of_the_processes_of_the_copy() -> None:
    record = cold_record(processes=RANKS)
    copied = record.model_copy(update={"processes": RANKS[1:]})
    assert copied.facts is not None and record.facts is not None
    assert (copied.facts.counters, record.facts.counters) == ({"n": 1}, {"n": 0})


def test_two_records_with_the_same_facts_speak_of_their_own_processes() -> None:
    facts = cold_facts()
    first, second = (cold_record(facts=facts, processes=[rank]) for rank in RANKS)
    assert first.facts is not None and second.facts is not None
    assert (first.facts.counters, second.facts.counters) == ({"n": 0}, {"n": 1})


def test_what_is_no_field_cannot_be_changed_in_a_copy() -> None:
    with pytest.raises(TypeError, match="messages"):
        cold_record().model_copy(update={"messages": []})


def test_what_was_seen_in_a_process_is_stored_once() -> None:
    data = RECORD.to_data(cold_record(counters={"only here": 12345}))
    assert json.dumps(data).count("only here") == 1
    assert not {"counters", "layer_kinds", "processes"} & data["facts"].keys()
    assert not {"messages", "outside", "missing_bytecode", "peak_memory_bytes"} & data.keys()


@given(st.permutations([ENGINE_CORE, *RANKS, ProcessReport(pid=50, role="API server")]))
def test_a_process_comes_after_the_one_that_created_it(reports: list[ProcessReport]) -> None:
    assert [report.pid for report in in_order(reports)] == [50, 1, 12, 11]


def test_processes_that_cannot_have_created_one_another_are_put_in_order() -> None:
    circle = [ProcessReport(pid=1, parent_pid=2), ProcessReport(pid=2, parent_pid=1)]
    assert sorted(report.pid or 0 for report in in_order(circle)) == [1, 2]
