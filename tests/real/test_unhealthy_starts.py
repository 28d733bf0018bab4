"""Starts that do not go well, and models that nobody has catalogued."""

from __future__ import annotations

import json

from coldwarm.core.invariant_ids import InvariantId
from tests.real.conftest import Shared
from tests.support.release import FIRST_MOE_LAYER_IS_UNLIKE_OTHERS


def test_vllms_default_on_a_cpu_does_not_pass_and_its_load_failure_is_shown(shared: Shared) -> None:
    shipped = shared.shipped.result()
    assert shipped.exit_code == 1
    assert "cold start saved 0 artifacts that coldwarm could see (expected at least 1)" in shipped.stdout
    assert "Compiling model again due to a load failure" in shipped.stdout
    assert "has no attribute 'finalize_loading'" in shipped.stdout
    assert (
        "reproduce: OMP_NUM_THREADS=1 coldwarm run llama-3.1-8b --device cpu --compilation shipped "
        "--set hf_overrides.num_hidden_layers=2\n"
    ) in shipped.stdout


def test_bare_configs_get_a_verdict_by_the_invariants_alone(shared: Shared) -> None:
    bare = shared.bare.result()
    runs = bare.runs()
    unsupported = runs.pop("nemotron-3-nano-30b-a3b")
    assert set(runs) == {"olmoe-1b-7b", "gemma-3-1b", "cohere2"}
    for run in runs.values():
        assert [check["id"] for check in run["verdict"]["checks"]] == list(InvariantId)
        assert any("derived" in note for note in run["verdict"]["notes"])
        assert run["cold"]["processes"][0]["counters"]["vllm.num_compiled_artifacts_saved"] >= 3
        ineffective = [note for note in run["verdict"]["notes"] if "no effect" in note]
        assert ineffective == ["compilation_config.compile_sizes=[1] has no effect here: vLLM used []"]
    assert runs["gemma-3-1b"]["verdict"]["status"] == "passed", runs["gemma-3-1b"]["verdict"]["reasons"]
    # Every fourth layer has full attention and no rotary embedding: another graph, and as it should be.
    cohere = runs["cohere2"]
    assert cohere["verdict"]["status"] == "passed", cohere["verdict"]["reasons"]
    assert cohere["cold"]["processes"][0]["counters"]["vllm.num_compiled_artifacts_saved"] == 4
    assert len(set(cohere["cold"]["processes"][0]["layer_configurations"].values())) == 2
    # vLLM refuses the experts, and nothing else of it.
    assert unsupported["verdict"]["status"] == "unsupported", unsupported["verdict"]["reasons"]
    [reason] = unsupported["verdict"]["reasons"]
    assert "is_act_and_mul=False is supported only for CUDA" in reason
    assert "vllm/model_executor/layers/fused_moe/config.py" in reason
    assert unsupported["warm"] is None
    # An MoE model shows on a CPU what the catalog's do: a known issue of the engine, recognized in any model.
    moe = runs["olmoe-1b-7b"]
    assert bare.exit_code == 0
    if not FIRST_MOE_LAYER_IS_UNLIKE_OTHERS:
        assert moe["verdict"]["status"] == "passed", moe["verdict"]["reasons"]
        return
    assert moe["verdict"]["status"] == "known issue", moe["verdict"]["reasons"]
    [broken] = [check for check in moe["verdict"]["checks"] if not check["holds"]]
    assert (broken["id"], broken["accepted_by"]) == ("cold-only-unique", "first-moe-layer-on-cpu")
    assert "cold start saved 4 artifacts (expected at most 3: one for each part of the model" in broken["words"]
    [finding] = [each for each in moe["explanation"]["findings"] if each["kind"] == "not shared"]
    assert finding["extra_artifacts"] == 1


def test_a_killed_worker_ends_its_own_run_only(shared: Shared) -> None:
    killed = shared.killed.result()
    assert killed.exit_code == 3
    runs = killed.runs()
    cold = runs["llama-3.1-8b"]["cold"]
    assert (cold["outcome"], cold["failure"]["signal"], cold["failure"]["phase"]) == ("crashed", "SIGKILL", "compile")
    assert cold["failure"]["log_tail"]
    assert runs["llama-3.1-8b"]["warm"] is None
    assert runs["llama-3.1-8b"]["verdict"]["status"] == "error"
    assert runs["qwen3-32b"]["verdict"]["status"] == "passed"
    assert json.loads((killed.output / "llama-3.1-8b" / "cold.json").read_text()) == cold
    assert list(killed.tmp.iterdir()) == []


def test_ctrl_c_leaves_no_process_and_no_folder(shared: Shared) -> None:
    interrupted = shared.interrupted.result()
    assert interrupted.finished.exit_code == 130
    assert interrupted.left == []
    assert list(interrupted.finished.tmp.iterdir()) == []
    assert "interrupted: 0 of 1 models finished" in interrupted.finished.stderr
