from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest

from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.record import StartKind
from coldwarm.diagnose.sharing import class_reports, sharing_findings
from coldwarm.graphs.subgraphs import CompiledModel
from tests.support.graphs import (
    FILE,
    HIDDEN,
    Compiled,
    collect,
    collected,
    comment,
    first_code,
    graph_code,
    last_code,
    layer_code,
    model_records,
    moe_code,
    parameter,
    timed_trace,
)

Find = Callable[..., list[Finding]]

PROD = ["", comment(31, "/site/vllm/moe.py", code="n = prod(shape)"), 'prod: "Sym(8*s72)" = math_prod((s72, 8))']
SMALL, LARGE = (1, 64), (65, 1024)


@pytest.fixture
def find(tmp_path: Path) -> Find:
    """Return a function that finds what prevents sharing among subgraphs between a first and a last one."""

    def collect_and_find(*subgraphs: Compiled) -> list[Finding]:
        return sharing_findings([model(tmp_path, subgraphs)])

    return collect_and_find


def model(folder: Path, subgraphs: Sequence[Compiled]) -> CompiledModel:
    first, last = Compiled(first_code(), "first", seconds=10.0), Compiled(last_code(99), "last", seconds=2.0)
    return collected(folder, first, *subgraphs, last)


def separate(*codes: str, seconds: float = 1.0) -> list[Compiled]:
    """Return subgraphs that are each compiled separately."""
    return [Compiled(code, f"k{n}", seconds=seconds) for n, code in enumerate(codes)]


def shared(*codes: str) -> list[Compiled]:
    """Return subgraphs that use the artifact of an earlier one."""
    return [Compiled(code, seconds=0.25) for code in codes]


# Subgraphs that must differ


def test_a_healthy_model_has_no_finding(find: Find) -> None:
    assert find(*separate(layer_code(0)), *shared(*map(layer_code, range(1, 40)))) == []


def test_a_model_without_subgraphs_has_no_finding() -> None:
    assert sharing_findings([CompiledModel()]) == []
    assert class_reports(CompiledModel()) == []


def test_dense_and_moe_layers_must_differ(find: Find) -> None:
    assert find(*separate(layer_code(0), moe_code(1)), *shared(layer_code(2), moe_code(3))) == []


def test_one_subgraph_has_no_finding(tmp_path: Path) -> None:
    assert sharing_findings([collected(tmp_path, *separate(moe_code()))]) == []


def test_layers_of_a_hybrid_model_must_differ(find: Find) -> None:
    def layer(number: int, before: str, after: str) -> str:
        modules = {"m": "mixer_modules_{}_proj", "a": "self_attn_modules_{}_proj"}
        names = [parameter(number, modules[before].format("out")), parameter(number + 1, modules[after].format("in"))]
        inputs = {**HIDDEN, **dict.fromkeys(names, "bf16[8, 8]")}
        body = [f"a = f(output_4, {names[0]})", f"b = f(a, {names[1]}, {before!r})"]
        return graph_code(inputs, body, ["b", "a"])

    assert find(*separate(*(layer(n, one, other) for n, (one, other) in enumerate(product("ma", repeat=2))))) == []


def test_sliding_layers_with_a_rotary_embedding_and_full_ones_without_must_differ(find: Find) -> None:
    cache = parameter(0, "rotary_emb", "buffers_cos_sin_cache_")
    sliding = layer_code(0, inputs={cache: "bf16[8, 8]"}, body=[f"rope = torch.ops._C.rotary_embedding(mul, {cache})"])
    assert find(*separate(sliding, layer_code(1))) == []


def test_layers_that_share_a_buffer_of_the_first_are_one_part(find: Find) -> None:
    cache = {parameter(0, "rotary_emb", "buffers_cos_sin_cache_"): "bf16[8, 8]"}
    [finding] = find(*separate(*(layer_code(n, inputs=cache, scale=f"0.{n}") for n in range(1, 4))))
    assert finding.what.startswith("3 subgraphs")


def test_compile_ranges_must_differ(tmp_path: Path) -> None:
    codes = [first_code(), layer_code(0), layer_code(1), last_code(2)]
    compiled = [
        Compiled(code, None if index == 2 else f"k{index} {which}", compile_range=which, index=index)
        for index, code in enumerate(codes)
        for which in (SMALL, LARGE)
    ]
    assert sharing_findings([collected(tmp_path, *compiled)]) == []


def test_compile_ranges_without_their_own_dump_must_differ(tmp_path: Path) -> None:
    codes = [first_code(), layer_code(0), layer_code(1), last_code(2)]
    compiled = [
        Compiled(
            code if which == SMALL else None,
            None if index == 2 else f"k{index} {which}",
            compile_range=which,
            index=index,
        )
        for index, code in enumerate(codes)
        for which in (SMALL, LARGE)
    ]
    assert sharing_findings([collected(tmp_path, *compiled)]) == []


def test_an_encoder_and_a_language_model_must_differ(tmp_path: Path) -> None:
    encoder = model_records(Compiled(layer_code(0, scale="0.5"), "k0"), total=1)
    language = model_records(*separate(first_code(), layer_code(0), last_code(1)))
    models = collect(tmp_path, rank_0_a=timed_trace(encoder + language))
    assert len(models) == 2
    assert sharing_findings(models) == []


def test_the_first_must_differ_even_if_it_has_the_parameters_of_any_layer(tmp_path: Path) -> None:
    # A model of Mamba layers that takes embeddings as inputs: only norms, and no residual before the first.
    def norm(layer: int, first: bool) -> str:
        name = parameter(layer, "norm")
        inputs = {"hidden": "bf16[s72, 8]", **({} if first else {"residual": "bf16[s72, 8]"}), name: "bf16[8]"}
        add = [] if first else ["add = hidden + residual"]
        return graph_code(inputs, [*add, f"a = rms_norm({'hidden' if first else 'add'}, {name})"], ["a"])

    subgraphs = [*separate(norm(0, True), norm(1, False)), *shared(norm(2, False)), Compiled(last_code(3), "last")]
    assert sharing_findings([collected(tmp_path, *subgraphs)]) == []


@pytest.mark.xfail(
    strict=True, reason="a rotary embedding that is computed once is no parameter of the layers that use it"
)
def test_layers_without_a_rotary_embedding_must_differ_if_it_is_computed_before_the_first(find: Find) -> None:
    rope = ["a = mul * cos", "b = mul * sin", "c = a + b"]
    inputs = {"cos": "bf16[s72, 4]", "sin": "bf16[s72, 4]"}
    layers = [layer_code(n, inputs=inputs, body=rope, outputs=["c"]) for n in range(3)]
    assert find(*separate(layers[0]), *shared(*layers[1:]), Compiled(layer_code(3), "k9")) == []


@pytest.mark.xfail(strict=True, reason="a config's list of values for its layers is not known here")
def test_layers_that_the_config_gives_different_operations_must_differ(find: Find) -> None:
    # Like Gemma 3n, whose first ten layers have sparse activations.
    sparse = ["cut = torch.topk(mul, 4)", "relu = torch.relu(cut)"]
    layers = [layer_code(n, body=sparse if n < 10 else []) for n in range(20)]
    assert find(*separate(layers[0]), *shared(*layers[1:10]), Compiled(layers[10], "k9"), *shared(*layers[11:])) == []


# Findings


def test_a_value_that_is_passed_on_is_reported(find: Find) -> None:
    computing = layer_code(1, body=PROD, outputs=["prod"])
    taking = [layer_code(n, inputs={"prod": "Sym(8*s72)"}) for n in range(2, 12)]
    [finding] = find(*separate(computing, taking[0]), *shared(*taking[1:]))
    assert (finding.kind, finding.start) == (FindingKind.NOT_SHARED, StartKind.COLD)
    assert finding.what == (
        "11 subgraphs (dense layer) compiled to 2 artifacts instead of 1: `math_prod((s72, 8)) -> "
        "Sym(8*s72)` is computed in submod_2 and passed to submod_4, submod_6 and 8 more as an input"
    )
    assert (finding.where, finding.code) == ("/site/vllm/moe.py:31", "n = prod(shape)")
    assert finding.details == []
    assert finding.next is not None
    assert "before the first layer (/site/vllm/moe.py:31)" in finding.next


def test_a_value_that_is_passed_on_adds_one_artifact(find: Find) -> None:
    first, later = layer_code(1, body=PROD, outputs=["prod"]), layer_code(2, inputs={"prod": "Sym(8*s72)"})
    [finding] = find(*separate(first, later), *shared(layer_code(3, inputs={"prod": "Sym(8*s72)"})))
    assert "and passed to submod_4, submod_6 as an input" in finding.what
    assert finding.extra_artifacts == 1


def test_a_constant_adds_an_artifact_for_each_additional_value(find: Find) -> None:
    [finding] = find(*separate(*(layer_code(n, scale=f"0.{n}") for n in range(1, 5))))
    assert "compiled to 4 artifacts instead of 1: a constant" in finding.what
    assert finding.extra_artifacts == 3


def test_artifacts_that_the_named_difference_does_not_explain_are_not_counted(find: Find) -> None:
    first = layer_code(1, body=PROD, outputs=["prod"])
    # The last of them is recompiled for a reason that is not in its graph.
    later = [layer_code(n, inputs={"prod": "Sym(8*s72)"}) for n in (2, 3)]
    [finding] = find(*separate(first, *later))
    assert "compiled to 3 artifacts" in finding.what and "math_prod" in finding.what
    assert finding.extra_artifacts == 1


def test_a_difference_that_is_not_in_the_graph_adds_no_artifact(find: Find) -> None:
    [finding] = find(*separate(layer_code(1), layer_code(2)))
    assert "something that is not in the graph" in finding.what
    assert finding.extra_artifacts == 0


def test_a_value_that_the_common_group_computes_is_reported(find: Find) -> None:
    computing = [layer_code(n, body=PROD, outputs=["prod"]) for n in range(3)]
    [finding] = find(
        *separate(computing[0]), *shared(*computing[1:]), Compiled(layer_code(3, inputs={"p": "Sym(8*s72)"}), "k9")
    )
    assert finding.what.endswith("is computed in submod_2, submod_4, submod_6 and passed to submod_8 as an input")


@pytest.mark.xfail(
    strict=True, reason="the layer that has the buffer is a different part than those that have its result"
)
def test_a_buffer_that_one_layer_converts_for_all_later_ones_is_reported(find: Find) -> None:
    cache = parameter(5, "rotary_emb", "buffers_cos_sin_cache_")
    convert = [comment(60, code="self.cache = self.cache.to(x)"), f'to: "bf16[9, 8]" = {cache}.to(torch.bfloat16)']
    rope = "rope = torch.ops._C.rotary_embedding(mul, to)"
    computing = layer_code(5, inputs={cache: "f32[9, 8]"}, body=[*convert, rope], outputs=["to"])
    taking = [layer_code(n, inputs={"to": "bf16[9, 8]"}, body=["", comment(61), rope]) for n in (11, 17)]
    [finding] = find(*separate(computing, taking[0]), *shared(taking[1]))
    assert "and passed to submod_4, submod_6 as an input" in finding.what


@pytest.mark.parametrize("layers", [2, 3, 7, 12])
def test_a_constant_in_each_layer_is_one_finding(find: Find, layers: int) -> None:
    [finding] = find(*separate(*(layer_code(n, scale=f"{n}.5") for n in range(layers))))
    assert finding.what.startswith(
        f"{layers} subgraphs (dense layer) compiled to {layers} artifacts instead of 1: "
        "a constant that differs is baked into the graph: "
    )
    assert all(f"{n}.5 in submod_{2 * n + 2}" in finding.what for n in range(min(layers, 6)))
    assert finding.what.endswith(" and 6 more values") == (layers == 12)
    assert (finding.where, finding.code) == ("/site/vllm/layer.py:11", "x = x * self.scale")
    assert finding.details == []
    assert finding.next is not None
    assert "/site/vllm/layer.py:11" in finding.next


def test_a_constant_that_some_layers_share_is_reported(find: Find) -> None:
    codes = [layer_code(n, scale=("0.5", "2.0")[n % 2]) for n in range(6)]
    [finding] = find(*separate(*codes[:2]), *shared(*codes[2:]))
    assert finding.what.startswith("6 subgraphs (dense layer) compiled to 2 artifacts instead of 1: ")
    assert "0.5 in submod_2, 2.0 in submod_4" in finding.what


@pytest.mark.parametrize("scale", ["'model.layers.{}'", "{}", "{}e-05", "{}.25"])
def test_a_constant_may_be_a_name_or_a_number(find: Find, scale: str) -> None:
    [finding] = find(*separate(*(layer_code(n, scale=scale.format(n)) for n in (1, 2))))
    assert f"{scale.format(1)} in submod_2, {scale.format(2)} in submod_4" in finding.what


def test_two_constants_are_one_finding(find: Find) -> None:
    body = [comment(40, code="clamp"), 'clamp: "bf16[s72, 8]" = torch.clamp(mul, {})']
    codes = [layer_code(n, scale=f"{n}.5", body=[line.format(n) for line in body]) for n in range(1, 5)]
    [finding] = find(*separate(*codes))
    assert len(finding.details) == 1
    assert "1 in submod_2, 2 in submod_4" in finding.details[0]
    assert finding.where == "/site/vllm/layer.py:11"


def test_the_line_of_each_constant_is_reported(find: Find) -> None:
    body = [comment(40, code="clamp"), 'clamp: "bf16[s72, 8]" = torch.clamp(mul, {})']
    [finding] = find(*separate(*(layer_code(n, scale=f"{n}.5", body=[x.format(n) for x in body]) for n in (1, 2))))
    assert "layer.py:40" in finding.details[0]


def test_an_additional_operation_is_reported(find: Find) -> None:
    codes = [layer_code(n) for n in range(4)]
    extra = layer_code(4, body=[comment(50), "relu = torch.relu(mul)"])
    [finding] = find(*separate(codes[0]), *shared(*codes[1:]), Compiled(extra, "k9"))
    assert finding.what.endswith(": `torch.relu(mul)` is in submod_10 but not in submod_2, submod_4 and 2 more")
    assert finding.where == "/site/vllm/layer.py:50"
    assert finding.next is not None


def test_a_missing_operation_is_reported(find: Find) -> None:
    codes = [layer_code(n, body=["relu = torch.relu(mul)"]) for n in range(3)]
    [finding] = find(*separate(codes[0]), *shared(*codes[1:]), Compiled(layer_code(4), "k9"))
    assert finding.what.endswith(": `torch.relu(mul)` is in submod_2, submod_4, submod_6 but not in submod_8")


def test_different_arguments_of_an_operation_are_reported(find: Find) -> None:
    other = layer_code(3, scale="output_4")
    [finding] = find(*separate(layer_code(0)), *shared(layer_code(1)), Compiled(other, "k9"))
    assert "`linear * output_4 -> bf16[s72, 8]` in submod_6, but `linear * 1.0 -> " in finding.what


def test_several_operations_at_one_place_are_each_reported(find: Find) -> None:
    codes = [layer_code(n) for n in range(2)] + [layer_code(2, scale="output_4"), layer_code(3, scale="linear")]
    [finding] = find(*separate(codes[0]), *shared(codes[1]), Compiled(codes[2], "x2"), Compiled(codes[3], "x3"))
    text = " ".join([finding.what, *finding.details])
    assert "`linear * output_4 -> bf16[s72, 8]`" in text
    assert "`linear * linear -> bf16[s72, 8]`" in text


def test_several_types_at_one_place_are_each_reported(find: Find) -> None:
    codes = [layer_code(n).replace('mul: "bf16', f'mul: "{type_}') for n, type_ in enumerate(("bf16", "f16", "f32"))]
    [finding] = find(*separate(*codes))
    text = " ".join([finding.what, *finding.details])
    assert all(f"{type_}[s72, 8]" in text for type_ in ("bf16", "f16", "f32"))


def test_the_same_additional_operation_in_several_layers_is_reported_once(find: Find) -> None:
    def layer(number: int) -> str:
        more = f"gate = torch.gate(mul, {parameter(number, 'o_proj')})"
        return layer_code(number, body=[more])

    [finding] = find(
        *separate(layer_code(0)), *shared(layer_code(1)), *[Compiled(layer(n), f"x{n}") for n in (2, 3, 4)]
    )
    assert finding.details == []


def test_a_different_wiring_is_reported(find: Find) -> None:
    other = layer_code(1).replace("linear(mul,", "linear(output_4,")
    [finding] = find(*separate(layer_code(0), other))
    assert "linear(output_4, " in finding.what
    assert finding.where == "/site/vllm/layer.py:12"


def test_an_additional_input_is_reported(find: Find) -> None:
    [finding] = find(*separate(layer_code(0), layer_code(1, inputs={"residual": "f32[s72, 8]"})))
    assert finding.what.endswith(": an additional input: `f32[s72, 8]` in submod_4")


def test_an_additional_output_is_reported(find: Find) -> None:
    [finding] = find(*separate(layer_code(0), layer_code(1, outputs=["linear"])))
    assert finding.what.endswith(": output: `3 outputs` in submod_4, but `2 outputs` in submod_2")


def test_an_input_of_a_different_type_is_reported(find: Find) -> None:
    [finding] = find(*separate(layer_code(0), layer_code(1).replace('output_4: "bf16', 'output_4: "f32')))
    assert "additional input" not in finding.what
    assert "f32[s72, 8]" in finding.what
    assert "bf16[s72, 8]" in finding.what


def test_many_differences_are_cut(find: Find) -> None:
    body = [line for n in range(40) for line in (comment(100 + n), f'a{n}: "f32[2]" = f{n}(mul, {{}})')]
    codes = [layer_code(layer, body=[line.format(layer) for line in body]) for layer in range(3)]
    [finding] = find(*separate(*codes))
    assert len(finding.details) == 12
    assert finding.details[-1] == "and 28 more differences"


def test_two_parts_are_two_findings(find: Find) -> None:
    dense = [layer_code(n, scale=f"{n}.5") for n in range(2)]
    moe = [moe_code(n).replace("* 1.0", f"* {n}.5") for n in range(2, 5)]
    found = find(*separate(*dense, *moe))
    assert [each.what.split(": ")[0] for each in found] == [
        "2 subgraphs (dense layer) compiled to 2 artifacts instead of 1",
        "3 subgraphs (MoE layer) compiled to 3 artifacts instead of 1",
    ]


def test_layers_with_numbers_of_two_digits_are_one_part(find: Find) -> None:
    [finding] = find(*separate(*(layer_code(n, scale=f"{n}.5") for n in (8, 9, 10, 11))))
    assert finding.what.startswith("4 subgraphs")


def test_experts_that_are_numbered_are_one_part(find: Find) -> None:
    def layer(number: int) -> str:
        experts = [parameter(number, f"mlp_modules_experts_modules_{n}_modules_w1") for n in range(12)]
        body = [f"e{n} = torch.f(mul, {name})" for n, name in enumerate(experts)]
        return layer_code(number, scale=f"{number}.5", inputs=dict.fromkeys(experts, "bf16[8]"), body=body)

    [finding] = find(*separate(*map(layer, (9, 10))))
    assert "(MoE layer) compiled to 2 artifacts instead of 1: a constant that differs is baked into" in finding.what
    assert finding.details == []


@pytest.mark.parametrize("layers", ["h", "blocks", "transformer_modules_h"])
def test_layers_may_have_a_different_name(find: Find, layers: str) -> None:
    codes = [layer_code(n, scale=f"{n}.5").replace("_modules_layers_", f"_modules_{layers}_") for n in (9, 10)]
    [finding] = find(*separate(*codes))
    assert "9.5 in submod_2, 10.5 in submod_4" in finding.what


def test_the_evidence_names_the_lines_of_the_graphs(tmp_path: Path) -> None:
    found = model(tmp_path, separate(*(layer_code(n, scale=f"{n}.5") for n in range(7))))
    lines = (tmp_path / FILE).read_text().split("\n")
    [finding] = sharing_findings([found])
    assert len(finding.evidence) == 4
    for each, submodule in zip(finding.evidence, ("submod_2", "submod_4", "submod_6", "submod_8"), strict=True):
        number, name = each.record.removeprefix("line ").split(": ")
        assert (each.file, name) == (f"cold.trace/{FILE}", f"vllm_{submodule}")
        assert f'"{name}"' in lines[int(number) - 1]


def test_a_finding_names_its_model_if_there_are_several(tmp_path: Path) -> None:
    unshared = model(tmp_path, separate(*(layer_code(n, scale=f"{n}.5") for n in range(2))))
    [alone] = sharing_findings([unshared])
    assert (alone.model, alone.what.partition(" compiled")[0]) == (0, "2 subgraphs (dense layer)")
    drafter = replace(unshared, name="eagle_head")
    [of_drafter] = sharing_findings([CompiledModel(name="backbone"), drafter])
    assert (of_drafter.model, of_drafter.what.partition(" compiled")[0]) == (
        1,
        "2 subgraphs (dense layer) of eagle_head",
    )


# The same graph


def lowered(stride: str = "[8, 1]", device: str = "cpu") -> str:
    type_ = f"bf16[s72, 8]{stride}{device}"
    body = [f'add: "{type_}" = torch.ops.aten.add.Tensor(arg0_1, 1);  arg0_1 = None']
    return graph_code({"arg0_1": type_, "arg1_1": "Sym(s72)"}, body, ["add"], expanded=True, name="<lambda>")


@pytest.mark.parametrize("other", [lowered("[16, 1]"), lowered(device="cuda:0")])
def test_strides_and_devices_of_inputs_are_reported(find: Find, other: str) -> None:
    one, two = Compiled(layer_code(0), "k0", lowered=lowered()), Compiled(layer_code(1), "k1", lowered=other)
    [finding] = find(one, two)
    text = " ".join([finding.what, *finding.details])
    assert "bf16[s72, 8][8, 1]cpu" in text
    assert "bf16[s72, 8][16, 1]cpu" in text or "bf16[s72, 8][8, 1]cuda:0" in text
    assert finding.next == "give all layers weights and inputs of the same type, strides and device"


def test_strides_of_inputs_are_reported_before_their_consequences(find: Find) -> None:
    one, two = (Compiled(layer_code(n), f"k{n}", lowered=lowered(f"[{8 + n}, 1]")) for n in range(2))
    [finding] = find(one, two)
    assert "compiled to 2 artifacts instead of 1: input: " in finding.what


def test_types_after_aotautograd_are_reported(find: Find) -> None:
    other = lowered().replace('add: "bf16[s72, 8][8, 1]', 'add: "bf16[s72, 8][1, 72]')
    one, two = Compiled(layer_code(0), "k0", lowered=lowered()), Compiled(layer_code(1), "k1", lowered=other)
    [finding] = find(one, two)
    assert "bf16[s72, 8][1, 72]cpu" in finding.what


def test_if_the_graphs_differ_those_after_aotautograd_are_not_compared(find: Find) -> None:
    codes = layer_code(0, scale="0.5"), layer_code(1, scale="1.5")
    strides = "[8, 1]", "[16, 1]"
    one, two = (Compiled(c, c[-9:] + s, lowered=lowered(s)) for c, s in zip(codes, strides, strict=True))
    [finding] = find(one, two)
    assert "a constant that differs is baked into the graph: 0.5 in submod_2, 1.5 in submod_4" in finding.what
    assert finding.details == []


@pytest.mark.parametrize("code", [lowered(), None])
def test_the_same_graph_with_different_keys_is_reported(find: Find, code: str | None) -> None:
    [finding] = find(*(Compiled(layer_code(n), f"k{n}", lowered=code) for n in range(3)))
    assert "submod_4, submod_6: same graph as submod_2, but a different compiler key, because of " in finding.what
    assert (finding.where, finding.next) == (None, None)


def test_hits_of_one_key_are_one_group_and_no_finding(find: Find) -> None:
    assert find(*separate(layer_code(0)), *(Compiled(layer_code(n), "k0", outcome="hit") for n in (1, 2))) == []


def test_equal_keys_are_never_reported_as_different(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n), "k0") for n in range(3)))
    assert finding.what.endswith(
        " to 3 artifacts instead of 1: submod_4, submod_6: same compiler key as submod_2, but recompiled, because the "
        "compiler's cache did not have the result"
    )
    assert "different compiler key" not in " ".join([finding.what, *finding.details])


def test_keys_that_were_not_computed_are_not_reported_as_different(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n), bypass="no source") for n in range(3)))
    assert "the compiler could not compute a key: no source" in finding.what
    assert "different compiler key" not in " ".join([finding.what, *finding.details])


def test_each_reason_of_a_bypass_is_reported_once(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n), bypass=f"reason {n % 2}") for n in range(4)))
    texts = finding.what.split(" to 4 artifacts instead of 1: ")[1], *finding.details
    assert [each for each in texts if "compute a key" in each] == [
        "the compiler could not compute a key: reason 0",
        "the compiler could not compute a key: reason 1",
    ]


# Costs


def test_sharing_would_save_all_but_the_most_expensive_group(find: Find) -> None:
    seconds = (1.0, 5.0, 2.0)
    [finding] = find(*(Compiled(layer_code(n, scale=f"{n}.5"), f"k{n}", seconds=s) for n, s in enumerate(seconds)))
    assert finding.seconds == pytest.approx(3.0)


def test_the_cost_of_reusing_an_artifact_is_subtracted(find: Find) -> None:
    subgraphs = [Compiled(layer_code(n, scale=f"{n}.5"), f"k{n}", seconds=s) for n, s in enumerate((2.0, 5.0))]
    [finding] = find(*subgraphs, *shared(layer_code(2, scale="0.5"), layer_code(3, scale="1.5")))
    assert finding.seconds == pytest.approx(1.75)


def test_the_cost_is_never_negative(find: Find) -> None:
    subgraphs = [Compiled(layer_code(n, scale=f"{n}.5"), f"k{n}", seconds=s) for n, s in enumerate((0.1, 5.0))]
    [finding] = find(*subgraphs, Compiled(layer_code(2, scale="0.5"), seconds=0.5))
    assert finding.seconds == 0.0


# Reports of groups


def test_groups_are_reported_in_their_order(tmp_path: Path) -> None:
    dense, moe = separate(layer_code(0), moe_code(1), seconds=3.0)
    reports = class_reports(model(tmp_path, [dense, moe, *shared(layer_code(2), moe_code(3))]))
    assert [(each.name, each.submodules, each.key) for each in reports] == [
        ("first", ["submod_0"], "first"),
        ("dense layer", ["submod_2", "submod_6"], "k0"),
        ("MoE layer", ["submod_4", "submod_8"], "k1"),
        ("last", ["submod_10"], "last"),
    ]
    assert [each.seconds for each in reports] == pytest.approx([10.0, 3.0, 3.0, 2.0])


def test_a_group_whose_key_was_bypassed_has_no_key(tmp_path: Path) -> None:
    [report] = class_reports(collected(tmp_path, Compiled(layer_code(), bypass="no source")))
    assert (report.name, report.key) == ("whole model", None)


def test_findings_can_be_stored_as_json(find: Find) -> None:
    [finding] = find(*separate(*(layer_code(n, scale=f"{n}.5") for n in range(3))))
    assert Finding.model_validate_json(finding.model_dump_json()) == finding


def runnable(offset: int) -> str:
    """Return what Inductor writes about two inputs, the second of which is a slice."""
    return (
        "    reader.tensor(buf0, (s72, 8), (8, 1), dtype=torch.bfloat16, is_leaf=True)  # arg0_1\n"
        f"    reader.tensor(buf1, (8, 8), (64, 1), storage_offset={offset}, is_leaf=True)  # arg1_1\n"
    )


def test_slices_that_begin_at_different_elements_are_reported(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n), f"k{n}", runnable=runnable(8 * n)) for n in range(3)))
    name = parameter(0, "o_proj") if len(HIDDEN) == 1 else list(HIDDEN)[1]
    assert "is part of the compiler's key and differs: 0 in submod_2, 8 in submod_4" in finding.what
    assert "the storage offset of an input" in finding.what
    assert name in finding.what
    assert "not in the graph" not in " ".join([finding.what, *finding.details])


def test_the_name_of_a_symbolic_input_is_reported_as_the_cause(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n, inputs={f"sym_size_int_{n}": "Sym(s72)"}), f"k{n}") for n in range(3)))
    assert "the name of a symbolic input is part of the compiler's key and differs: sym_size_int_0 in submod_2" in (
        finding.what
    )
    assert "not in the graph" not in " ".join([finding.what, *finding.details])


def test_groups_are_compared_with_the_graph_that_most_subgraphs_have(find: Find) -> None:
    more = Compiled(layer_code(0, body=["gate = torch.gate(mul)"]), "k0")
    [finding] = find(more, *(Compiled(layer_code(n), f"k{n}") for n in (1, 2, 3)))
    assert "`torch.gate(mul)` is in submod_2 but not in submod_4" in finding.what
    [detail] = finding.details
    assert detail.startswith("submod_6, submod_8: same graph as submod_4, but a different compiler key")


def launching(layer: int, number: int, *, scale: str = "1.0") -> str:
    """Return the code of a layer that launches a Triton kernel, the `number`-th launch that Dynamo traced."""
    launch = (
        "triton_kernel_wrapper_mutation = torch.ops.higher_order.triton_kernel_wrapper_mutation("
        f"kernel_idx = {number}, constant_args_idx = {number}, grid = [(s72, 1, 1)], "
        "tma_descriptor_metadata = {}, kwargs = {'x': mul});  triton_kernel_wrapper_mutation = None"
    )
    return layer_code(layer, scale=scale, body=["", comment(31, "/site/vllm/rope.py", code="rope[grid]("), launch])


def launches(*kernels: tuple[str, dict[str, int]]) -> str:
    """Return what Inductor writes about launches: the code of each kernel, and its constants."""
    table = "torch._higher_order_ops.triton_kernel_wrap.kernel_side_table"
    written = [
        f"@triton.jit\ndef rope_{n}(x, W: tl.constexpr):\n    {code}\n\n{table}.add_kernel(rope_{n})\n"
        for n, (code, _) in enumerate(kernels)
    ]
    constants = {n: constants for n, (_, constants) in enumerate(kernels)}
    return f"{table}.reset_table()\n\n{''.join(written)}{table}.constant_args={constants}\n"


SAME = launches(*[("pass", {"W": 64})] * 4)


def test_numbers_of_triton_launches_are_one_finding(find: Find) -> None:
    [finding] = find(*(Compiled(launching(n, n), f"k{n}", runnable=SAME) for n in range(4)))
    assert "4 subgraphs (dense layer) compiled to 4 artifacts instead of 1: a constant that differs" in finding.what
    assert finding.what.endswith("kernel_idx=2 in submod_6, kernel_idx=3 in submod_8")
    [detail] = finding.details
    assert "constant_args_idx=0 in submod_2" in detail
    assert (finding.where, finding.extra_artifacts) == ("/site/vllm/rope.py:31", 3)
    assert "in PyTorch's table of Triton kernels" in (finding.next or "")


def test_numbers_of_triton_launches_are_apart_from_other_differences(find: Find) -> None:
    layers = [launching(n, n, scale="0.5" if n < 2 else "0.25") for n in range(4)]
    seconds = (1.0, 3.0, 1.0, 2.0)
    compiled = [Compiled(layers[n], f"k{n}", runnable=SAME, seconds=seconds[n]) for n in range(4)]
    *numbers, scale = find(*compiled)
    assert [("kernel_idx=" in each.what, each.extra_artifacts) for each in numbers] == [(True, 1), (True, 1)]
    assert scale.what.endswith("baked into the graph: 0.5 in submod_4, 0.25 in submod_8")
    assert (scale.extra_artifacts, scale.details) == (1, [])
    # Everything but the most expensive of the four, once.
    assert sum(each.seconds or 0.0 for each in (*numbers, scale)) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("table", "difference"),
    [
        (
            launches(("pass", {"W": 64}), ("pass", {"W": 128})),
            "constant_args=W=64 in submod_2, constant_args=W=128 in submod_4",
        ),
        (launches(("pass", {"W": 64}), ("tl.store(x, 1)", {"W": 64})), "kernel='rope "),
    ],
    ids=["constants", "kernel"],
)
def test_launches_of_other_kernels_or_with_other_constants_are_not_blamed_on_their_numbers(
    find: Find, table: str, difference: str
) -> None:
    [finding] = find(*(Compiled(launching(n, n), f"k{n}", runnable=table) for n in range(2)))
    assert difference in finding.what
    assert "_idx=" not in finding.what
    assert "in PyTorch's table of Triton kernels" not in (finding.next or "")


def test_without_a_table_launches_on_the_same_line_are_taken_to_be_the_same(find: Find) -> None:
    [finding] = find(*separate(*(launching(n, n) for n in range(2))))
    assert "kernel_idx=0 in submod_2, kernel_idx=1 in submod_4" in finding.what


def test_constants_that_are_not_code_are_unknown(find: Find) -> None:
    table = SAME.replace("{'W': 64}", "{'W': <object at 0x7f>}")
    [finding] = find(*(Compiled(launching(n, n), f"k{n}", runnable=table) for n in range(2)))
    assert "kernel_idx=0 in submod_2, kernel_idx=1 in submod_4" in finding.what
