"""The formats for tools that read numbers: CSV, Prometheus, and PyTorch's benchmark database."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
import os
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.phases import Phase
from coldwarm.core.record import StartRecord
from coldwarm.report.exporters import formats, render
from coldwarm.report.exporters.prometheus import metric_names
from coldwarm.report.summary import SuiteSummary
from coldwarm.suite.result import RunResult
from coldwarm.suite.stored import judge_stored
from tests.support.commands import ROOT
from tests.support.records import cold_record, model_entry, warm_record
from tests.support.repeated import repeated
from tests.support.runs import case_of, crashed, unsupported

RECORDS = ROOT / "records"
# XML and JSON have forms for them; a text file in UTF-8 has none.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@pytest.fixture(scope="module")
def h200() -> SuiteSummary:
    return SuiteSummary.of(judge_stored(RECORDS / "h200-2026-11-29-vllm-0.33", Catalog.read()))


def rows(summary: SuiteSummary) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(render("csv", summary), newline="")))


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    assert text == "" or text.endswith("\n")
    families = list(text_string_to_metric_families(text))
    assert len({family.name for family in families}) == len(families), "each family occurs once"
    found = {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}
    assert len(found) == sum(len(family.samples) for family in families), "no sample occurs twice"
    assert all(family.type == "gauge" and family.documentation for family in families)
    return found


def named(phase: str) -> SuiteSummary:
    def with_phase(record: StartRecord) -> StartRecord:
        return record.model_copy(update={"phases": [Phase(name=phase, seconds=1.5)]})

    case = case_of(model_entry(id="tiny"))
    return SuiteSummary.of([RunResult.of(case, with_phase(cold_record()), with_phase(warm_record()))])


def test_csv_has_a_row_for_each_start_of_a_real_suite(h200: SuiteSummary) -> None:
    found = rows(h200)
    assert len(found) == 16
    [cold] = [row for row in found if (row["run"], row["start"]) == ("qwen3-32b", "cold")]
    record = next(run.result.cold for run in h200.runs if run.name == "qwen3-32b")
    assert record is not None
    assert float(cold["seconds"]) == record.seconds
    assert (cold["artifacts_saved"], cold["artifacts_loaded"], cold["engine_version"]) == ("3", "0", "0.33.0")
    phases = {name: float(value) for name, value in cold.items() if name.startswith("phase: ") and value}
    assert sum(phases.values()) == pytest.approx(record.seconds, abs=0.1)
    assert cold["cpu_seconds"] == "", "it was not recorded then"


@given(TEXT)
@example('a "b", \\c\n{d="e"}')
def test_csv_keeps_any_text(phase: str) -> None:
    # The csv module reads what it wrote, if line ends are left alone.
    for row in rows(named(phase)):
        assert row[f"phase: {phase}"] == "1.5"


def test_csv_has_all_repetitions_and_starts_that_crashed() -> None:
    summary = SuiteSummary.of([repeated([20.0, 21.0], cpu_seconds=19.0), crashed(), unsupported()])
    found = [(row["run"], row["repetition"], row["start"], row["outcome"]) for row in rows(summary)]
    assert found == [
        ("tiny", "1", "cold", "finished"),
        ("tiny", "1", "warm", "finished"),
        ("tiny", "2", "cold", "finished"),
        ("tiny", "2", "warm", "finished"),
        ("crashes", "1", "cold", "crashed"),
    ]
    assert [row["artifacts_saved"] for row in rows(summary)] == ["3", "0", "3", "0", ""]
    assert rows(summary)[0]["cpu_seconds"] == "19.0"


def test_prometheus_reads_a_real_suite(h200: SuiteSummary) -> None:
    found = samples(render("prometheus", h200))
    assert {name for name, _ in found} <= set(metric_names())
    saved = {
        dict(labels)["model"]: value
        for (name, labels), value in found.items()
        if name == "coldwarm_artifacts_saved" and ("start", "cold") in labels
    }
    assert (saved["qwen3-32b"], saved["glm-4.5"]) == (3, 4)
    for run in h200.runs:
        [healthy] = [
            value
            for (name, labels), value in found.items()
            if name == "coldwarm_run_healthy" and ("run", run.name) in labels
        ]
        assert healthy == run.result.ok
    assert sum(value for (name, _), value in found.items() if name == "coldwarm_run_status") == len(h200.runs)


@given(TEXT)
@example('a "b", \\c\n{d="e"}')
def test_prometheus_reads_any_label(phase: str) -> None:
    found = samples(render("prometheus", named(phase)))
    phases = [dict(labels)["phase"] for name, labels in found if name == "coldwarm_phase_seconds"]
    # The format has no escape for a carriage return.
    assert set(phases) == {phase.replace("\r", " ")}


def test_prometheus_has_the_median_of_repetitions_and_no_times_of_a_crash() -> None:
    summary = SuiteSummary.of([repeated([20.0, 30.0, 22.0]), crashed()])
    found = samples(render("prometheus", summary))
    seconds = {
        (dict(labels)["run"], dict(labels)["start"]): value
        for (name, labels), value in found.items()
        if name == "coldwarm_start_seconds"
    }
    assert seconds == {("tiny", "cold"): 22.0, ("tiny", "warm"): pytest.approx(4.4)}
    assert ("coldwarm_run_healthy", 0.0) in {(name, value) for (name, _), value in found.items()}


@pytest.fixture(scope="module")
def vllm_utils() -> ModuleType:
    """The module with which `vllm bench` writes, without importing the rest of vLLM."""
    vllm = importlib.util.find_spec("vllm")
    if vllm is None or vllm.origin is None:
        pytest.skip("vLLM is not installed")
    path = Path(vllm.origin).parent / "benchmarks" / "lib" / "utils.py"
    spec = importlib.util.spec_from_file_location("vllm_benchmarks_lib_utils", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pytorchs_format_is_what_vllm_bench_writes(vllm_utils: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    records = json.loads(render("pytorch", SuiteSummary.of([repeated([20.0, 30.0, 22.0])])))
    assert os.environ.get("SAVE_TO_PYTORCH_BENCHMARK_FORMAT") is None
    monkeypatch.setenv("SAVE_TO_PYTORCH_BENCHMARK_FORMAT", "1")
    [theirs] = vllm_utils.convert_to_pytorch_benchmark_format(
        Namespace(model="tiny"), {"avg_cold_startup_time": [24.0]}, {"cold_startup_times": [20.0, 30.0, 22.0]}
    )
    ours = records[0]
    assert ours.keys() == theirs.keys()
    assert ours["model"] == theirs["model"]
    for part in ("benchmark", "metric"):
        assert ours[part].keys() == theirs[part].keys()
    assert (ours["metric"]["name"], ours["metric"]["benchmark_values"]) == ("avg_cold_startup_time", [24.0])
    assert ours["metric"]["extra_info"]["cold_startup_times"] == [20.0, 30.0, 22.0]
    assert ours["metric"]["extra_info"]["cold_startup_percentiles"]["50"] == 22.0
    assert ours["benchmark"]["extra_info"]["use_compile"] is True


def test_pytorchs_format_has_counts_and_phases_of_a_real_suite(h200: SuiteSummary) -> None:
    records = json.loads(render("pytorch", h200))
    of_qwen = {each["metric"]["name"]: each["metric"] for each in records if each["model"]["name"] == "qwen3-32b"}
    assert of_qwen["cold_artifacts_saved"]["benchmark_values"] == [3]
    assert of_qwen["warm_artifacts_loaded"]["benchmark_values"] == [3]
    assert "avg_cold_phase_time: Dynamo" in of_qwen
    assert all(isinstance(each["metric"]["benchmark_values"], list) for each in records)


@pytest.mark.parametrize("format_", formats())
def test_secrets_in_options_are_not_exported(format_: str) -> None:
    options = {"hf_token": "hidden-0a1b2c", "copy": "hidden-0a1b2c", "server": {"url": "https://hidden-2@host"}}
    records = cold_record(options=options), warm_record(options=options)
    text = render(format_, SuiteSummary.of([RunResult.of(case_of(model_entry(id="tiny")), *records)]))
    assert "hidden-" not in text


@pytest.mark.parametrize("format_", ["csv", "prometheus", "pytorch"])
def test_a_suite_without_a_finished_start_is_written(format_: str) -> None:
    assert render(format_, SuiteSummary.of([unsupported(), crashed()]))
    render(format_, SuiteSummary.of([]))
