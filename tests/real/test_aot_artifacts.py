"""Both ways to keep compiled subgraphs, on this CPU, as two parallel runs."""

from __future__ import annotations

from typing import Any

import pytest
from packaging.version import Version

from tests.real.conftest import Shared
from tests.real.runs import Finished
from tests.support.release import INSTALLED


@pytest.fixture(scope="module")
def both(shared: Shared) -> Finished:
    return shared.both_artifacts.result()


@pytest.fixture(scope="module")
def runs(both: Finished) -> dict[str, Any]:
    return both.runs()


def test_each_is_a_run_of_its_own_that_meets_its_own_expectations(both: Finished, runs: dict[str, Any]) -> None:
    assert both.exit_code == 0, both.stderr
    assert {name: run["verdict"]["status"] for name, run in runs.items()} == {
        "llama-3.1-8b+separate": "passed",
        "llama-3.1-8b+bundled": "passed",
    }
    for name, run in runs.items():
        verdict = run["verdict"]
        expected = [check["id"] for check in verdict["checks"] if check["id"].startswith("expected:warm:")]
        # Of 0.28 to 0.31, the catalog has the counters of vLLM with bundled artifacts.
        counters = (
            {"vllm", "torch"} if Version("0.32") <= INSTALLED else {"vllm"} if name.endswith("+bundled") else set()
        )
        assert {check.split(":")[2].split(".")[0] for check in expected} == counters
        notes = [note for note in verdict["notes"] if "the first request for log-probabilities waits for" not in note]
        assert len(notes) == len(verdict["notes"]) - 1
        assert [note for note in notes if "no expectation for" not in note] == []
        assert len(notes) == (not counters)


def test_the_engine_has_them_as_asked_for(runs: dict[str, Any]) -> None:
    for kept in ("separate", "bundled"):
        run = runs[f"llama-3.1-8b+{kept}"]
        assert run["cold"]["facts"]["aot_artifact"] == run["warm"]["facts"]["aot_artifact"] == kept
    counted = {name: run["warm"]["processes"][0]["counters"]["torch.aot_autograd.total"] for name, run in runs.items()}
    assert counted["llama-3.1-8b+separate"] > counted["llama-3.1-8b+bundled"]


def test_parallel_runs_record_their_number(runs: dict[str, Any]) -> None:
    assert {run["cold"]["side_by_side"] for run in runs.values()} == {2}


def test_a_start_repeats_itself(runs: dict[str, Any]) -> None:
    for run in runs.values():
        for start in (run["cold"], run["warm"]):
            assert start["facts"]["generated"] == start["facts"]["generated_again"] != []
