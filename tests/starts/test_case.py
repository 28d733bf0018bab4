from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from coldwarm.starts.case import Case
from tests.support.records import catalog_model, model_entry, tiny_config
from tests.support.runs import case_of


def of(device: str, compilation: str = "piecewise", **entry: object) -> Case:
    model = catalog_model(model_entry(**entry), tiny_config(quantization_config={}))
    return Case.of(model, "tiny", engine="vllm", device=device, compilation=compilation)


def test_a_case_deviates_and_shrinks_for_its_device() -> None:
    deviation = [{"reason": "r", "devices": ["cpu"], "remove": ["quantization_config"]}]
    shrink = [{"reason": "r", "devices": ["cpu"], "overrides": {"hidden_size": 8}}]
    cpu, cuda = (of(device, deviation=deviation, shrink=shrink) for device in ("cpu", "cuda"))
    assert "quantization_config" not in cpu.config
    assert cpu.overrides == {"hidden_size": 8}
    assert "quantization_config" in cuda.config
    assert cuda.overrides == {}


def test_an_unsupported_case_needs_no_deviations_that_fit() -> None:
    case = of(
        "cpu",
        unsupported=[{"reason": "r", "devices": ["cpu"]}],
        deviation=[{"reason": "r", "remove": ["no such key"]}],
    )
    assert case.config == tiny_config(quantization_config={})
    assert case.overrides == {}


def test_reproduce_names_model_device_and_the_users_variables() -> None:
    command = case_of().reproduce({"CFLAGS": "-O2 -g", "VLLM_USE_AOT_COMPILE": "0"})
    assert command == "CFLAGS='-O2 -g' VLLM_USE_AOT_COMPILE=0 coldwarm run tiny --device cpu"


@pytest.mark.parametrize(("compilation", "told"), [("piecewise", False), ("shipped", True)])
def test_reproduce_names_the_compilation_unless_it_is_the_default(compilation: str, told: bool) -> None:
    assert ("--compilation shipped" in case_of(compilation=compilation).reproduce({})) is told


def test_reproduce_quotes_a_path() -> None:
    path = "it's here/config.json"
    assert shlex.split(case_of(argument=path).reproduce({}))[2] == path


def test_reproduce_takes_the_environment_of_now_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_MINE", "1")
    assert "VLLM_MINE=1 " in case_of().reproduce()
    assert "VLLM_MINE" not in case_of().reproduce({})


def test_reproduce_never_sets_a_variable_to_a_mask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "hunter2")
    command = case_of().reproduce()
    assert "hunter2" not in command
    assert "not recorded" not in command


def test_a_case_is_the_same_after_json(tmp_path: Path) -> None:
    case = of("cpu", shrink=[{"reason": "r", "overrides": {"text_config": {"hidden_size": 8}}}])
    assert Case.model_validate_json(case.model_dump_json()) == case
