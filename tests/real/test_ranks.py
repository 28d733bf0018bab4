"""A real start with two tensor-parallel ranks, each in a process of its own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from coldwarm.core.depth import Depth
from coldwarm.core.finding import FindingKind
from coldwarm.core.invariant_ids import InvariantId
from tests.real.conftest import PLUGIN, SECRETS, Shared
from tests.support.records import LOADED, MISSES, SAVED

SUBGRAPHS = "vllm.num_piecewise_capturable_graphs_seen"
HITS = "torch.aot_autograd.autograd_cache_hit"


@pytest.fixture(scope="module")
def run(shared: Shared) -> dict[str, Any]:
    finished = shared.ranks.result()
    assert finished.exit_code == 0, finished.stderr
    return dict(finished.runs()["llama-3.1-8b"])


def test_each_rank_is_counted_in_its_own_process(run: dict[str, Any]) -> None:
    for kind, expected in (
        ("cold", {SUBGRAPHS: 9, SAVED: 3, LOADED: 0}),
        ("warm", {SUBGRAPHS: 0, SAVED: 0, LOADED: 3, MISSES: 0}),
    ):
        first, *processes = run[kind]["processes"]
        assert [(process["role"], process["rank"]) for process in (first, *processes)] == [
            ("engine core", None),
            ("worker", 0),
            ("worker", 1),
        ]
        assert len({process["pid"] for process in (first, *processes)}) == 3
        assert {process["parent_pid"] for process in processes} == {first["pid"]}
        for process in processes:
            assert {name: process["counters"][name] for name in expected} == expected
            assert process["outside"]["caches_written"] == process["outside"]["caches_read"] == []
            assert process["missing_bytecode"] is not None
            assert process["keys_digest"] == processes[0]["keys_digest"] is not None
            assert process["kv_cache_blocks"] == 64
            assert process["failed_probes"] == {}
        assert run[kind]["compiler_work"]["traced_ranks"] == [0, 1]
        # Rank 0 announces them, in a process that vLLM spawned.
        of_rank_0 = ["device", "weights", "warm-up", "cache load", "KV cache"]
        steps = list(dict.fromkeys(step["name"] for step in run[kind]["steps"]))
        assert [step for step in steps if step in of_rank_0] == of_rank_0
    # The ranks compile at the same time with the same keys: each finds what the other has saved in AOTAutograd's cache,
    # or after a miss there, what it has saved in Inductor's.
    ranks = {str(each["rank"]): each["counters"] for each in run["cold"]["processes"][1:]}
    assert sum(counters[MISSES] for counters in ranks.values()) >= 3
    needed = {
        rank: counters[MISSES] - max(0, counters["torch.inductor.fxgraph_cache_hit"] - counters[HITS])
        for rank, counters in ranks.items()
    }
    generated = run["cold"]["compiler_work"]["code_generations_by_rank"]
    assert generated == {rank: count for rank, count in needed.items() if count}


def test_the_verdict_is_of_every_rank(run: dict[str, Any]) -> None:
    assert run["verdict"]["status"] == "passed"
    of_artifacts = [each for each in run["verdict"]["checks"] if each["id"] in set(InvariantId)]
    assert len(of_artifacts) == 5, f"at depth {Depth.COUNT} all but the output"
    assert all(each["words"].startswith("ranks 0, 1: ") for each in of_artifacts)


def test_ranks_that_agree_have_no_finding(run: dict[str, Any]) -> None:
    kinds = {finding["kind"] for finding in run["explanation"]["findings"]}
    assert not kinds & {FindingKind.RANKS_DISAGREE, FindingKind.KV_CACHE_SMALLER}


def test_a_number_burned_into_the_graphs_of_a_rank_is_named_with_the_rank(shared: Shared) -> None:
    run = shared.ranks.result().runs()["burned-rank"]
    # Each rank is healthy by itself.
    assert run["verdict"]["status"] == "passed", run["verdict"]["reasons"]
    [finding] = [each for each in run["explanation"]["findings"] if each["kind"] == FindingKind.RANKS_DISAGREE]
    assert finding["what"] == (
        "ranks compile different graphs of submod_2 and 1 more (dense layer): a constant that differs is baked into "
        "the graph: `1.0` in rank 0, `1.125` in rank 1"
    )
    assert finding["where"].startswith(f"{PLUGIN / 'layer_scale.py'}:")
    assert finding["code"] == "return hidden_states * self.scale, residual"
    assert len({each["file"] for each in finding["evidence"]}) == 2, "the trace of each rank"


def test_the_cache_keys_are_those_of_the_first_rank(shared: Shared) -> None:
    output = shared.ranks.result().output
    assert not [*output.rglob("*.rank-*")]
    cold, warm = (
        json.loads((output / "llama-3.1-8b" / f"{kind}.keys.json").read_bytes())["factors"] for kind in ("cold", "warm")
    )
    assert cold["config.parallel_config"]["tensor_parallel_size"] == "2"
    assert cold == warm


def test_nothing_that_was_written_holds_a_secret(shared: Shared) -> None:
    finished = shared.ranks.result()
    texts = {"stdout": finished.stdout, "stderr": finished.stderr}
    for path in finished.output.rglob("*"):
        if path.is_file():
            texts[str(path)] = path.read_bytes().decode("utf-8", "replace")
    assert len(texts) > 10
    found = [(what, where) for what, secret in SECRETS.items() for where, text in texts.items() if secret in text]
    assert found == []
