"""Models of the catalog on this CPU, as two `coldwarm run` at the same time."""

from __future__ import annotations

import os
from typing import Any

import pytest
from junitparser import JUnitXml

from coldwarm.store.history.history import History
from tests.real.conftest import FIRST_HALF, SECOND_HALF, Shared
from tests.real.runs import Finished
from tests.support.release import CORRUPTED_BY_EXPERTS, FIRST_MOE_LAYER_IS_UNLIKE_OTHERS, RUNS_MLA

SAVED = "vllm.num_compiled_artifacts_saved"
LOADED = "vllm.num_compiled_artifacts_loaded"

MORE = int(FIRST_MOE_LAYER_IS_UNLIKE_OTHERS)
# Artifacts saved cold and loaded warm, and subgraphs: first measured before this project began.
MEASURED = {
    model: counts
    for model, counts in {
        "glm-4.5": (4 + MORE, 9),
        "gpt-oss-120b": (3 + MORE, 9),
        **({"kimi-k2.5": (4 + MORE, 9)} if RUNS_MLA else {}),
        "llama-3.1-8b": (3, 9),
        "minimax-m2.5": (3 + MORE, 9),
        "phi-tiny-moe": (3 + MORE, 33),
        "qwen3-32b": (3, 9),
    }.items()
    if model not in CORRUPTED_BY_EXPERTS
}
DENSE = {"llama-3.1-8b", "qwen3-32b"}


@pytest.fixture(scope="module")
def halves(shared: Shared) -> list[Finished]:
    return [shared.first_half.result(), shared.second_half.result()]


@pytest.fixture(scope="module")
def runs(halves: list[Finished]) -> dict[str, Any]:
    return {model: run for half in halves for model, run in half.runs().items()}


def test_every_named_model_is_run(runs: dict[str, Any]) -> None:
    assert set(runs) == {*FIRST_HALF, *SECOND_HALF}
    assert set(runs) - set(MEASURED) == {"deepseek-v3.2", *([] if RUNS_MLA else ["kimi-k2.5"])}


@pytest.mark.parametrize("model", MEASURED)
def test_counts_are_those_measured(runs: dict[str, Any], model: str) -> None:
    saved, subgraphs = MEASURED[model]
    cold, warm = runs[model]["cold"]["processes"][0]["counters"], runs[model]["warm"]["processes"][0]["counters"]
    assert (cold[SAVED], cold[LOADED]) == (saved, 0)
    assert (warm[SAVED], warm[LOADED]) == (0, saved)
    assert cold["vllm.num_piecewise_capturable_graphs_seen"] == subgraphs


@pytest.mark.parametrize("model", MEASURED)
def test_the_trace_agrees_with_the_counters(runs: dict[str, Any], model: str) -> None:
    saved, subgraphs = MEASURED[model]
    cold, warm = runs[model]["cold"]["compiler_work"], runs[model]["warm"]["compiler_work"]
    assert (cold["subgraphs_compiled"], cold["subgraphs_unique"]) == (subgraphs, saved)
    assert cold["code_generations"] >= saved
    assert warm["code_generations"] == warm["subgraphs_unique"] == 0
    assert cold["garbled_lines"] == warm["garbled_lines"] == 0


@pytest.mark.parametrize("model", MEASURED)
def test_dense_models_pass_and_moe_models_show_their_known_issue(runs: dict[str, Any], model: str) -> None:
    verdict = runs[model]["verdict"]
    if model in DENSE or not FIRST_MOE_LAYER_IS_UNLIKE_OTHERS:
        assert (verdict["status"], verdict["reasons"]) == ("passed", [])
    else:
        assert verdict["status"] == "known issue", verdict["reasons"]
        [broken] = [check for check in verdict["checks"] if not check["holds"]]
        assert (broken["id"], broken["accepted_by"]) == ("cold-only-unique", "first-moe-layer-on-cpu")


@pytest.mark.parametrize("model", MEASURED)
def test_the_kinds_of_layers_that_the_catalog_names_are_those_derived(runs: dict[str, Any], model: str) -> None:
    named = runs[model]["case"]["entry"]["layer_kinds"]
    assert len(runs[model]["cold"]["processes"][0]["layer_kinds"]) == len(named)


@pytest.mark.parametrize("model", MEASURED)
def test_what_is_generated_depends_on_the_model(runs: dict[str, Any], model: str) -> None:
    def generated(name: str) -> tuple[int, ...]:
        return tuple(token["token_id"] for token in runs[name]["cold"]["facts"]["generated"])

    assert len(set(generated(model))) > 1, "the same token again and again tells nothing"
    assert all(generated(other) != generated(model) for other in MEASURED if other != model)


def test_unsupported_models_are_told_with_their_reason(runs: dict[str, Any]) -> None:
    run = runs["deepseek-v3.2"]
    assert (run["verdict"]["status"], run["cold"], run["warm"]) == ("unsupported", None, None)
    assert "sparse MLA" in run["verdict"]["reasons"][0]


@pytest.mark.skipif(RUNS_MLA, reason="this release runs the model, and the other tests check it")
def test_a_model_that_the_release_cannot_run_is_unsupported(runs: dict[str, Any]) -> None:
    verdict = runs["kimi-k2.5"]["verdict"]
    assert verdict["status"] == "unsupported"
    assert "MLA" in verdict["reasons"][0] and "mla/prefill/flash_attn.py" in verdict["reasons"][0]


def test_known_issues_are_no_failure_of_the_suite(halves: list[Finished]) -> None:
    assert [half.exit_code for half in halves] == [0, 0]


def test_caches_begin_empty_and_are_handed_on_as_they_were_left(runs: dict[str, Any]) -> None:
    for model in MEASURED:
        cold, warm = runs[model]["cold"], runs[model]["warm"]
        assert cold["caches_before"] == {}
        assert cold["caches_after"]["vllm"]["files"] > 0
        assert warm["caches_before"] == cold["caches_after"]
        assert cold["caches_as_left"] and warm["caches_as_left"]


def test_nothing_of_the_users_is_read_or_written(halves: list[Finished]) -> None:
    for half in halves:
        assert not any(half.home.iterdir()), list(half.home.rglob("*"))
        assert not any(half.tmp.iterdir()), list(half.tmp.rglob("*"))
        assert not (half.home.parent.parent / "never").exists()


def test_a_cache_that_a_variable_of_the_users_names_is_neither_read_nor_written(
    halves: list[Finished], runs: dict[str, Any]
) -> None:
    folder = halves[0].home.parent.parent / "users-autotune"
    assert {file: file.read_text() for file in folder.rglob("*")} == {folder / "marker": "the user's"}
    for model in MEASURED:
        for kind in ("cold", "warm"):
            start = runs[model][kind]
            [process] = start["processes"]
            assert process["outside"] == {"caches_written": [], "caches_read": [], "written": []}
            assert start["shared_caches_changed"] == []
            # Others on this machine may use the default places.
            assert not [file for file in start["changed_outside"] if str(folder.parent) in file]
    replaced = {"VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR", "TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE"}
    assert replaced <= set(runs["llama-3.1-8b"]["cold"]["overridden"])


def test_the_users_variables_are_passed_on_and_recorded(runs: dict[str, Any]) -> None:
    cold = runs["llama-3.1-8b"]["cold"]
    assert cold["environment"]["VLLM_RPC_TIMEOUT"] == "10001"
    assert "VLLM_CACHE_ROOT" in cold["overridden"]
    assert "VLLM_CACHE_ROOT" not in cold["environment"]


def test_phases_add_up_to_the_start(runs: dict[str, Any]) -> None:
    for model in MEASURED:
        cold = runs[model]["cold"]
        assert sum(phase["seconds"] for phase in cold["phases"]) == pytest.approx(cold["seconds"], abs=0.01)
        assert {"import", "engine setup", "weights", "compile", "generate"} <= {step["name"] for step in cold["steps"]}
        seconds = {phase["name"]: phase["seconds"] for phase in cold["phases"]}
        for compiler in ("Dynamo", "AOTAutograd", "Inductor code generation", "C++/Triton compilation"):
            assert seconds[compiler] > 0.1
        assert {"device", "KV cache", "cache save", "warm-up"} <= seconds.keys()
        for kind in ("cold", "warm"):
            start = runs[model][kind]
            phases = {phase["name"]: phase["seconds"] for phase in start["phases"]}
            assert min(phases.values()) >= 0
            assert phases.get("unaccounted", 0.0) <= start["seconds"] / 10, (model, kind, phases)


def test_junit_has_a_case_a_model(halves: list[Finished]) -> None:
    xml = JUnitXml.fromfile(os.fspath(halves[0].output.parent.parent / "junit.xml"))
    cases = {case.name: case for suite in xml for case in suite}
    assert set(cases) == set(FIRST_HALF)
    assert cases["llama-3.1-8b"].is_passed
    assert cases["glm-4.5"].is_skipped == FIRST_MOE_LAYER_IS_UNLIKE_OTHERS
    assert cases["deepseek-v3.2"].is_skipped


def test_all_runs_are_in_the_history_and_in_the_html_report(halves: list[Finished]) -> None:
    _, half = halves
    store = half.output.parent.parent / "history.db"
    runs = half.runs()
    assert f"stored: {len(runs)} runs in {store}" in half.stderr
    with History.open(str(store)) as history:
        for model, run in runs.items():
            [point] = history.points(model)
            assert point.verdict == run["verdict"]["status"]
    page = half.output / "report.html"
    assert f"report: {page}" in half.stderr
    text = page.read_text()
    assert all(f">{model}<" in text for model in SECOND_HALF)
