"""Tests of the choice of variables that are settings of a compilation."""

from __future__ import annotations

import ast
from importlib.util import find_spec
from pathlib import Path

import pytest

from coldwarm.engines.vllm.settings import DEFAULTS, OUTSIDE_THE_KEY, keyed_in, settings_in


def ignored_factors_of_installed_vllm() -> set[str]:
    spec = find_spec("vllm")
    assert spec is not None and spec.origin is not None
    tree = ast.parse(Path(spec.origin).with_name("envs.py").read_text(encoding="utf-8"))
    [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "compile_factors"]
    [names] = [
        node.value
        for node in function.body
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == "ignored_factors" and node.value is not None
    ]
    return set(ast.literal_eval(names))


def test_variables_outside_of_the_key_of_the_installed_vllm_are_not_settings() -> None:
    ignored = ignored_factors_of_installed_vllm()
    assert len(ignored) > 70
    assert ignored <= OUTSIDE_THE_KEY
    assert keyed_in(dict.fromkeys(ignored, "1")) == {}


@pytest.mark.parametrize(
    "name", ["VLLM_USE_LAYERNAME", "TORCHINDUCTOR_FREEZING", "TORCH_COMPILE_X", "TRITON_X", "PYTORCH_X", "FLASHINFER_X"]
)
def test_variables_of_the_engine_and_the_compiler_are_settings(name: str) -> None:
    assert settings_in({name: "1"}) == keyed_in({name: "1"}) == {name: "1"}


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "CC", "CUDA_HOME", "PYTHONHASHSEED", "HOME"])
def test_threads_and_the_toolchain_are_not_settings(name: str) -> None:
    assert keyed_in({name: "1"}) == {}


def test_variables_that_change_only_the_key_are_not_settings() -> None:
    environment = {"VLLM_RPC_TIMEOUT": "10001", "VLLM_ALLREDUCE_USE_SYMM_MEM": "0", "VLLM_USE_LAYERNAME": "0"}
    assert keyed_in(environment) == environment
    assert settings_in(environment) == {"VLLM_USE_LAYERNAME": "0"}


def test_a_value_that_coldwarm_sets_is_not_a_setting_and_a_different_one_is() -> None:
    assert settings_in(DEFAULTS) == {}
    assert settings_in({"VLLM_DEEP_GEMM_WARMUP": "full"}) == {"VLLM_DEEP_GEMM_WARMUP": "full"}
