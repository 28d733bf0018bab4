from __future__ import annotations

import pytest

from coldwarm.core.cache_files import CacheContent
from coldwarm.core.phases import Phase
from coldwarm.core.record import Failure, Message
from coldwarm.report.run_view import print_run
from coldwarm.report.summary import RunSummary
from coldwarm.suite.result import RunResult
from tests.report.consoles import Paper
from tests.support.records import cold_record, model_entry, warm_record
from tests.support.runs import crashed, failed, fixed, known, passed, result_of, unsupported


def shown(result: RunResult) -> str:
    paper = Paper()
    print_run(paper.console, RunSummary.of(result))
    return paper.text


@pytest.mark.parametrize(
    "result", [passed(), known(), unsupported(), failed(), fixed(), crashed()], ids=lambda result: result.case.model_id
)
def test_every_run_has_its_title_and_the_reproduce_command(result: RunResult) -> None:
    text = shown(result)
    assert text.startswith(f"{result.case.model_id} on vllm, cpu, piecewise: {result.verdict.status}\n")
    assert f"  reproduce: coldwarm run {result.case.model_id} --device cpu\n" in text


def test_checks_are_marked() -> None:
    assert "  FAIL  cold: vllm.num_compiled_artifacts_saved expected 3, got 4" in shown(failed())
    assert "  known cold start saved 4 artifacts (expected at most 3" in shown(known())
    assert "  ok    warm start saved 0 artifacts" in shown(passed())


def test_times_caches_versions_and_variables_are_shown() -> None:
    cold = cold_record(
        phases=[Phase(name="import", seconds=5.04), Phase(name="compile", seconds=17)],
        caches_after={"vllm": CacheContent(files=12, bytes=3 * 2**20)},
        environment={"VLLM_MINE": "1"},
        overridden=["TORCH_TRACE"],
        peak_memory_bytes=3 * 2**29,
        messages=[Message(logger="torch._dynamo", level="WARNING", text="recompiles")],
    )
    text = shown(result_of(model_entry(), cold, warm_record()))
    for expected in (
        "  cold start: finished, 12.5 s",
        "phases  import 5.0 s, compile 17.0 s",
        "caches  vllm 12 files 3.0 MiB",
        "memory  1.5 GiB peak",
        "versions  python 3.11.9, torch 2.13.0+cpu, vllm 0.32.0",
        "environment  VLLM_MINE=1",
        "replaced to isolate the start  TORCH_TRACE",
        "WARNING torch._dynamo: recompiles",
        "  warm start: finished",
        "reproduce: VLLM_MINE=1 coldwarm run tiny",
    ):
        assert expected in text


def test_text_of_a_log_is_shown_literally() -> None:
    tail = "torch/foo.py:100: UserWarning: [/red] [bold]"
    assert tail in shown(crashed(failure=Failure(what="x", log_tail=[tail])))
