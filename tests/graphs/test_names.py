from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from coldwarm.graphs.names import names_of, part_of
from coldwarm.graphs.subgraphs import CompiledModel
from tests.support.graphs import (
    HIDDEN,
    LAYERS,
    Compiled,
    collected,
    first_code,
    graph_code,
    last_code,
    layer_code,
    moe_code,
    parameter,
)

Model = Callable[..., CompiledModel]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """A model in which every subgraph is a separate group."""

    def collect(*codes: str) -> CompiledModel:
        return collected(tmp_path, *(Compiled(code, f"k{n}") for n, code in enumerate(codes)))

    return collect


def between(*codes: str) -> list[str]:
    return [first_code(), *codes, last_code(9)]


def same_part(model: CompiledModel, one: int = 1, other: int = 2) -> bool:
    return part_of(model.classes[one]) == part_of(model.classes[other])


def with_parameters(*names: str) -> str:
    return graph_code({**HIDDEN, **dict.fromkeys(names, "bf16[8]")}, ["a = f(output_4)"], ["a"])


# Names


def test_groups_are_named_by_their_part_of_the_model(model: Model) -> None:
    assert names_of(model(*between(layer_code(0), moe_code(1)))) == ["first", "dense layer", "MoE layer", "last"]


def test_the_only_subgraph_is_the_whole_model(model: Model) -> None:
    assert names_of(model(moe_code())) == ["whole model"]


def test_two_subgraphs_are_the_first_and_the_last(model: Model) -> None:
    assert names_of(model(first_code(), last_code(0))) == ["first", "last"]


def test_a_model_without_groups_has_no_names() -> None:
    assert names_of(CompiledModel()) == []


def test_the_index_among_all_subgraphs_determines_the_last(tmp_path: Path) -> None:
    codes = [first_code(), layer_code(0), layer_code(1), last_code(2)]
    shared = collected(tmp_path, *(Compiled(code, None if n == 2 else f"k{n}") for n, code in enumerate(codes)))
    assert names_of(shared) == ["first", "dense layer", "last"]


def test_groups_of_the_same_part_share_a_name(model: Model) -> None:
    found = names_of(model(*between(*(layer_code(n, scale=str(n)) for n in range(4)))))
    assert found[1:-1] == ["dense layer"] * 4


def test_parts_of_the_same_kind_are_distinguished_by_their_layers(model: Model) -> None:
    norm = {parameter(10, "norm"): "bf16[8]"}
    found = names_of(model(*between(layer_code(0), layer_code(10, inputs=norm))))
    assert found[1:-1] == ["dense layer, from layer 0", "dense layer, from layer 10"]


def test_the_lowest_layer_of_a_part_is_named(model: Model) -> None:
    norms = [{parameter(n, "norm"): "bf16[8]"} for n in (12, 9, 30)]
    layers = [layer_code(n, inputs=norm, scale=str(n)) for n, norm in zip((12, 9, 30), norms, strict=True)]
    found = names_of(model(*between(layer_code(2), *layers)))
    assert found[1:-1] == ["dense layer, from layer 2"] + ["dense layer, from layer 9"] * 3


def test_the_number_of_a_shared_buffer_is_not_a_layer(model: Model) -> None:
    shared = f"{LAYERS.format(0)}rotary_emb_buffers_cos_sin_cache_"
    codes = [
        graph_code({shared: "bf16[4]", name: "bf16[8]"}, [f"a = f({name})"], ["a"])
        for name in (parameter(11, "a"), parameter(12, "b"))
    ]
    assert names_of(model(*between(*codes)))[1:-1] == ["dense layer, from layer 11", "dense layer, from layer 12"]


@pytest.mark.parametrize("layers", ["h", "blocks", "decoder_modules_layers", "language_model_modules_model_modules_h"])
def test_layers_may_have_another_name(model: Model, layers: str) -> None:
    names = [
        f"l_self_modules_{layers}_modules_{n}_modules_{kind}_parameters_weight_" for n, kind in ((3, "a"), (14, "b"))
    ]
    found = names_of(model(*between(*map(with_parameters, names))))
    assert found[1:-1] == ["dense layer, from layer 3", "dense layer, from layer 14"]


def test_the_number_of_an_expert_is_not_a_layer(model: Model) -> None:
    def experts(layer: int, kind: str) -> str:
        return with_parameters(*(parameter(layer, f"mlp_modules_experts_modules_{n}_modules_{kind}") for n in range(3)))

    found = names_of(model(*between(experts(7, "a"), experts(12, "b"))))
    assert found[1:-1] == ["MoE layer, from layer 7", "MoE layer, from layer 12"]


def test_without_a_layer_the_subgraph_is_named(model: Model) -> None:
    codes = [graph_code({**HIDDEN, **more}, ["a = f(s72)"], ["a"]) for more in ({}, {"l_self_modules_a": "i64[]"})]
    found = names_of(model(*between(*codes)))
    assert found[1:-1] == ["dense layer, from submod_2", "dense layer, from submod_4"]


def test_compile_ranges_have_different_names(tmp_path: Path) -> None:
    compiled = [
        Compiled(code, f"k{index} {end}", compile_range=(1, end), index=index)
        for index, code in enumerate([first_code(), layer_code(0), last_code(1)])
        for end in (64, 1024)
    ]
    assert len(set(names_of(collected(tmp_path, *compiled)))) == 6


def test_parts_that_begin_at_the_same_layer_have_different_names(model: Model) -> None:
    found = names_of(model(*between(with_parameters(parameter(3, "mixer")), with_parameters(parameter(3, "mlp")))))
    assert len(set(found)) == 4


# Experts


@pytest.mark.parametrize(
    "experts", ["torch.ops.vllm.moe_forward", "torch.ops._C.fused_experts", "torch.ops.x.cpu_moe_y"]
)
def test_experts_are_recognized_by_an_operation(model: Model, experts: str) -> None:
    code = graph_code({**HIDDEN}, [f"a = {experts}(output_4, 'layers.3')"], ["a"])
    assert names_of(model(*between(code)))[1] == "MoE layer"


def test_experts_are_recognized_by_a_parameter(model: Model) -> None:
    assert names_of(model(*between(with_parameters(parameter(0, "mlp_modules_experts")))))[1] == "MoE layer"


@pytest.mark.parametrize("name", ["moeller", "smoke", "expertise"])
def test_similar_names_are_not_experts(model: Model, name: str) -> None:
    assert names_of(model(*between(with_parameters(parameter(0, name)))))[1] == "dense layer"


# Parts


@pytest.mark.parametrize(("one", "other"), [(0, 1), (0, 9), (9, 10), (9, 99), (99, 100)])
@pytest.mark.parametrize("code", [layer_code, moe_code])
def test_layers_are_the_same_part(model: Model, code: Callable[[int], str], one: int, other: int) -> None:
    assert same_part(model(*between(code(one), code(other))))


def test_a_layer_without_the_buffer_of_another_is_another_part(model: Model) -> None:
    cache = {parameter(0, "rotary_emb", "buffers_cos_sin_cache_"): "bf16[8]"}
    assert not same_part(model(*between(layer_code(0, inputs=cache), layer_code(1))))


def test_results_of_earlier_graphs_do_not_determine_the_part(model: Model) -> None:
    assert same_part(model(*between(layer_code(0), layer_code(1, inputs={"prod": "Sym(8*s72)"}))))


@pytest.mark.parametrize(
    "code",
    [
        moe_code(1),
        layer_code(1).replace('o_proj_parameters_weight_: "bf16[8, 8]"', 'o_proj_parameters_weight_: "i8[8, 8]"'),
        layer_code(1, inputs={parameter(1, "norm"): "bf16[8]"}),
        layer_code(1).replace("o_proj", "out_proj"),
        last_code(1),
        first_code(),
    ],
)
def test_other_parameters_are_another_part(model: Model, code: str) -> None:
    assert not same_part(model(*between(layer_code(0), code)))


def test_an_additional_parameter_of_the_same_role_is_another_part(model: Model) -> None:
    names = [parameter(3, f"experts_modules_{n}") for n in range(3)]
    assert not same_part(model(*between(with_parameters(*names), with_parameters(*names[:2]))))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mixer_modules_in_proj", "self_attn_modules_qkv_proj"),
        ("linear_attn_modules_in_proj", "self_attn_modules_qkv_proj"),
        ("mamba_modules_norm", "attention_modules_norm"),
    ],
)
def test_layer_kinds_of_a_hybrid_model_are_parts(model: Model, one: str, other: str) -> None:
    assert not same_part(model(*between(with_parameters(parameter(3, one)), with_parameters(parameter(4, other)))))


def test_modules_whose_names_differ_in_a_digit_are_different_parts(model: Model) -> None:
    codes = [with_parameters(parameter(3, name)) for name in ("norm1", "norm2")]
    assert not same_part(model(*between(*codes)))


def test_a_parameter_of_the_compiled_module_is_another_part(model: Model) -> None:
    more = {"l_self_parameters_scale_": "bf16[8]"}
    assert not same_part(model(*between(layer_code(0), layer_code(1, inputs=more))))


def test_the_first_and_the_last_subgraph_are_separate_parts(model: Model) -> None:
    codes = [with_parameters(parameter(n, "norm")) for n in range(3)]
    parts = [part_of(one) for one in model(*codes).classes]
    assert len(set(parts)) == 3


def test_compile_ranges_are_separate_parts(tmp_path: Path) -> None:
    compiled = [Compiled(layer_code(), f"k{end}", compile_range=(1, end), index=0) for end in (64, 1024)]
    assert not same_part(collected(tmp_path, *compiled), 0, 1)
