from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.case import Changes
from coldwarm.core.depth import Depth
from coldwarm.core.errors import CatalogError, UsageError
from coldwarm.engines.base import load_installation
from coldwarm.suite.plan import plan

WriteModel = Callable[..., Path]

TOML = """
id = "{id}"
name = "Mine"
config = "{id}.json"
source = "here"
layer_kinds = ["dense"]
"""


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.read()


@pytest.fixture
def write_model(tmp_path: Path) -> WriteModel:
    def write(model_id: str = "mine", more: str = "", **config: object) -> Path:
        (tmp_path / f"{model_id}.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], **config}))
        path = tmp_path / f"{model_id}.toml"
        path.write_text(TOML.format(id=model_id) + more)
        return path

    return write


def test_the_whole_catalog_is_planned_in_the_order_of_its_ids(catalog: Catalog) -> None:
    ids = [case.model_id for case in plan(catalog, [], device="cpu", whole_catalog=True)]
    assert ids == [model.entry.id for model in catalog.models()]
    assert len(ids) >= 24


def test_if_no_model_is_named_the_representative_ones_are_planned(catalog: Catalog) -> None:
    cases = plan(catalog, [], device="cpu")
    assert [case.model_id for case in cases] == [model.entry.id for model in catalog.representative()]
    assert all(case.entry.unsupported_on("cpu", "piecewise") is None for case in cases)
    assert len(cases) == 8


def test_models_of_a_folder_of_the_user_run_with_the_representative_ones(write_model: WriteModel) -> None:
    mine = Catalog.read([write_model().parent])
    ids = [case.model_id for case in plan(mine, [], device="cpu")]
    assert "mine" in ids
    assert len(ids) == 9


def test_models_cannot_be_named_beside_the_whole_catalog(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="not both"):
        plan(catalog, ["glm-4.5"], device="cpu", whole_catalog=True)


def test_options_of_an_entry_are_checked_with_those_of_the_user(catalog: Catalog, write_model: WriteModel) -> None:
    path = str(write_model(more="options = { tensor_parallel_size = 2 }\n"))
    with pytest.raises(UsageError, match="--depth trace supports one rank"):
        plan(catalog, [path], device="cpu", depth=Depth.TRACE)
    assert plan(catalog, [path], device="cpu", depth=Depth.TRACE, options={"tensor_parallel_size": 1})


def test_named_models_are_planned_in_their_order(catalog: Catalog) -> None:
    cases = plan(catalog, ["qwen3-32b", "glm-4.5"], device="cpu", compilation="shipped")
    assert [(case.model_id, case.device, case.compilation) for case in cases] == [
        ("qwen3-32b", "cpu", "shipped"),
        ("glm-4.5", "cpu", "shipped"),
    ]


def test_every_case_has_the_options_and_the_changes_of_the_warm_start(catalog: Catalog) -> None:
    changes = Changes(environment={"VLLM_X": "1"}, options={"seed": 1})
    cases = plan(catalog, ["qwen3-32b", "deepseek-v3.2"], device="cpu", options={"a": {"b": 1}}, warm_changes=changes)
    assert [(case.options, case.warm_changes) for case in cases] == 2 * [({"a": {"b": 1}}, changes)]
    [case] = plan(catalog, ["qwen3-32b"], device="cpu")
    assert (case.options, case.warm_changes) == ({}, Changes())


def test_the_default_device_is_the_one_that_the_engine_was_built_for(catalog: Catalog) -> None:
    [case] = plan(catalog, ["glm-4.5"])
    assert case.device == load_installation("vllm").default_device()


def test_an_unknown_engine_names_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="no engine 'vlm'; nearest: vllm"):
        plan(catalog, [], engine="vlm")


@pytest.mark.parametrize("device", ["gpu", "CPU"])
def test_an_unknown_device_is_an_error(catalog: Catalog, device: str) -> None:
    # The pytest plugin's --coldwarm-device takes any word.
    with pytest.raises(UsageError):
        plan(catalog, ["glm-4.5"], device=device)


def test_cuda_without_a_gpu_is_an_error_of_one_line(catalog: Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(UsageError) as refused:
        plan(catalog, [], device="cuda")
    assert str(refused.value) == "no NVIDIA GPU on this machine; --device cuda needs one"


def test_an_unknown_model_names_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match=r"no model 'glm45' in the catalog; nearest: glm-4\.5"):
        plan(catalog, ["glm45"], device="cpu")


def test_an_unknown_architecture_names_file_key_and_the_nearest(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"architectures": ["LlamaForCausalML"], "num_hidden_layers": 32}))
    with pytest.raises(CatalogError, match=r"LlamaForCausalLM") as refused:
        plan(catalog, [str(path)], device="cpu")
    assert (refused.value.path, refused.value.key) == (path, "architectures")


@pytest.mark.parametrize("kind", ["cold", "warm"])
@pytest.mark.parametrize(
    ("counter", "nearest"),
    [
        ("vllm.num_compiled_artifacts_savd", "vllm.num_compiled_artifacts_saved"),
        ("torch.aot_autograd.autograd_cache_mis", "torch.aot_autograd.autograd_cache_miss"),
    ],
)
def test_a_misspelt_counter_names_file_key_and_the_nearest(
    write_model: WriteModel, kind: str, counter: str, nearest: str
) -> None:
    path = write_model(more=f'[[expect]]\nwhen = {{ device = "cpu" }}\nmeasured = "now"\n{kind}.{counter} = 3\n')
    with pytest.raises(CatalogError, match=nearest) as refused:
        plan(Catalog([]), [str(path)], device="cpu")
    assert (refused.value.path, refused.value.key) == (path, f"expect.0.{kind}")


def test_a_counter_of_an_unknown_source_is_an_error(write_model: WriteModel) -> None:
    path = write_model(more='[[expect]]\nwhen = {}\nmeasured = "now"\ncold.artifacts = 3\n')
    with pytest.raises(CatalogError, match="counters begin with"):
        plan(Catalog([]), [str(path)], device="cpu")


def test_a_misspelt_counter_that_was_measured_with_settings_is_an_error(write_model: WriteModel) -> None:
    when = 'when = { options = { "hf_overrides.num_hidden_layers" = 4 } }'
    path = write_model(more=f'[[expect]]\n{when}\nmeasured = "now"\ncold.vllm.num_compiled_artifacts_savd = 4\n')
    with pytest.raises(CatalogError, match="num_compiled_artifacts_saved"):
        plan(Catalog([]), [str(path)], device="cpu")


def test_counters_of_other_versions_are_not_checked(write_model: WriteModel) -> None:
    path = write_model(more='[[expect]]\nwhen = { vllm = "<0.1" }\nmeasured = "then"\ncold.vllm.num_old = 3\n')
    assert len(plan(Catalog([]), [str(path)], device="cpu")) == 1


def test_a_misspelt_counter_of_a_known_issue_is_an_error(write_model: WriteModel) -> None:
    issue = '[[known_issue]]\nid = "i"\ntitle = "t"\nlink = "l"\nwhen = {}\nbreaks = "cold-only-unique"\n'
    path = write_model(more=issue + "cold.vllm.num_compiled_artifacts_savd = 4\n")
    with pytest.raises(CatalogError, match="num_compiled_artifacts_saved"):
        plan(Catalog([]), [str(path)], device="cpu")


def test_only_unsupported_models_are_an_error_with_the_reasons(catalog: Catalog) -> None:
    with pytest.raises(
        UsageError, match=r"nothing to run: every model is unsupported on cpu\n  deepseek-v3\.2: sparse MLA"
    ):
        plan(catalog, ["deepseek-v3.2"], device="cpu")


def test_an_unsupported_model_among_others_is_planned(catalog: Catalog) -> None:
    assert len(plan(catalog, ["deepseek-v3.2", "glm-4.5"], device="cpu")) == 2


def test_an_unsupported_model_is_not_checked_against_the_engine(write_model: WriteModel) -> None:
    mine = write_model(
        more='[[unsupported]]\ndevices = ["cpu"]\nreason = "r"\n', architectures=["NoSuchThingForCausalLM"]
    )
    other = write_model("other")
    assert len(plan(Catalog([]), [str(mine), str(other)], device="cpu")) == 2


def test_two_models_with_the_same_id_are_an_error(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "glm-4.5" / "config.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32}))
    with pytest.raises(UsageError, match=rf"duplicate run name 'glm-4\.5' \(glm-4\.5, {path}\)"):
        plan(catalog, ["glm-4.5", str(path)], device="cpu")


def test_a_config_with_nothing_to_shrink_is_planned(catalog: Catalog, tmp_path: Path) -> None:
    path = tmp_path / "small.json"
    path.write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 2}))
    [case] = plan(catalog, [str(path)], device="cpu")
    assert case.overrides == {}


@pytest.mark.parametrize("change", ['use = "text_config"', 'remove = ["architectures"]', "set.architectures = []"])
def test_a_deviation_that_removes_the_architecture_is_an_error(write_model: WriteModel, change: str) -> None:
    path = write_model(more=f'[[deviation]]\nreason = "r"\n{change}\n', text_config={"num_hidden_layers": 2})
    with pytest.raises(CatalogError, match="architectures"):
        plan(Catalog([]), [str(path)], device="cpu")


def test_the_reproduce_command_finds_a_model_of_the_users_catalog(write_model: WriteModel, tmp_path: Path) -> None:
    write_model("mine")
    [case] = plan(Catalog.read([tmp_path]), ["mine"], device="cpu")
    assert str(tmp_path) in case.reproduce({})


def test_planning_imports_no_torch_and_no_engine(catalog: Catalog) -> None:
    plan(catalog, [], device="cpu")
    assert not {"torch", "vllm"} & sys.modules.keys()


def test_each_kind_of_aot_artifact_is_a_separate_case(catalog: Catalog) -> None:
    cases = plan(catalog, ["qwen3-32b", "glm-4.5"], device="cpu", aot_artifacts=["separate", "bundled", "separate"])
    assert [case.name for case in cases] == [
        "qwen3-32b+separate",
        "qwen3-32b+bundled",
        "glm-4.5+separate",
        "glm-4.5+bundled",
    ]
    assert [case.aot_artifact for case in plan(catalog, ["glm-4.5"], device="cpu")] == [None]


def test_options_that_cannot_be_observed_are_an_error_for_either_start(catalog: Catalog) -> None:
    with pytest.raises(UsageError, match="data_parallel_size=2"):
        plan(catalog, ["glm-4.5"], device="cpu", options={"data_parallel_size": 2})
    with pytest.raises(UsageError, match="data_parallel_size=2"):
        plan(catalog, ["glm-4.5"], device="cpu", warm_changes=Changes(options={"data_parallel_size": 2}))
    with pytest.raises(UsageError, match="use --depth count"):
        plan(catalog, ["glm-4.5"], device="cpu", depth=Depth.TRACE, options={"tensor_parallel_size": 2})
    assert plan(catalog, ["glm-4.5"], device="cpu", options={"tensor_parallel_size": 2})
