"""Both ways to keep compiled subgraphs, on this CPU, as two parallel runs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.real.conftest import Shared
from tests.real.runs import Finished


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
    for run in runs.values():
        assert not run["verdict"]["notes"]
        assert any(check["id"] == "expected:warm:torch.aot_autograd.total" for check in run["verdict"]["checks"])


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
