"""Depths and isolations: what they leave out changes no count."""

from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.finding import FindingKind
from tests.real.conftest import Shared
from tests.real.test_catalog_models import LOADED, MEASURED, SAVED
from tests.support.release import FIRST_MOE_LAYER_IS_UNLIKE_OTHERS

# What generating with log-probabilities, which `full` alone does, compiles beside the model: one function of vLLM's
# (vllm/v1/sample/ops/logprobs.py, `batched_count_greater_than`).
OF_GENERATING = {
    "cold": {
        "torch.aot_autograd.total": 1,
        "torch.aot_autograd.ok": 1,
        "torch.aot_autograd.autograd_cache_miss": 1,
        "torch.aot_autograd.autograd_cache_saved": 1,
        "torch.inductor.fxgraph_cache_miss": 1,
    },
    "warm": {
        "torch.aot_autograd.total": 1,
        "torch.aot_autograd.ok": 1,
        "torch.aot_autograd.autograd_cache_hit": 1,
        "torch.inductor.fxgraph_cache_hit": 1,
    },
}


@pytest.fixture(scope="module")
def full(shared: Shared) -> dict[str, Any]:
    return {**shared.first_half.result().runs(), **shared.second_half.result().runs()}


@pytest.fixture(scope="module")
def counted(shared: Shared) -> dict[str, Any]:
    finished = shared.counted.result()
    assert finished.exit_code == 0, finished.stderr
    return finished.runs()


@pytest.fixture(scope="module")
def traced(shared: Shared) -> dict[str, Any]:
    finished = shared.traced.result()
    assert finished.exit_code == 0, finished.stderr
    return finished.runs()


@pytest.mark.parametrize("model", MEASURED)
def test_without_kernels_everything_is_counted_as_with_them(
    full: dict[str, Any], counted: dict[str, Any], model: str
) -> None:
    for kind in ("cold", "warm"):
        with_kernels, without = full[model][kind], counted[model][kind]
        most, fewest = with_kernels["processes"][0]["counters"], without["processes"][0]["counters"]
        more = {name: most.get(name, 0) - fewest.get(name, 0) for name in most.keys() | fewest.keys()}
        assert {name: count for name, count in more.items() if count} == OF_GENERATING[kind]
        assert with_kernels["compiler_work"]["subgraphs_unique"] == without["compiler_work"]["subgraphs_unique"]
    assert full[model]["verdict"]["status"] == counted[model]["verdict"]["status"]


@pytest.mark.parametrize("model", MEASURED)
def test_without_kernels_artifacts_are_saved_and_loaded_and_no_cxx_compiler_runs(
    full: dict[str, Any], counted: dict[str, Any], model: str
) -> None:
    cold, warm = (counted[model][kind]["processes"][0]["counters"] for kind in ("cold", "warm"))
    assert cold[SAVED] == warm[LOADED] == MEASURED[model][0]

    def seconds_in_cxx(run: dict[str, Any]) -> float:
        phases = {phase["name"]: phase["seconds"] for phase in run["cold"]["phases"]}
        return float(phases.get("C++/Triton compilation", 0.0))

    assert seconds_in_cxx(counted[model]) < 0.1 < seconds_in_cxx(full[model])


@pytest.mark.parametrize("model", MEASURED)
def test_a_trace_finds_the_unique_subgraphs_and_compiles_none(
    full: dict[str, Any], traced: dict[str, Any], model: str
) -> None:
    cold = traced[model]["cold"]
    saved, subgraphs = MEASURED[model]
    assert (cold["compiler_work"]["subgraphs_compiled"], cold["compiler_work"]["subgraphs_unique"]) == (
        subgraphs,
        saved,
    )
    assert (cold["processes"][0]["counters"][SAVED], cold["compiler_work"]["code_generations"]) == (0, 0)
    assert traced[model]["warm"] is None
    assert full[model]["verdict"]["status"] == traced[model]["verdict"]["status"]
    assert cold["processes"][0]["layer_kinds"] == full[model]["cold"]["processes"][0]["layer_kinds"]


def test_a_trace_explains_what_is_not_shared(full: dict[str, Any], traced: dict[str, Any]) -> None:
    def told(runs: dict[str, Any]) -> list[Any]:
        findings = runs["glm-4.5"]["explanation"]["findings"]
        return [each for each in findings if each["kind"] == FindingKind.NOT_SHARED]

    def causes(runs: dict[str, Any]) -> list[Any]:
        return [(each["what"], each["where"]) for each in told(runs)]

    assert causes(traced) == causes(full)
    assert bool(causes(traced)) == FIRST_MOE_LAYER_IS_UNLIKE_OTHERS
    assert {each["seconds"] for each in told(traced)} <= {None}


def test_what_is_imported_without_bytecode_is_told_of_every_start(
    traced: dict[str, Any], counted: dict[str, Any]
) -> None:
    for model in MEASURED:
        missing = traced[model]["cold"]["processes"][0]["missing_bytecode"]
        assert missing["modules_again"] == missing["modules"] > 3000
        assert any(root.endswith("site-packages") for root in missing["roots"])
        [finding] = [
            each
            for each in traced[model]["explanation"]["findings"]
            if each["kind"] == FindingKind.IMPORTED_FROM_SOURCE
        ]
        # These starts are forked: the import was paid once, before the fork.
        assert finding["seconds"] is None
        assert missing["seconds_again"] > 1
        assert f"({missing['seconds_again']:.1f} s here, paid once for all forked starts)" in finding["what"]
        # Where pip has compiled what it installed, there is nothing to tell.
        for kind in ("cold", "warm"):
            assert counted[model][kind]["processes"][0]["missing_bytecode"]["seconds"] < 1
        kinds = {each["kind"] for each in counted[model]["explanation"]["findings"]}
        assert FindingKind.IMPORTED_FROM_SOURCE not in kinds


def test_a_cache_folder_that_an_option_names_is_replaced_and_left_as_it_was(shared: Shared) -> None:
    finished = shared.spawned.result()
    folder = finished.home.parent.parent / "users-compiled"
    assert {file: file.read_text() for file in folder.rglob("*")} == {folder / "marker": "the user's"}
    for run in finished.runs().values():
        for kind in ("cold", "warm"):
            assert "compilation_config.cache_dir" in run[kind]["overridden"]
            [process] = run[kind]["processes"]
            assert process["outside"] == {"caches_written": [], "caches_read": [], "written": []}
            # What vLLM keeps in the folder that it names is kept, in one of the run's own.
            assert run[kind]["caches_after"]["options"]["files"] > 0
        assert run["cold"]["caches_before"] == {}


def test_a_new_interpreter_counts_what_a_forked_process_counts(shared: Shared, counted: dict[str, Any]) -> None:
    finished = shared.spawned.result()
    assert finished.exit_code == 0, finished.stderr
    for model, run in finished.runs().items():
        for kind in ("cold", "warm"):
            assert (run[kind]["isolation"], counted[model][kind]["isolation"]) == ("spawn", "fork")
            assert run[kind]["processes"][0]["counters"] == counted[model][kind]["processes"][0]["counters"]
