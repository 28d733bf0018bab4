"""Commands of the user: a vLLM server and its processes, a script that is watched, a program with torch.compile."""

from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.finding import FindingKind
from coldwarm.core.invariant_ids import InvariantId
from tests.real.conftest import Shared
from tests.support.records import LOADED, MISSES, SAVED


@pytest.fixture(scope="module")
def run(shared: Shared) -> dict[str, Any]:
    """The run of the server."""
    finished = shared.server.result().finished
    assert finished.exit_code == ExitCode.HEALTHY, finished.stdout + finished.stderr
    [found] = finished.runs().values()
    return dict(found)


class TestServer:
    def test_each_rank_compiles_cold_and_loads_warm(self, run: dict[str, Any]) -> None:
        assert (run["name"], run["verdict"]["status"]) == ("llama", "passed")
        for kind, expected in (("cold", {SAVED: 3, LOADED: 0}), ("warm", {SAVED: 0, LOADED: 3, MISSES: 0})):
            workers = [process for process in run[kind]["processes"] if process["rank"] is not None]
            assert [(worker["role"], worker["rank"]) for worker in workers] == [("worker", 0), ("worker", 1)]
            for worker in workers:
                assert {name: worker["counters"][name] for name in expected} == expected
                assert (worker["kv_cache_blocks"], worker["is_warmed_up"]) == (64, True)

    def test_its_ranks_agree(self, run: dict[str, Any]) -> None:
        # PyTorch's check of the CPU's instructions is not thread-safe, so that kernels may get other keys.
        race = "torch/_inductor/cpu_vec_isa.py"
        assert [finding for finding in run["explanation"]["findings"] if finding["where"] != race] == []

    def test_what_its_first_request_compiles_is_noted(self, run: dict[str, Any]) -> None:
        [ready] = [check for check in run["verdict"]["checks"] if check["id"] == InvariantId.READY_NO_COMPILER]
        assert ready["words"] == "ranks 0, 1: after the engine was ready, nothing was compiled"
        late = "the first request for log-probabilities waits for torch.compile of batched_count_greater_than"
        assert any(late in note for note in run["verdict"]["notes"])

    def test_its_other_processes_are_observed_and_compile_nothing(self, run: dict[str, Any]) -> None:
        for kind in ("cold", "warm"):
            others = [process for process in run[kind]["processes"] if process["rank"] is None]
            assert {"API server", "engine core"} <= {process["role"] for process in others}
            failed = {(process["role"], process["pid"]): process["failed_probes"] for process in run[kind]["processes"]}
            assert {process: probes for process, probes in failed.items() if probes} == {}
            assert [process["role"] for process in others if process["counters"].get(MISSES)] == []

    def test_it_answers_the_same_request_alike(self, run: dict[str, Any]) -> None:
        cold, warm = (run[kind]["facts"]["generated"] for kind in ("cold", "warm"))
        assert len(cold) == 8
        assert [token["token_id"] for token in cold] == [token["token_id"] for token in warm]

    def test_no_process_of_it_is_left(self, shared: Shared) -> None:
        assert shared.server.result().left == []


def test_a_server_as_shipped_on_a_unix_socket_is_not_warm_because_of_the_load_failure(shared: Shared) -> None:
    served = shared.served_as_shipped.result()
    assert served.finished.exit_code == ExitCode.FAILED, served.finished.stdout + served.finished.stderr
    [run] = served.finished.runs().values()
    assert run["verdict"]["status"] == "failed"
    broken = {check["id"] for check in run["verdict"]["checks"] if not check["holds"]}
    assert {InvariantId.COMPILES, InvariantId.LOADS_ALL, InvariantId.NO_COMPILER} <= broken
    [finding] = run["explanation"]["findings"]
    assert finding["kind"] == FindingKind.LOAD_FAILED
    assert "'function' object has no attribute 'finalize_loading'" in finding["what"]
    assert served.left == []


def test_a_rank_that_is_killed_in_mid_compile_is_named(shared: Shared) -> None:
    served = shared.killed_rank.result()
    assert served.finished.exit_code == ExitCode.CRASHED, served.finished.stdout + served.finished.stderr
    [run] = served.finished.runs().values()
    [reason] = run["verdict"]["reasons"]
    assert "the command exited with status 1 before it was ready, after process " in reason
    assert reason.endswith(" (worker, rank 0) had ended")
    # It had written what it saw.
    [worker] = [process for process in run["cold"]["processes"] if process["rank"] is not None]
    assert worker["is_warmed_up"] is False
    assert served.left == []
    assert list(served.finished.tmp.iterdir()) == []


class TestWatchedScript:
    def test_the_first_start_is_cold_and_the_second_warm(self, shared: Shared) -> None:
        cold, warm, _ = shared.watched.result()
        assert (cold.exit_code, warm.exit_code) == (ExitCode.FAILED, ExitCode.HEALTHY), cold.report + warm.report
        assert "rank 0: cold (3 artifacts saved" in cold.report
        assert "why: the cache had no entry of any start" in cold.report
        assert "rank 0: warm (3 artifacts loaded, 64 KV cache blocks)" in warm.report

    def test_two_causes_at_once_are_both_named(self, shared: Shared) -> None:
        *_, changed = shared.watched.result()
        assert changed.exit_code == ExitCode.FAILED
        assert (
            "additional_config.worker is part of vLLM's cache key and changed: 1 in the cache, 2 now" in changed.report
        )
        assert "VLLM_DISABLE_LOG_LOGO is part of vLLM's cache key and changed" in changed.report
        assert changed.report.count("is part of vLLM's cache key and changed") == 2


def test_a_program_with_two_functions_names_the_one_whose_key_changed(shared: Shared) -> None:
    finished = shared.program.result()
    assert finished.exit_code == ExitCode.FAILED, finished.stdout + finished.stderr
    [run] = finished.runs().values()
    assert [run["cold"]["processes"][0]["counters"][name] for name in (MISSES,)] == [2]
    functions = {each["name"].split()[0]: each for each in run["warm"]["compiler_work"]["functions"]}
    assert [len(functions[name]["missed"]) for name in ("first", "second")] == [0, 1]
    found = [finding["what"] for finding in run["explanation"]["findings"] if finding["kind"] == "compiled outside"]
    assert len(found) == 1
    assert "of second (" in found[0]
