from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.depth import Depth
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import Outcome, ProcessReport, StartKind
from coldwarm.core.seen_in_process import MissingBytecode
from coldwarm.diagnose.explanation import Explanation, explain
from tests.support.explanations import (
    asked,
    compiled,
    compiled_again,
    evidences,
    keys,
    piecewise_start,
    span,
    write_keys,
    write_trace,
)
from tests.support.records import (
    COLD_COUNTERS,
    LOADED,
    MISSES,
    WARM_COUNTERS,
    cold_facts,
    cold_record,
    unfinished_record,
    warm_facts,
    warm_record,
)

OTHER = keys(environment={"VLLM_USE_V1": "[/x]"})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return the folder of a run with two readable traces and equal keys."""
    for kind in StartKind:
        write_trace(tmp_path / f"{kind}.trace", span("dynamo", "B", 1.0), span("dynamo", "E", 2.0))
    write_keys(tmp_path, keys(), keys())
    return tmp_path


def only(explanation: Explanation) -> Finding:
    [finding] = explanation.findings
    return finding


def test_a_healthy_run_has_layers_and_no_findings(run: Path) -> None:
    explained = explain(run, cold_record(), warm_record())
    assert (explained.findings, explained.notes, explained.models) == ([], [], [])
    assert len(explained.layers) == 6


@pytest.mark.parametrize("depth", Depth)
def test_missing_bytecode_costs_the_same_at_every_depth(run: Path, depth: Depth) -> None:
    missing = MissingBytecode(modules=9, seconds=12.5, modules_again=9, seconds_again=12.5)
    spawned: dict[str, Any] = {"depth": depth, "missing_bytecode": missing, "isolation": IsolationKind.SPAWN}
    cold, warm = (make(**spawned) for make in (cold_record, warm_record))
    for found in (only(explain(run, cold, warm)), only(explain(run, cold, None))):
        assert (found.kind, found.seconds) == (FindingKind.IMPORTED_FROM_SOURCE, 12.5)


def test_an_import_while_compiling_is_not_charged_twice(run: Path) -> None:
    missing = MissingBytecode(modules=9, seconds=9.0, modules_again=9, seconds_again=9.0)
    write_keys(run, keys(), OTHER)
    warm = compiled_again(missing_bytecode=missing, isolation=IsolationKind.SPAWN)
    key, imported = explain(run, cold_record(), warm).findings
    assert (key.seconds, imported.seconds) == (13.5, 8.0)


def test_costs_that_exceed_the_start_are_dropped_with_a_note(run: Path) -> None:
    # PyTorch's spans have the time of the wall clock, which may be changed while a start runs.
    write_trace(run / "warm.trace", span("dynamo", "B", 1.0, frame_id=1), asked("miss"), span("dynamo", "E", 3601.0))
    explained = explain(run, cold_record(), warm_record(counters={MISSES: 1}))
    assert (only(explained).kind, only(explained).seconds) == (FindingKind.COMPILED_OUTSIDE, None)
    assert explained.notes == [
        "the cost of the findings on the warm start is unknown: 3600.0 s were measured in a start of 12.5 s; "
        "the clock may have been changed while it ran"
    ]


def test_keys_that_differ_are_read_from_the_folder(run: Path) -> None:
    write_keys(run, keys(), OTHER)
    assert "True cold, [/x] warm" in only(explain(run, cold_record(), compiled_again())).what


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"factors": 1}', '{"factors": {}}', "\x00"])
@pytest.mark.parametrize("kind", StartKind)
def test_unreadable_keys_count_as_not_recorded(run: Path, kind: StartKind, content: str | None) -> None:
    write_keys(run, keys(), OTHER)
    if content is None:
        (run / f"{kind}.keys.json").unlink()
    else:
        (run / f"{kind}.keys.json").write_text(content)
    finding = only(explain(run, cold_record(), compiled_again()))
    assert finding.kind is FindingKind.UNEXPLAINED
    assert finding.details == ["the components of the cache keys were not recorded"]
    assert explain(run, cold_record(), warm_record()).notes == ["the components of the cache keys were not recorded"]


def test_keys_that_differ_between_ranks_are_read_from_the_folder_and_named_once(run: Path) -> None:
    for kind in StartKind:
        (run / f"{kind}.rank-1.keys.json").write_text(OTHER.model_dump_json())
    ranks = [ProcessReport(pid=rank, rank=rank, counters=COLD_COUNTERS, keys_digest=str(rank)) for rank in (0, 1)]
    of_warm = [each.model_copy(update={"counters": WARM_COUNTERS}) for each in ranks]
    cold, warm = cold_record(facts=cold_facts(processes=ranks)), warm_record(facts=warm_facts(processes=of_warm))
    found = only(explain(run, cold, warm))
    assert (found.kind, found.start) == (FindingKind.RANKS_DISAGREE, StartKind.COLD)
    assert "is True in rank 0, [/x] in rank 1" in found.what


def test_work_that_differs_between_ranks_is_a_finding_of_that_start(run: Path) -> None:
    ranks = [ProcessReport(pid=rank, rank=rank, counters=WARM_COUNTERS, keys_digest="a") for rank in (0, 1)]
    ranks[1] = ranks[1].model_copy(update={"counters": {**WARM_COUNTERS, LOADED: 2}})
    found = only(explain(run, cold_record(), warm_record(facts=warm_facts(processes=ranks))))
    assert found.what == "rank 1 differs from rank 0 in the warm start: loaded 2 artifacts instead of 3"


def test_a_smaller_kv_cache_is_a_finding(run: Path) -> None:
    found = only(explain(run, cold_record(kv_cache_blocks=90), warm_record(kv_cache_blocks=100)))
    assert found.kind is FindingKind.KV_CACHE_SMALLER


def test_keys_without_components_count_as_not_recorded(run: Path) -> None:
    write_keys(run, CacheKeys(), OTHER)
    assert only(explain(run, cold_record(), compiled_again())).kind is FindingKind.UNEXPLAINED


def test_standalone_compiles_are_read_from_the_traces(run: Path) -> None:
    write_trace(run / "cold.trace", asked("miss", "k1"), compiled("sample"))
    write_trace(run / "warm.trace", asked("miss", "k1"), asked("hit", "f1", layer="fx_graph"), compiled("sample"))
    finding = only(explain(run, cold_record(), warm_record(counters={MISSES: 1})))
    assert finding.kind is FindingKind.COMPILED_OUTSIDE
    assert finding.where == "sampler.py:10"
    assert "1 of 1 lookups hit Inductor's FX graph cache" in finding.details
    assert [each.file for each in finding.evidence] == ["warm.trace/dedicated_log_torch_trace_rank_0_x.log"]


def test_missing_traces_and_keys_are_noted(tmp_path: Path) -> None:
    explained = explain(tmp_path, cold_record(), compiled_again())
    assert explained.notes == [
        "cold.trace contains no trace",
        "warm.trace contains no trace",
        "the components of the cache keys were not recorded",
    ]
    assert only(explained).kind is FindingKind.UNEXPLAINED
    assert explain(tmp_path / "nowhere", cold_record(), warm_record()).notes == explained.notes


def test_starts_that_compile_nothing_with_torch_compile_have_no_trace(tmp_path: Path) -> None:
    why = "no class of DeepseekV4ForCausalLM is decorated with support_torch_compile"
    cold, warm = (make(torch_compile=why) for make in (cold_facts, warm_facts))
    assert explain(tmp_path, cold_record(facts=cold), warm_record(facts=warm)).notes == []


def test_an_empty_trace_is_one_without_records(run: Path) -> None:
    for kind in StartKind:
        write_trace(run / f"{kind}.trace")
    assert explain(run, cold_record(), warm_record()).notes == []


@pytest.mark.parametrize("kind", StartKind)
def test_malformed_lines_are_counted_and_the_first_is_shown(run: Path, kind: StartKind) -> None:
    path = write_trace(run / f"{kind}.trace", asked("miss"))
    path.write_bytes(b"[/bold] \xff\x1b[31m\nno record\n" + path.read_bytes())
    [note] = explain(run, cold_record(), warm_record()).notes
    assert note.startswith(f"{kind}.trace: 2 malformed lines; the first: '[/bold] ")
    assert "\x1b" not in note


def test_a_trace_that_was_cut_off_in_a_record_is_read(run: Path) -> None:
    path = run / "warm.trace" / "dedicated_log_torch_trace_rank_0_x.log"
    os.truncate(path, path.stat().st_size - 5)
    explained = explain(run, cold_record(), compiled_again())
    assert only(explained).kind is FindingKind.UNEXPLAINED
    # If the payload of a record without a checksum is cut off, this may go unnoticed.
    assert len(explained.notes) <= 1


@pytest.mark.parametrize("outcome", [Outcome.CRASHED, Outcome.TIMED_OUT])
def test_a_cold_start_that_did_not_finish_is_explained_by_its_trace(run: Path, outcome: Outcome) -> None:
    write_trace(run / "cold.trace", piecewise_start(0), span("vllm_backend", "E", 3.0))
    explained = explain(run, unfinished_record(outcome=outcome), None)
    assert (explained.findings, explained.layers, explained.notes) == ([], [], [])
    assert [one.submodules for one in explained.models[0]] == [["submod_0"]]


def test_a_warm_start_that_timed_out_leaves_the_cold_ones_layers(run: Path) -> None:
    explained = explain(run, cold_record(), unfinished_record(StartKind.WARM, Outcome.TIMED_OUT))
    assert {(layer.cold is None, layer.warm is None) for layer in explained.layers} == {(False, True)}
    assert explained.findings == []


def test_a_run_without_records_is_empty(run: Path) -> None:
    assert explain(run, None, None) == Explanation()
    assert explain(run / "nowhere", None, None) == Explanation()


def test_an_explanation_survives_json(run: Path) -> None:
    write_keys(run, keys(), OTHER)
    explained = explain(run, cold_record(), compiled_again())
    assert explained.findings
    assert Explanation.model_validate_json(explained.model_dump_json()) == explained


def test_explaining_twice_gives_the_same(run: Path) -> None:
    write_keys(run, keys(), OTHER)
    assert explain(run, cold_record(), compiled_again()) == explain(run, cold_record(), compiled_again())


def test_equal_keys_have_no_changed_components() -> None:
    assert evidences(keys(), OTHER).changed_factors() != []
    assert evidences(keys(), keys()).changed_factors() == []
