"""Why: what coldwarm says of real starts that share too little, or that find a cache that does not fit."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from tests.real.conftest import PLUGIN, Shared
from tests.real.runs import COLDWARM, Finished
from tests.real.warm_variants import VARIANTS
from tests.support.release import CORRUPTED_BY_EXPERTS, FIRST_MOE_LAYER_IS_UNLIKE_OTHERS, INSTALLED

SAVED = "vllm.num_compiled_artifacts_saved"


def moe_layers(number: int) -> list[tuple[str, int]]:
    """Return the groups of identical MoE layers on a CPU."""
    sizes = [1, number - 1] if FIRST_MOE_LAYER_IS_UNLIKE_OTHERS else [number]
    return [("MoE layer", size) for size in sizes]


@pytest.fixture(scope="module")
def runs(shared: Shared) -> dict[str, Any]:
    return {**shared.first_half.result().runs(), **shared.second_half.result().runs()}


@pytest.fixture(scope="module")
def variants(shared: Shared) -> dict[str, Any]:
    folder = shared.variants.result()
    names = ("cold", "warm", "verdict", "explanation")
    return {
        variant.name: {
            name: json.loads((folder / variant.name / "buffered-scale" / f"{name}.json").read_bytes()) for name in names
        }
        for variant in VARIANTS
    }


def only(findings: list[Any], kind: str) -> Any:
    [finding] = [finding for finding in findings if finding["kind"] == kind]
    return finding


def classes(run: Any) -> list[tuple[str, int]]:
    [model] = run["explanation"]["models"]
    return [(one["name"], len(one["submodules"])) for one in model]


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("glm-4.5", [("first", 1), ("dense layer", 3), *moe_layers(4), ("last", 1)]),
        *(
            []
            if "phi-tiny-moe" in CORRUPTED_BY_EXPERTS
            else [("phi-tiny-moe", [("first", 1), *moe_layers(31), ("last", 1)])]
        ),
        ("llama-3.1-8b", [("first", 1), ("dense layer", 7), ("last", 1)]),
    ],
)
def test_subgraphs_are_put_into_named_classes(runs: dict[str, Any], model: str, expected: list[Any]) -> None:
    assert classes(runs[model]) == expected


shows_first_moe_layer = pytest.mark.skipif(
    not FIRST_MOE_LAYER_IS_UNLIKE_OTHERS, reason="this release does not have the known issue first-moe-layer-on-cpu"
)


@shows_first_moe_layer
@pytest.mark.parametrize("model", ["glm-4.5", "phi-tiny-moe"])
def test_the_first_moe_layer_is_explained_by_what_it_computes_for_the_others(runs: dict[str, Any], model: str) -> None:
    [finding] = runs[model]["explanation"]["findings"]
    assert (finding["kind"], finding["start"]) == ("not shared", "cold")
    assert "math_prod((s72, 256))" in finding["what"]
    assert "and passed to" in finding["what"]
    file, line = finding["where"].rsplit(":", 1)
    assert file.endswith("vllm/model_executor/layers/fused_moe/modular_kernel.py")
    assert Path(file).read_text().splitlines()[int(line) - 1].strip() == finding["code"]
    assert "prod(" in finding["code"]
    assert finding["seconds"] > 0.5
    for evidence in finding["evidence"]:
        assert evidence["file"].startswith("cold.trace/")


@pytest.mark.parametrize(
    "model",
    [
        *("llama-3.1-8b", "qwen3-32b"),
        *([] if FIRST_MOE_LAYER_IS_UNLIKE_OTHERS else sorted({"glm-4.5", "phi-tiny-moe"} - CORRUPTED_BY_EXPERTS)),
    ],
)
def test_a_healthy_model_has_no_finding(runs: dict[str, Any], model: str) -> None:
    assert runs[model]["explanation"]["findings"] == []
    assert runs[model]["explanation"]["notes"] == []


@shows_first_moe_layer
def test_the_evidence_stands_where_it_is_said_to(runs: dict[str, Any], shared: Shared) -> None:
    [finding] = runs["glm-4.5"]["explanation"]["findings"]
    for evidence in finding["evidence"]:
        number, name = evidence["record"].removeprefix("line ").split(": ")
        with (shared.first_half.result().output / "glm-4.5" / evidence["file"]).open() as lines:
            line = [next(lines) for _ in range(int(number))][-1]
        assert f'"graph_dump": {{"name": "{name}"}}' in line


def test_vllm_as_shipped_is_explained_by_the_exception(shared: Shared) -> None:
    shipped = shared.shipped.result()
    path = shipped.output / "llama-3.1-8b" / "explanation.json"
    [finding] = json.loads(path.read_bytes())["findings"]
    assert finding["kind"] == "load failed"
    assert "'function' object has no attribute 'finalize_loading'" in finding["what"]
    assert "why: the saved function was found but failed to load" in shipped.stdout
    assert "cache miss" not in finding["what"]


def test_a_flag_outside_of_the_key_leaves_the_start_warm(variants: dict[str, Any]) -> None:
    run = variants["harmless"]
    assert run["warm"]["environment"]["VLLM_LOG_STATS_INTERVAL"] == "77"
    assert "VLLM_LOG_STATS_INTERVAL" not in run["cold"]["environment"]
    assert run["explanation"]["findings"] == []
    assert run["verdict"]["status"] == "passed"


def test_another_option_of_the_engine_is_named_with_both_values(variants: dict[str, Any]) -> None:
    finding = only(variants["option"]["explanation"]["findings"], "key changed")
    assert "additional_config.experiment" in finding["what"]
    assert finding["what"].endswith("first cold, second warm")
    assert finding["seconds"] > 5


def test_another_variable_is_named_with_both_values(variants: dict[str, Any]) -> None:
    finding = only(variants["variable"]["explanation"]["findings"], "key changed")
    assert "VLLM_DISABLE_LOG_LOGO" in finding["what"]
    assert finding["what"].endswith("False cold, True warm")


@pytest.mark.parametrize("variant", ["option", "variable"])
def test_a_function_that_was_recompiled_for_the_same_reason_costs_nothing_more(
    variants: dict[str, Any], variant: str
) -> None:
    findings = variants[variant]["explanation"]["findings"]
    assert sorted(finding["kind"] for finding in findings) == ["compiled after ready", "key changed"]
    late = only(findings, "compiled after ready")
    assert (late["shares_cost"], late["seconds"]) == (True, None)


def test_an_edited_source_is_named_with_both_digests(variants: dict[str, Any]) -> None:
    finding = only(variants["source"]["explanation"]["findings"], "key changed")
    assert finding["where"].endswith("plugin/layer_scale.py")
    cold, warm = (evidence["record"].rsplit("sha256 ", 1)[1] for evidence in finding["evidence"][:2])
    assert cold != warm and cold in finding["what"] and warm in finding["what"]
    assert "Source code has changed" in finding["evidence"][2]["record"]


@pytest.mark.parametrize(
    ("variant", "how", "description"),
    [
        ("truncated", "truncated", "is truncated"),
        ("flipped", "altered", "was altered"),
        ("deleted", "missing", "is missing"),
    ],
)
def test_damaged_artifacts_are_distinguished(
    variants: dict[str, Any], variant: str, how: str, description: str
) -> None:
    run = variants[variant]
    [change] = run["warm"]["caches_changed"]
    finding = only(run["explanation"]["findings"], "cache damaged")
    assert change["how"] == how
    assert description in finding["what"] and change["path"] in finding["what"]
    assert change["path"].endswith("/model")
    assert run["verdict"]["status"] in ("failed", "error"), "a run in a damaged cache never passes"


def test_what_came_from_caches_that_vllm_does_not_count_is_said(variants: dict[str, Any]) -> None:
    run = variants["deleted"]
    assert run["warm"]["processes"][0]["counters"][SAVED] == 3
    assert run["warm"]["compiler_work"]["code_generations"] == 0
    assert "the compiler's own caches" in only(run["explanation"]["findings"], "loaded unseen")["what"]


def test_numbers_of_triton_launches_are_a_known_issue_of_the_engine(shared: Shared) -> None:
    run = shared.own_models.result().runs()["triton-launch"]
    [finding] = run["explanation"]["findings"]
    assert "kernel_idx=1 in submod_2, kernel_idx=2 in submod_4" in finding["what"]
    assert finding["code"] == "double_kernel[(x.shape[0],)](x, out, WIDTH=x.shape[1], num_warps=2)"
    assert (run["cold"]["processes"][0]["counters"][SAVED], finding["extra_artifacts"]) == (6, 3)
    assert [issue["id"] for issue in run["verdict"]["issues"]] == ["triton-kernel-index-in-graph"]
    assert run["verdict"]["status"] == "known issue"


def test_a_number_burned_into_each_layer_is_found_with_its_line(shared: Shared) -> None:
    own_models: Finished = shared.own_models.result()
    run = own_models.runs()["burned-scale"]
    assert run["cold"]["processes"][0]["counters"][SAVED] == run["cold"]["compiler_work"]["subgraphs_unique"] == 6
    [finding] = run["explanation"]["findings"]
    for value in ("1.0 in submod_2", "1.125 in submod_4", "1.25 in submod_6", "1.375 in submod_8"):
        assert value in finding["what"]
    source = (PLUGIN / "layer_scale.py").read_text().splitlines()
    line = next(number for number, text in enumerate(source, start=1) if "* self.scale" in text)
    assert finding["where"] == f"{PLUGIN / 'layer_scale.py'}:{line}"
    assert (run["verdict"]["status"], own_models.exit_code) == ("failed", 1)


def test_the_same_number_in_a_buffer_is_shared(shared: Shared) -> None:
    run = shared.own_models.result().runs()["buffered-scale"]
    assert run["cold"]["processes"][0]["counters"][SAVED] == 3
    assert classes(run) == [("first", 1), ("dense layer", 4), ("last", 1)]
    assert run["explanation"]["findings"] == []
    assert run["verdict"]["status"] == "passed"


def test_layers_of_caches_are_counted(runs: dict[str, Any]) -> None:
    layers = {layer["name"]: layer for layer in runs["glm-4.5"]["explanation"]["layers"]}
    artifacts = layers["vLLM, artifacts"]
    unique = len(classes(runs["glm-4.5"]))
    assert (artifacts["cold"]["misses"], artifacts["warm"]["hits"], artifacts["warm"]["misses"]) == (unique, unique, 0)
    kernels = layers["C++ kernels"]
    assert kernels["cold"]["misses"] > 0 == kernels["warm"]["misses"]
    assert kernels["warm"]["hits"] > 0


def test_the_command_explains_a_stored_run_and_writes_it_for_perfetto(shared: Shared, tmp_path: Path) -> None:
    folder = shared.first_half.result().output
    target = tmp_path / "glm.json"
    done = subprocess.run(
        [COLDWARM, "explain", str(folder), "glm-4.5", "--perfetto", str(target)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert ("math_prod((s72, 256))" in done.stdout) == FIRST_MOE_LAYER_IS_UNLIKE_OTHERS
    assert ("modular_kernel.py:" in done.stdout) == FIRST_MOE_LAYER_IS_UNLIKE_OTHERS
    events = json.loads(target.read_bytes())["traceEvents"]
    spans = [event for event in events if event["ph"] == "X" and event["pid"] == 1]
    cold = json.loads((folder / "glm-4.5" / "cold.json").read_bytes())
    run = shared.first_half.result().runs()["glm-4.5"]
    assert min(event["ts"] for event in spans) == pytest.approx(0, abs=1e5)
    assert max(event["ts"] + event["dur"] for event in spans) == pytest.approx(cold["seconds"] * 1e6, rel=0.05)
    generated = sum(1 for event in spans if event["name"] == "GraphLowering.codegen")
    assert generated == cold["compiler_work"]["code_generations"] > len(classes(run))
    if Version("0.32") <= INSTALLED:
        assert generated == len(classes(run)) + 1, "the function that log-probabilities need"
