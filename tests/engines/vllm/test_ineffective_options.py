"""Tests of finding options that have no effect, with a config that is built like vLLM's."""

from __future__ import annotations

from dataclasses import field
from enum import Enum, IntEnum
from typing import Any

import pytest
from pydantic import ConfigDict
from pydantic import Field as PydanticField
from pydantic.dataclasses import dataclass

from coldwarm.engines.vllm.ineffective_options import ineffective_options

# Like vLLM's own (vllm/config/utils.py, `config`).
ARBITRARY = ConfigDict(arbitrary_types_allowed=True)


class Mode(IntEnum):
    NONE = 0
    VLLM_COMPILE = 3


class Graphs(Enum):
    NONE = 0
    PIECEWISE = 1
    FULL = (2, 0)


@dataclass(config=ARBITRARY)
class Passes:
    fuse: bool | None = None


@dataclass(config=ARBITRARY)
class Compilation:
    mode: Mode | None = Mode.VLLM_COMPILE
    backend: str = "inductor"
    compile_sizes: list[int] | None = None
    cudagraph_mode: Graphs | None = None
    custom_ops: list[str] = field(default_factory=list)
    largest: int | None = 496
    splitting_ops: list[str] = field(default_factory=lambda: ["attention", "mamba"])
    inductor_compile_config: dict[str, Any] = field(default_factory=dict)
    pass_config: Passes = field(default_factory=Passes)


@dataclass(config=ARBITRARY)
class Model:
    max_model_len: int = PydanticField(default=2048)
    dtype: object = object()
    seed: int = 0
    quantization: str | None = None
    tokenizer_mode: str = "auto"
    hf_overrides: dict[str, Any] = field(default_factory=dict)


@dataclass(config=ARBITRARY)
class Scheduler:
    max_model_len: int = 256
    chunked: bool = True


@dataclass(config=ARBITRARY)
class Config:
    compilation_config: Compilation
    model_config: Model = field(default_factory=Model)
    scheduler_config: Scheduler = field(default_factory=Scheduler)
    additional_config: dict[str, Any] = field(default_factory=dict)
    speculative_config: object | None = None


def found(options: dict[str, Any], model: Model | None = None, **compilation: Any) -> dict[str, str]:
    return ineffective_options(options, Config(Compilation(**compilation), model or Model()))


def compilation(**options: Any) -> dict[str, Any]:
    return {"compilation_config": options}


@pytest.mark.parametrize(
    ("options", "resolved", "expected"),
    [
        (compilation(compile_sizes=[1]), {"compile_sizes": []}, {"compilation_config.compile_sizes": "[]"}),
        (compilation(compile_sizes=[1]), {"compile_sizes": None}, {"compilation_config.compile_sizes": "null"}),
        (
            compilation(cudagraph_mode="FULL"),
            {"cudagraph_mode": Graphs.NONE},
            {"compilation_config.cudagraph_mode": '"NONE"'},
        ),
        (compilation(backend="eager"), {}, {"compilation_config.backend": '"inductor"'}),
        (compilation(pass_config={"fuse": True}), {}, {"compilation_config.pass_config.fuse": "null"}),
        (
            compilation(inductor_compile_config={"reorder": True}),
            {"inductor_compile_config": {"reorder": False, "dce": True}},
            {"compilation_config.inductor_compile_config.reorder": "false"},
        ),
        (compilation(mode=3), {"mode": None}, {"compilation_config.mode": "null"}),
        (compilation(backend="eager"), {"backend": "mine"}, {"compilation_config.backend": '"mine"'}),
        (
            compilation(pass_config={"fuse": False}),
            {"pass_config": Passes(fuse=True)},
            {"compilation_config.pass_config.fuse": "true"},
        ),
        ({"chunked": False}, {}, {"chunked": "true"}),
        ({"quantization": "fp8"}, {}, {"quantization": "null"}),
    ],
)
def test_an_option_that_was_reset_is_found_with_the_value_that_was_used(
    options: dict[str, Any], resolved: dict[str, Any], expected: dict[str, str]
) -> None:
    assert found(options, **resolved) == expected


@pytest.mark.parametrize(
    ("options", "resolved"),
    [
        # As requested, in a different form.
        (compilation(mode=3), {}),
        (compilation(mode="VLLM_COMPILE"), {}),
        (compilation(mode="vllm_compile"), {}),
        (compilation(cudagraph_mode="none"), {"cudagraph_mode": Graphs.NONE}),
        (compilation(compile_sizes=[2, 1, 1]), {"compile_sizes": [1, 2]}),
        (compilation(compile_sizes=[1]), {"compile_sizes": (1,)}),
        (compilation(custom_ops=["+gelu"]), {"custom_ops": ["none", "+gelu"]}),
        (compilation(largest="496"), {}),
        (compilation(splitting_ops=["attention"]), {}),
        ({"seed": "0"}, {}),
        # Adjusted.
        (compilation(largest=500), {"largest": 480}),
        (compilation(custom_ops=["+gelu", "-x"]), {"custom_ops": ["+gelu"]}),
        (compilation(cudagraph_mode="FULL"), {"cudagraph_mode": Graphs.PIECEWISE}),
        # One of two fields of this name has it.
        ({"max_model_len": 256}, {}),
        # vLLM's choice.
        ({"tokenizer_mode": "auto", "max_model_len": -1, "quantization": None}, {}),
        # Missing, or not comparable.
        ({"block_size": 32, "no_such_option": 1}, {}),
        (compilation(no_such_field=1, pass_config={"no_such_pass": True}), {}),
        (compilation(inductor_compile_config={"x": 1}), {}),
        ({"dtype": "float16"}, {}),
        ({"seed": [1]}, {}),
        ({"compilation_config": 3}, {}),
    ],
    ids=str,
)
def test_options_with_an_effect_are_not_reported(options: dict[str, Any], resolved: dict[str, Any]) -> None:
    assert found(options, **resolved) == {}


def test_text_in_a_different_form_is_not_reported() -> None:
    assert found({"tokenizer_mode": "slow"}, Model(tokenizer_mode="hf")) == {}


def test_options_for_the_models_config_or_for_plugins_are_not_compared() -> None:
    merged = Config(Compilation(), Model(hf_overrides={"tie": False}), additional_config={"tie": False})
    assert ineffective_options({"hf_overrides": {"tie": True}, "additional_config": {"tie": True}}, merged) == {}


def test_a_field_with_its_default_is_reported() -> None:
    assert found({"seed": 7}) == {"seed": "0"}
    assert found({"seed": 7}, Model(seed=5)) == {}


def test_every_field_of_the_name_must_have_been_reset() -> None:
    def resolved(model: int, scheduler: int) -> Config:
        return Config(Compilation(), Model(max_model_len=model), Scheduler(max_model_len=scheduler))

    asked = {"max_model_len": 1024}
    assert ineffective_options(asked, resolved(model=2048, scheduler=256)) == {"max_model_len": "2048"}
    assert ineffective_options(asked, resolved(model=2048, scheduler=512)) == {}
    assert ineffective_options(asked, resolved(model=2048, scheduler=1024)) == {}
