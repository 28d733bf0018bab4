"""The records that are kept in the repository are judged as they were when they were made."""

from __future__ import annotations

from pathlib import Path

import pytest

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
