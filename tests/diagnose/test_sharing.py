from __future__ import annotations

from collections.abc import Callable, Sequence
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
    """The findings about a model of these subgraphs between its first and its last."""

    def collect_and_find(*subgraphs: Compiled) -> list[Finding]:
        return sharing_findings(model(tmp_path, subgraphs))

    return collect_and_find


def model(folder: Path, subgraphs: Sequence[Compiled]) -> CompiledModel:
    first, last = Compiled(first_code(), "first", seconds=10.0), Compiled(last_code(99), "last", seconds=2.0)
    return collected(folder, first, *subgraphs, last)


def apart(*codes: str, seconds: float = 1.0) -> list[Compiled]:
    """Subgraphs that are compiled each for itself."""
    return [Compiled(code, f"k{n}", seconds=seconds) for n, code in enumerate(codes)]


def shared(*codes: str) -> list[Compiled]:
    """Subgraphs that take the artifact of an earlier one."""
    return [Compiled(code, seconds=0.25) for code in codes]


# No finding


def test_a_healthy_model_has_none(find: Find) -> None:
    assert find(*apart(layer_code(0)), *shared(*map(layer_code, range(1, 40)))) == []


def test_a_model_without_classes_has_none() -> None:
    assert sharing_findings(CompiledModel()) == []
    assert class_reports(CompiledModel()) == []


def test_dense_layers_beside_experts_must_differ(find: Find) -> None:
    assert find(*apart(layer_code(0), moe_code(1)), *shared(layer_code(2), moe_code(3))) == []


def test_one_subgraph_has_none(tmp_path: Path) -> None:
    assert sharing_findings(collected(tmp_path, *apart(moe_code()))) == []


def test_layers_of_a_hybrid_model_must_differ(find: Find) -> None:
    def layer(number: int, before: str, after: str) -> str:
        modules = {"m": "mixer_modules_{}_proj", "a": "self_attn_modules_{}_proj"}
        names = [parameter(number, modules[before].format("out")), parameter(number + 1, modules[after].format("in"))]
        inputs = {**HIDDEN, **dict.fromkeys(names, "bf16[8, 8]")}
        body = [f"a = f(output_4, {names[0]})", f"b = f(a, {names[1]}, {before!r})"]
        return graph_code(inputs, body, ["b", "a"])

    assert find(*apart(*(layer(n, one, other) for n, (one, other) in enumerate(product("ma", repeat=2))))) == []


def test_sliding_layers_with_a_rotary_embedding_beside_full_ones_without_must_differ(find: Find) -> None:
    cache = parameter(0, "rotary_emb", "buffers_cos_sin_cache_")
    sliding = layer_code(0, inputs={cache: "bf16[8, 8]"}, body=[f"rope = torch.ops._C.rotary_embedding(mul, {cache})"])
    assert find(*apart(sliding, layer_code(1))) == []


def test_layers_that_share_a_buffer_of_the_first_are_one_part(find: Find) -> None:
    cache = {parameter(0, "rotary_emb", "buffers_cos_sin_cache_"): "bf16[8, 8]"}
    [finding] = find(*apart(*(layer_code(n, inputs=cache, scale=f"0.{n}") for n in range(1, 4))))
    assert finding.what.startswith("3 subgraphs")


def test_ranges_must_differ(tmp_path: Path) -> None:
    codes = [first_code(), layer_code(0), layer_code(1), last_code(2)]
    compiled = [
        Compiled(code, None if index == 2 else f"k{index} {which}", compile_range=which, index=index)
        for index, code in enumerate(codes)
        for which in (SMALL, LARGE)
    ]
    assert sharing_findings(collected(tmp_path, *compiled)) == []


def test_ranges_without_a_dump_of_their_own_must_differ(tmp_path: Path) -> None:
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
    assert sharing_findings(collected(tmp_path, *compiled)) == []


def test_an_encoder_and_a_language_model_must_differ(tmp_path: Path) -> None:
    encoder = model_records(Compiled(layer_code(0, scale="0.5"), "k0"), total=1)
    language = model_records(*apart(first_code(), layer_code(0), last_code(1)))
    models = collect(tmp_path, rank_0_a=timed_trace(encoder + language))
    assert [sharing_findings(each) for each in models] == [[], []]


def test_the_first_must_differ_where_its_parameters_are_those_of_any_layer(tmp_path: Path) -> None:
    # A model of Mamba layers that is given embeddings: norms alone, and no residual yet before the first.
    def norm(layer: int, first: bool) -> str:
        name = parameter(layer, "norm")
        inputs = {"hidden": "bf16[s72, 8]", **({} if first else {"residual": "bf16[s72, 8]"}), name: "bf16[8]"}
        add = [] if first else ["add = hidden + residual"]
        return graph_code(inputs, [*add, f"a = rms_norm({'hidden' if first else 'add'}, {name})"], ["a"])

    subgraphs = [*apart(norm(0, True), norm(1, False)), *shared(norm(2, False)), Compiled(last_code(3), "last")]
    assert sharing_findings(collected(tmp_path, *subgraphs)) == []


@pytest.mark.xfail(
    strict=True, reason="a rotary embedding that is computed once is no parameter of the layers that use it"
)
def test_layers_without_a_rotary_embedding_must_differ_where_it_is_computed_before_the_first(find: Find) -> None:
    rope = ["a = mul * cos", "b = mul * sin", "c = a + b"]
    inputs = {"cos": "bf16[s72, 4]", "sin": "bf16[s72, 4]"}
    layers = [layer_code(n, inputs=inputs, body=rope, outputs=["c"]) for n in range(3)]
    assert find(*apart(layers[0]), *shared(*layers[1:]), Compiled(layer_code(3), "k9")) == []


@pytest.mark.xfail(strict=True, reason="a config's list of values for its layers is not known here")
def test_layers_that_the_config_gives_other_operations_must_differ(find: Find) -> None:
    # As Gemma 3n: the first ten layers' activations are sparse.
    sparse = ["cut = torch.topk(mul, 4)", "relu = torch.relu(cut)"]
    layers = [layer_code(n, body=sparse if n < 10 else []) for n in range(20)]
    assert find(*apart(layers[0]), *shared(*layers[1:10]), Compiled(layers[10], "k9"), *shared(*layers[11:])) == []


# Findings


def test_a_value_that_is_handed_on(find: Find) -> None:
    computing = layer_code(1, body=PROD, outputs=["prod"])
    taking = [layer_code(n, inputs={"prod": "Sym(8*s72)"}) for n in range(2, 12)]
    [finding] = find(*apart(computing, taking[0]), *shared(*taking[1:]))
    assert (finding.kind, finding.start) == (FindingKind.NOT_SHARED, StartKind.COLD)
    assert finding.what == (
        "11 subgraphs of the same part of the model (dense layer) were compiled as 2: `math_prod((s72, 8)) -> "
        "Sym(8*s72)` is computed in submod_2 and handed on to submod_4, submod_6 and 8 more as an input"
    )
    assert (finding.where, finding.code) == ("/site/vllm/moe.py:31", "n = prod(shape)")
    assert finding.details == []
    assert finding.next is not None
    assert "before the first layer (/site/vllm/moe.py:31)" in finding.next


def test_a_value_that_is_handed_on_makes_one_artifact_more(find: Find) -> None:
    first, later = layer_code(1, body=PROD, outputs=["prod"]), layer_code(2, inputs={"prod": "Sym(8*s72)"})
    [finding] = find(*apart(first, later), *shared(layer_code(3, inputs={"prod": "Sym(8*s72)"})))
    assert "handed on" in finding.what
    assert finding.extra_artifacts == 1


def test_a_constant_makes_an_artifact_more_for_each_other_value(find: Find) -> None:
    [finding] = find(*apart(*(layer_code(n, scale=f"0.{n}") for n in range(1, 5))))
    assert "compiled as 4: a constant" in finding.what
    assert finding.extra_artifacts == 3


def test_what_the_named_difference_does_not_explain_is_not_counted(find: Find) -> None:
    first = layer_code(1, body=PROD, outputs=["prod"])
    # The last of them is compiled again for a reason that is not in its graph.
    later = [layer_code(n, inputs={"prod": "Sym(8*s72)"}) for n in (2, 3)]
    [finding] = find(*apart(first, *later))
    assert "compiled as 3" in finding.what and "math_prod" in finding.what
    assert finding.extra_artifacts == 1


def test_a_difference_that_is_not_in_the_graph_counts_none(find: Find) -> None:
    [finding] = find(*apart(layer_code(1), layer_code(2)))
    assert "something that is not in the graph" in finding.what
    assert finding.extra_artifacts == 0


def test_a_value_that_the_common_class_computes(find: Find) -> None:
    computing = [layer_code(n, body=PROD, outputs=["prod"]) for n in range(3)]
    [finding] = find(
        *apart(computing[0]), *shared(*computing[1:]), Compiled(layer_code(3, inputs={"p": "Sym(8*s72)"}), "k9")
    )
    assert finding.what.endswith("is computed in submod_2, submod_4, submod_6 and handed on to submod_8 as an input")


@pytest.mark.xfail(strict=True, reason="the layer that has the buffer is another part than those that have its result")
def test_a_buffer_that_one_layer_converts_for_all_later_ones(find: Find) -> None:
    cache = parameter(5, "rotary_emb", "buffers_cos_sin_cache_")
    convert = [comment(60, code="self.cache = self.cache.to(x)"), f'to: "bf16[9, 8]" = {cache}.to(torch.bfloat16)']
    rope = "rope = torch.ops._C.rotary_embedding(mul, to)"
    computing = layer_code(5, inputs={cache: "f32[9, 8]"}, body=[*convert, rope], outputs=["to"])
    taking = [layer_code(n, inputs={"to": "bf16[9, 8]"}, body=["", comment(61), rope]) for n in (11, 17)]
    [finding] = find(*apart(computing, taking[0]), *shared(taking[1]))
    assert "and handed on to submod_4, submod_6 as an input" in finding.what


@pytest.mark.parametrize("layers", [2, 3, 7, 12])
def test_a_constant_in_each_layer_is_one_finding(find: Find, layers: int) -> None:
    [finding] = find(*apart(*(layer_code(n, scale=f"{n}.5") for n in range(layers))))
    assert finding.what.startswith(
        f"{layers} subgraphs of the same part of the model (dense layer) were compiled as {layers}: "
        "a constant is burned into the graph: "
    )
    assert all(f"{n}.5 in submod_{2 * n + 2}" in finding.what for n in range(min(layers, 6)))
    assert finding.what.endswith(" and 6 more values") == (layers == 12)
    assert (finding.where, finding.code) == ("/site/vllm/layer.py:11", "x = x * self.scale")
    assert finding.details == []
    assert finding.next is not None
    assert "/site/vllm/layer.py:11" in finding.next


def test_a_constant_that_some_layers_share(find: Find) -> None:
    codes = [layer_code(n, scale=("0.5", "2.0")[n % 2]) for n in range(6)]
    [finding] = find(*apart(*codes[:2]), *shared(*codes[2:]))
    assert finding.what.startswith("6 subgraphs of the same part of the model (dense layer) were compiled as 2: ")
    assert "0.5 in submod_2, 2.0 in submod_4" in finding.what


@pytest.mark.parametrize("scale", ["'model.layers.{}'", "{}", "{}e-05", "{}.25"])
def test_a_constant_may_be_a_name_or_a_number(find: Find, scale: str) -> None:
    [finding] = find(*apart(*(layer_code(n, scale=scale.format(n)) for n in (1, 2))))
    assert f"{scale.format(1)} in submod_2, {scale.format(2)} in submod_4" in finding.what


def test_two_constants_are_one_finding(find: Find) -> None:
    body = [comment(40, code="clamp"), 'clamp: "bf16[s72, 8]" = torch.clamp(mul, {})']
    codes = [layer_code(n, scale=f"{n}.5", body=[line.format(n) for line in body]) for n in range(1, 5)]
    [finding] = find(*apart(*codes))
    assert len(finding.details) == 1
    assert "1 in submod_2, 2 in submod_4" in finding.details[0]
    assert finding.where == "/site/vllm/layer.py:11"


def test_the_line_of_each_constant_is_told(find: Find) -> None:
    body = [comment(40, code="clamp"), 'clamp: "bf16[s72, 8]" = torch.clamp(mul, {})']
    [finding] = find(*apart(*(layer_code(n, scale=f"{n}.5", body=[x.format(n) for x in body]) for n in (1, 2))))
    assert "layer.py:40" in finding.details[0]


def test_an_operation_more(find: Find) -> None:
    codes = [layer_code(n) for n in range(4)]
    extra = layer_code(4, body=[comment(50), "relu = torch.relu(mul)"])
    [finding] = find(*apart(codes[0]), *shared(*codes[1:]), Compiled(extra, "k9"))
    assert finding.what.endswith(": `torch.relu(mul)` in submod_10, and not in submod_2, submod_4 and 2 more")
    assert finding.where == "/site/vllm/layer.py:50"
    assert finding.next is not None


def test_an_operation_less(find: Find) -> None:
    codes = [layer_code(n, body=["relu = torch.relu(mul)"]) for n in range(3)]
    [finding] = find(*apart(codes[0]), *shared(*codes[1:]), Compiled(layer_code(4), "k9"))
    assert finding.what.endswith(": `torch.relu(mul)` in submod_2, submod_4, submod_6, and not in submod_8")


def test_the_same_operation_of_other_arguments(find: Find) -> None:
    other = layer_code(3, scale="output_4")
    [finding] = find(*apart(layer_code(0)), *shared(layer_code(1)), Compiled(other, "k9"))
    assert "`linear * output_4 -> bf16[s72, 8]` in submod_6, in its place `linear * 1.0 -> " in finding.what


def test_several_operations_at_one_place_are_each_told(find: Find) -> None:
    codes = [layer_code(n) for n in range(2)] + [layer_code(2, scale="output_4"), layer_code(3, scale="linear")]
    [finding] = find(*apart(codes[0]), *shared(codes[1]), Compiled(codes[2], "x2"), Compiled(codes[3], "x3"))
    told = " ".join([finding.what, *finding.details])
    assert "`linear * output_4 -> bf16[s72, 8]`" in told
    assert "`linear * linear -> bf16[s72, 8]`" in told


def test_several_types_at_one_place_are_each_told(find: Find) -> None:
    codes = [layer_code(n).replace('mul: "bf16', f'mul: "{type_}') for n, type_ in enumerate(("bf16", "f16", "f32"))]
    [finding] = find(*apart(*codes))
    told = " ".join([finding.what, *finding.details])
    assert all(f"{type_}[s72, 8]" in told for type_ in ("bf16", "f16", "f32"))


def test_the_same_operation_more_in_several_layers_is_told_once(find: Find) -> None:
    def layer(number: int) -> str:
        more = f"gate = torch.gate(mul, {parameter(number, 'o_proj')})"
        return layer_code(number, body=[more])

    [finding] = find(*apart(layer_code(0)), *shared(layer_code(1)), *[Compiled(layer(n), f"x{n}") for n in (2, 3, 4)])
    assert finding.details == []


def test_the_wiring(find: Find) -> None:
    other = layer_code(1).replace("linear(mul,", "linear(output_4,")
    [finding] = find(*apart(layer_code(0), other))
    assert "linear(output_4, " in finding.what
    assert finding.where == "/site/vllm/layer.py:12"


def test_an_input_more(find: Find) -> None:
    [finding] = find(*apart(layer_code(0), layer_code(1, inputs={"residual": "f32[s72, 8]"})))
    assert finding.what.endswith(": one more input: `f32[s72, 8]` in submod_4")


def test_an_output_more(find: Find) -> None:
    [finding] = find(*apart(layer_code(0), layer_code(1, outputs=["linear"])))
    assert finding.what.endswith(": output: `3 outputs` in submod_4, in its place `2 outputs` in submod_2")


def test_an_input_of_another_type(find: Find) -> None:
    [finding] = find(*apart(layer_code(0), layer_code(1).replace('output_4: "bf16', 'output_4: "f32')))
    assert "one more input" not in finding.what
    assert "f32[s72, 8]" in finding.what
    assert "bf16[s72, 8]" in finding.what


def test_many_differences_are_cut(find: Find) -> None:
    body = [line for n in range(40) for line in (comment(100 + n), f'a{n}: "f32[2]" = f{n}(mul, {{}})')]
    codes = [layer_code(layer, body=[line.format(layer) for line in body]) for layer in range(3)]
    [finding] = find(*apart(*codes))
    assert len(finding.details) == 12
    assert finding.details[-1] == "and 28 more differences"


def test_two_parts_are_two_findings(find: Find) -> None:
    dense = [layer_code(n, scale=f"{n}.5") for n in range(2)]
    moe = [moe_code(n).replace("* 1.0", f"* {n}.5") for n in range(2, 5)]
    found = find(*apart(*dense, *moe))
    assert [each.what.split(" were ")[0] for each in found] == [
        "2 subgraphs of the same part of the model (dense layer)",
        "3 subgraphs of the same part of the model (MoE layer)",
    ]


def test_layers_with_numbers_of_two_digits_are_one_part(find: Find) -> None:
    [finding] = find(*apart(*(layer_code(n, scale=f"{n}.5") for n in (8, 9, 10, 11))))
    assert finding.what.startswith("4 subgraphs")


def test_experts_that_are_numbered_are_one_part(find: Find) -> None:
    def layer(number: int) -> str:
        experts = [parameter(number, f"mlp_modules_experts_modules_{n}_modules_w1") for n in range(12)]
        body = [f"e{n} = torch.f(mul, {name})" for n, name in enumerate(experts)]
        return layer_code(number, scale=f"{number}.5", inputs=dict.fromkeys(experts, "bf16[8]"), body=body)

    [finding] = find(*apart(*map(layer, (9, 10))))
    assert "(MoE layer) were compiled as 2: a constant is burned into the graph" in finding.what
    assert finding.details == []


@pytest.mark.parametrize("layers", ["h", "blocks", "transformer_modules_h"])
def test_layers_may_have_another_name(find: Find, layers: str) -> None:
    codes = [layer_code(n, scale=f"{n}.5").replace("_modules_layers_", f"_modules_{layers}_") for n in (9, 10)]
    [finding] = find(*apart(*codes))
    assert "9.5 in submod_2, 10.5 in submod_4" in finding.what


def test_evidence_is_where_the_graphs_are(tmp_path: Path) -> None:
    found = model(tmp_path, apart(*(layer_code(n, scale=f"{n}.5") for n in range(7))))
    lines = (tmp_path / FILE).read_text().split("\n")
    [finding] = sharing_findings(found)
    assert len(finding.evidence) == 4
    for each, submodule in zip(finding.evidence, ("submod_2", "submod_4", "submod_6", "submod_8"), strict=True):
        number, name = each.record.removeprefix("line ").split(": ")
        assert (each.file, name) == (f"cold.trace/{FILE}", f"vllm_{submodule}")
        assert f'"{name}"' in lines[int(number) - 1]


# The same graph


def lowered(stride: str = "[8, 1]", device: str = "cpu") -> str:
    type_ = f"bf16[s72, 8]{stride}{device}"
    body = [f'add: "{type_}" = torch.ops.aten.add.Tensor(arg0_1, 1);  arg0_1 = None']
    return graph_code({"arg0_1": type_, "arg1_1": "Sym(s72)"}, body, ["add"], expanded=True, name="<lambda>")


@pytest.mark.parametrize("other", [lowered("[16, 1]"), lowered(device="cuda:0")])
def test_strides_and_devices_of_inputs_are_told(find: Find, other: str) -> None:
    one, two = Compiled(layer_code(0), "k0", lowered=lowered()), Compiled(layer_code(1), "k1", lowered=other)
    [finding] = find(one, two)
    told = " ".join([finding.what, *finding.details])
    assert "bf16[s72, 8][8, 1]cpu" in told
    assert "bf16[s72, 8][16, 1]cpu" in told or "bf16[s72, 8][8, 1]cuda:0" in told
    assert finding.next == "give all layers weights and inputs of the same type, strides and device"


def test_strides_of_inputs_are_told_before_what_they_cause(find: Find) -> None:
    one, two = (Compiled(layer_code(n), f"k{n}", lowered=lowered(f"[{8 + n}, 1]")) for n in range(2))
    [finding] = find(one, two)
    assert "compiled as 2: type" not in finding.what


def test_types_after_aotautograd_are_told(find: Find) -> None:
    other = lowered().replace('add: "bf16[s72, 8][8, 1]', 'add: "bf16[s72, 8][1, 72]')
    one, two = Compiled(layer_code(0), "k0", lowered=lowered()), Compiled(layer_code(1), "k1", lowered=other)
    [finding] = find(one, two)
    assert "bf16[s72, 8][1, 72]cpu" in finding.what


def test_where_the_graphs_differ_that_after_aotautograd_is_not_asked(find: Find) -> None:
    codes = layer_code(0, scale="0.5"), layer_code(1, scale="1.5")
    strides = "[8, 1]", "[16, 1]"
    one, two = (Compiled(c, c[-9:] + s, lowered=lowered(s)) for c, s in zip(codes, strides, strict=True))
    [finding] = find(one, two)
    assert "a constant is burned into the graph: 0.5 in submod_2, 1.5 in submod_4" in finding.what
    assert finding.details == []


@pytest.mark.parametrize("code", [lowered(), None])
def test_the_same_graph_with_other_keys(find: Find, code: str | None) -> None:
    [finding] = find(*(Compiled(layer_code(n), f"k{n}", lowered=code) for n in range(3)))
    assert "submod_4, submod_6: the graph is that of submod_2; the compiler's keys differ" in finding.what
    assert (finding.where, finding.next) == (None, None)


def test_hits_of_one_key_are_one_class_and_no_finding(find: Find) -> None:
    assert find(*apart(layer_code(0)), *(Compiled(layer_code(n), "k0", outcome="hit") for n in (1, 2))) == []


def test_equal_keys_are_never_said_to_differ(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n), "k0") for n in range(3)))
    assert finding.what.endswith(
        " as 3: submod_4, submod_6: the compiler's key is that of submod_2, but the subgraph was compiled again: "
        "the compiler's cache did not have the result"
    )
    assert "keys differ" not in " ".join([finding.what, *finding.details])


def test_where_no_key_was_made_no_key_is_said_to_differ(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n), bypass="no source") for n in range(3)))
    assert "the compiler made no key: no source" in finding.what
    assert "keys differ" not in " ".join([finding.what, *finding.details])


def test_bypassed_keys_are_told_once(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n), bypass=f"reason {n % 2}") for n in range(4)))
    assert [each for each in (finding.what.split(" as 4: ")[1], *finding.details) if "made no key" in each] == [
        "the compiler made no key: reason 0",
        "the compiler made no key: reason 1",
    ]


# Costs


def test_sharing_would_save_all_but_the_dearest(find: Find) -> None:
    seconds = (1.0, 5.0, 2.0)
    [finding] = find(*(Compiled(layer_code(n, scale=f"{n}.5"), f"k{n}", seconds=s) for n, s in enumerate(seconds)))
    assert finding.seconds == pytest.approx(3.0)


def test_sharing_costs_what_it_cost_the_others(find: Find) -> None:
    subgraphs = [Compiled(layer_code(n, scale=f"{n}.5"), f"k{n}", seconds=s) for n, s in enumerate((2.0, 5.0))]
    [finding] = find(*subgraphs, *shared(layer_code(2, scale="0.5"), layer_code(3, scale="1.5")))
    assert finding.seconds == pytest.approx(1.75)


def test_sharing_never_costs_more(find: Find) -> None:
    subgraphs = [Compiled(layer_code(n, scale=f"{n}.5"), f"k{n}", seconds=s) for n, s in enumerate((0.1, 5.0))]
    [finding] = find(*subgraphs, Compiled(layer_code(2, scale="0.5"), seconds=0.5))
    assert finding.seconds == 0.0


# Reports of classes


def test_classes_are_reported_in_their_order(tmp_path: Path) -> None:
    dense, moe = apart(layer_code(0), moe_code(1), seconds=3.0)
    reports = class_reports(model(tmp_path, [dense, moe, *shared(layer_code(2), moe_code(3))]))
    assert [(each.name, each.submodules, each.key) for each in reports] == [
        ("first", ["submod_0"], "first"),
        ("dense layer", ["submod_2", "submod_6"], "k0"),
        ("MoE layer", ["submod_4", "submod_8"], "k1"),
        ("last", ["submod_10"], "last"),
    ]
    assert [each.seconds for each in reports] == pytest.approx([10.0, 3.0, 3.0, 2.0])


def test_a_class_whose_key_was_bypassed_has_none(tmp_path: Path) -> None:
    [report] = class_reports(collected(tmp_path, Compiled(layer_code(), bypass="no source")))
    assert (report.name, report.key) == ("whole model", None)


def test_findings_can_be_kept_as_json(find: Find) -> None:
    [finding] = find(*apart(*(layer_code(n, scale=f"{n}.5") for n in range(3))))
    assert Finding.model_validate_json(finding.model_dump_json()) == finding


def runnable(offset: int) -> str:
    """What Inductor writes of two inputs, the second of which is a slice."""
    return (
        "    reader.tensor(buf0, (s72, 8), (8, 1), dtype=torch.bfloat16, is_leaf=True)  # arg0_1\n"
        f"    reader.tensor(buf1, (8, 8), (64, 1), storage_offset={offset}, is_leaf=True)  # arg1_1\n"
    )


def test_slices_that_begin_at_different_elements_are_named(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n), f"k{n}", runnable=runnable(8 * n)) for n in range(3)))
    name = parameter(0, "o_proj") if len(HIDDEN) == 1 else list(HIDDEN)[1]
    assert "is part of the compiler's key, and differs: 0 in submod_2, 8 in submod_4" in finding.what
    assert "the storage offset of an input" in finding.what
    assert name in finding.what
    assert "not in the graph" not in " ".join([finding.what, *finding.details])


def test_the_name_of_a_symbolic_input_is_given_as_the_cause(find: Find) -> None:
    [finding] = find(*(Compiled(layer_code(n, inputs={f"sym_size_int_{n}": "Sym(s72)"}), f"k{n}") for n in range(3)))
    assert "the name of a symbolic input is part of the compiler's key, and differs: sym_size_int_0 in submod_2" in (
        finding.what
    )
    assert "not in the graph" not in " ".join([finding.what, *finding.details])


def test_a_single_class_is_compared_with_the_graph_that_most_have(find: Find) -> None:
    more = Compiled(layer_code(0, body=["gate = torch.gate(mul)"]), "k0")
    [finding] = find(more, *(Compiled(layer_code(n), f"k{n}") for n in (1, 2, 3)))
    assert "`torch.gate(mul)` in submod_2, and not in submod_4" in finding.what
    [detail] = finding.details
    assert detail.startswith("submod_6, submod_8: the graph is that of submod_4")
