"""The records that are kept in the repository are judged as they were when they were made."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.explain.finding import Finding, FindingKind
from coldwarm.suite.result import RunResult
from coldwarm.suite.store import read_runs
from coldwarm.verdict.verdict import Verdict

RECORDS = Path(__file__).parent.parent / "records"
SUITES = sorted(path.parent for path in RECORDS.rglob("suite.json"))


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.relative_to(RECORDS).as_posix())
def test_verdicts_are_those_of_the_day(suite: Path) -> None:
    runs = read_runs(suite)
    assert runs
    for run in runs:
        stored = Verdict.model_validate_json((suite / run.case.model_id / "verdict.json").read_bytes())
        now = RunResult.of(run.case, run.cold, run.warm).verdict
        assert (now.status, [(c.id, c.holds) for c in now.checks]) == (
            stored.status,
            [(c.id, c.holds) for c in stored.checks],
        )


def test_there_are_records_of_all_eight_models_on_a_gpu() -> None:
    models = {run.case.model_id for suite in SUITES for run in read_runs(suite) if run.case.device == "cuda"}
    assert len(models) == 8


def _findings(model: str) -> list[Finding]:
    [run] = [
        run
        for suite in SUITES
        for run in read_runs(suite)
        if run.case.model_id == model and run.explanation is not None
    ]
    assert run.explanation is not None
    return run.explanation.findings


def test_what_keeps_the_layers_of_deepseek_v3_2_apart_on_a_gpu_is_kept() -> None:
    not_shared = [finding for finding in _findings("deepseek-v3.2") if finding.kind is FindingKind.NOT_SHARED]
    assert [finding.where for finding in not_shared] == ["vllm/model_executor/layers/sparse_attn_indexer.py:228"] * 2
    assert all("kernel_idx=" in finding.what for finding in not_shared)


def test_why_kimi_saves_again_on_a_gpu_is_kept() -> None:
    [finding] = [finding for finding in _findings("kimi-k2.5") if finding.kind is FindingKind.KEY_CHANGED]
    assert finding.where == "transformers/configuration_utils.py"
    assert "was hashed cold alone" in finding.what


def test_what_glm_compiles_beside_vllm_on_a_gpu_is_kept() -> None:
    assert {finding.kind for finding in _findings("glm-4.5")} == {FindingKind.COMPILED_OUTSIDE}


def test_healthy_runs_are_kept_without_findings() -> None:
    assert _findings("gpt-oss-120b") == []
