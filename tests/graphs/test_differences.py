from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.graphs.differences import Difference, differences
from coldwarm.graphs.graph import Graph
from coldwarm.graphs.readable_code import read_graph
from tests.support.graphs import HIDDEN, comment, first_code, graph_code, last_code, layer_code, moe_code, parameter

few = settings(max_examples=30, deadline=None)

SIGMOID = ["", comment(30, code="y = x.sigmoid()"), 'sigmoid: "bf16[s72, 8]" = torch.sigmoid(mul)']
PROD = ["", comment(31, "/site/vllm/moe.py", code="n = prod(shape)"), 'prod: "Sym(8*s72)" = math_prod((s72, 8))']
SWAPPED_INPUTS = ('output_4: "bf16[s72, 8]", s72: "Sym(s72)"', 's72: "Sym(s72)", output_4: "bf16[s72, 8]"')


def compare(one: str, other: str) -> list[Difference]:
    return differences(read_graph(one), read_graph(other))


def only(one: str, other: str) -> Difference:
    [difference] = compare(one, other)
    return difference


def described(difference: Difference) -> tuple[str, str | None, str | None, int | None]:
    source = difference.source
    return difference.kind, difference.one, difference.other, source.line if source else None


def changed(old: str, new: str) -> str:
    code = layer_code().replace(old, new)
    assert code != layer_code()
    return code


# Identical graphs


@pytest.mark.parametrize("code", [layer_code(3), moe_code(3), first_code(), last_code(3), ""])
def test_identical_graphs_have_no_differences(code: str) -> None:
    assert compare(code, code) == []


@few
@given(st.integers(0, 120), st.integers(0, 120))
def test_layers_that_differ_only_in_names_have_no_differences(layer: int, other: int) -> None:
    assert compare(layer_code(layer), layer_code(other)) == []
    assert compare(moe_code(layer), moe_code(other)) == []


def test_sources_are_ignored() -> None:
    assert compare(layer_code(), changed("/site/vllm/layer.py:10", "/elsewhere/layer.py:99")) == []


def test_empty_graphs_have_no_differences() -> None:
    assert differences(Graph(), Graph()) == []


def test_names_of_inputs_of_modules_are_ignored() -> None:
    assert compare(layer_code(), changed("o_proj", "out_proj")) == []


# Each kind


def test_a_value_that_is_passed_on_as_an_input() -> None:
    computing = layer_code(1, body=PROD, outputs=["prod"])
    taking = layer_code(2, inputs={"prod_1": "Sym(8*s72)"})
    text = "math_prod((s72, 8)) -> Sym(8*s72)"
    assert described(only(computing, taking)) == ("passed on", text, None, 31)
    assert described(only(taking, computing)) == ("passed on", None, text, 31)


def test_two_values_that_are_passed_on_as_inputs() -> None:
    body = [*PROD, 'prod_1: "Sym(16*s72)" = math_prod((s72, 16))']
    computing = layer_code(1, body=body, outputs=["prod", "prod_1"])
    taking = layer_code(2, inputs={"a": "Sym(8*s72)", "b": "Sym(16*s72)"})
    assert [each.kind for each in compare(computing, taking)] == ["passed on", "passed on"]


def test_each_passed_on_value_has_its_own_input() -> None:
    body = [*PROD, 'prod_1: "Sym(8*s72)" = math_prod((8, s72))']
    found = compare(layer_code(1, body=body, outputs=["prod", "prod_1"]), layer_code(2, inputs={"a": "Sym(8*s72)"}))
    assert sorted(each.kind for each in found) == ["operation", "output", "passed on"]


def test_a_returned_value_without_an_input_is_not_passed_on() -> None:
    found = compare(layer_code(1, body=PROD, outputs=["prod"]), layer_code(2))
    assert [described(each)[:3] for each in found] == [
        ("operation", "math_prod((s72, 8)) -> Sym(8*s72)", None),
        ("output", "3 outputs", "2 outputs"),
    ]


def test_a_value_that_is_not_returned_is_not_passed_on() -> None:
    found = compare(layer_code(1, body=PROD), layer_code(2, inputs={"prod": "Sym(8*s72)"}))
    assert [each.kind for each in found] == ["operation", "input"]


def test_an_input_of_another_type_is_not_the_computed_value() -> None:
    found = compare(layer_code(1, body=PROD, outputs=["prod"]), layer_code(2, inputs={"prod": "Sym(16*s72)"}))
    assert sorted(each.kind for each in found) == ["input", "operation", "output"]


def test_a_value_that_both_compute_is_not_passed_on() -> None:
    one = layer_code(1, inputs={"a": "bf16[3]"}, body=['gate: "bf16[3]" = torch.f(mul, linear)'])
    other = layer_code(2, body=['gate: "bf16[3]" = torch.f(mul, None)'], outputs=["gate"])
    assert "passed on" not in {each.kind for each in compare(one, other)}


def test_a_passed_on_value_does_not_hide_other_differences() -> None:
    found = compare(
        layer_code(1, body=PROD, outputs=["prod"], scale="0.5"), layer_code(2, inputs={"prod_1": "Sym(8*s72)"})
    )
    assert [described(each)[:3] for each in found] == [
        ("passed on", "math_prod((s72, 8)) -> Sym(8*s72)", None),
        ("constant", "0.5", "1.0"),
    ]


def test_a_passed_on_value_does_not_hide_other_inputs() -> None:
    computing = layer_code(1, body=PROD, outputs=["prod"])
    taking = layer_code(2, inputs={"prod_1": "Sym(8*s72)", "residual": "f32[s72, 8]"})
    assert [each.kind for each in compare(computing, taking)] == ["passed on", "input"]


def test_an_additional_operation() -> None:
    code = layer_code(body=SIGMOID)
    assert described(only(code, layer_code())) == ("operation", "torch.sigmoid(mul) -> bf16[s72, 8]", None, 30)
    assert described(only(layer_code(), code)) == ("operation", None, "torch.sigmoid(mul) -> bf16[s72, 8]", 30)


def test_an_additional_operation_does_not_affect_others() -> None:
    body = [f'relu_{n}: "bf16[s72, 8]" = torch.relu(mul)' for n in range(5)]
    found = compare(layer_code(body=body, scale="0.5"), layer_code())
    assert [each.kind for each in found].count("operation") == 5
    assert ("constant", "0.5", "1.0", 11) in map(described, found)


def test_an_additional_operation_before_a_similar_one() -> None:
    code = changed(
        'mul: "bf16[s72, 8]" = linear * 1.0', 'a: "bf16[s72, 8]" = linear * 3.0\n        mul: "bf16[s72, 8]" = a * 1.0'
    )
    assert described(only(code, layer_code()))[:3] == ("operation", "linear * 3.0 -> bf16[s72, 8]", None)


def test_a_different_operation() -> None:
    found = compare(changed("linear * 1.0", "torch.relu(linear)"), layer_code())
    assert [described(each) for each in found] == [
        ("operation", "torch.relu(linear) -> bf16[s72, 8]", None, 11),
        ("operation", None, "linear * 1.0 -> bf16[s72, 8]", 11),
    ]


def test_the_same_operation_with_other_arguments() -> None:
    difference = only(changed("linear * 1.0", "linear * output_4"), layer_code())
    assert described(difference) == (
        "operation",
        "linear * output_4 -> bf16[s72, 8]",
        "linear * 1.0 -> bf16[s72, 8]",
        11,
    )


@pytest.mark.parametrize(
    ("one", "other"), [("1", "2"), ("1.0", "1"), ("1e-05", "1e-06"), ("'layers.3'", "'layers.4'"), ("True", "None")]
)
def test_a_constant(one: str, other: str) -> None:
    assert described(only(layer_code(scale=one), layer_code(scale=other))) == ("constant", one, other, 11)


@pytest.mark.parametrize(
    "expression", ["f1(linear, {})", "linear.to(torch.float32, {})", "f(linear, 128, {})", "f(linear, {}, 12)"]
)
def test_a_constant_whose_digits_occur_elsewhere(expression: str) -> None:
    one, other = (changed("linear * 1.0", expression.format(value)) for value in (1, 2))
    assert described(only(one, other)) == ("constant", "1", "2", 11)


def test_several_constants_of_one_operation() -> None:
    one, other = (changed("linear * 1.0", f"f(linear, {a}, 7, n = {b})") for a, b in ((1, "'a'"), (2, "'b'")))
    found = compare(one, other)
    assert [described(each)[:3] for each in found] == [("constant", "1", "2"), ("constant", "n='a'", "n='b'")]
    assert found[0].site != found[1].site


def test_a_negative_constant_has_its_sign() -> None:
    assert described(only(layer_code(scale="-0.5"), layer_code(scale="-0.25")))[:3] == ("constant", "-0.5", "-0.25")


@pytest.mark.parametrize("other", ["inf", "-1.0"])
def test_a_constant_instead_of_a_name_or_a_signed_constant(other: str) -> None:
    assert described(only(layer_code(scale="1.0"), layer_code(scale=other)))[:3] == ("constant", "1.0", other)


def test_a_constant_does_not_hide_other_arguments() -> None:
    one = changed("linear * 1.0", "torch.full((2,), 1, dtype = torch.float16)")
    other = changed("linear * 1.0", "torch.full((2,), 2, dtype = torch.float32)")
    difference = only(one, other)
    assert difference.kind == "operation"
    assert "torch.float16" in (difference.one or "")
    assert "torch.float32" in (difference.other or "")


def test_a_constant_of_an_operation_in_place() -> None:
    one, other = (layer_code(body=[f"mul *= {scale};  imul = mul"]) for scale in (2.5, 3.5))
    assert described(only(one, other))[:3] == ("constant", "2.5", "3.5")


@pytest.mark.parametrize("other", ["f32[s72, 8]", "bf16[s72, 9]", "bf16[s72, 8][8, 1]cpu", "bf16[s72, 8][8, 1]cuda:0"])
def test_the_type_of_a_result(other: str) -> None:
    difference = only(changed('mul: "bf16[s72, 8]"', f'mul: "{other}"'), layer_code())
    assert described(difference) == ("type", f"{other} of linear * 1.0", "bf16[s72, 8] of linear * 1.0", 11)


def test_a_constant_and_the_resulting_type() -> None:
    one = changed('mul: "bf16[s72, 8]" = linear * 1.0', 'mul: "bf16[s72, 4]" = linear.view(-1, 4)')
    other = changed('mul: "bf16[s72, 8]" = linear * 1.0', 'mul: "bf16[s72, 2]" = linear.view(-1, 2)')
    assert [each.kind for each in compare(one, other)] == ["constant", "type"]


@pytest.mark.parametrize("type_", ["f32[s72, 8]", "bf16[s72, 9]", "bf16[s72, 8][16, 1]cpu", "bf16[s72, 8][8, 1]cuda:0"])
def test_the_type_of_an_input_that_is_passed_on(type_: str) -> None:
    difference = only(changed('output_4: "bf16[s72, 8]"', f'output_4: "{type_}"'), layer_code())
    assert described(difference) == ("input", type_, "bf16[s72, 8]", None)


def test_the_type_of_a_parameter_is_shown_with_its_role() -> None:
    weight = "o_proj_parameters_weight_"
    difference = only(changed(f'{weight}: "bf16[8, 8]"', f'{weight}: "f32[8, 8]"'), layer_code())
    role = f"l_self_modules_layers_modules_N_modules_{weight}"
    assert described(difference) == ("input", f"{role}: f32[8, 8]", f"{role}: bf16[8, 8]", None)


def test_an_additional_input() -> None:
    code = layer_code(inputs={"residual": "f32[s72, 8]"})
    assert described(only(code, layer_code())) == ("input", "f32[s72, 8]", None, None)
    assert described(only(layer_code(), code)) == ("input", None, "f32[s72, 8]", None)


def test_an_additional_input_of_the_same_type_as_another() -> None:
    code = layer_code(inputs={"residual": HIDDEN["output_4"]})
    assert described(only(code, layer_code())) == ("input", "bf16[s72, 8]", None, None)


def test_the_order_of_inputs() -> None:
    difference = only(layer_code(), changed(*SWAPPED_INPUTS))
    assert described(difference) == ("input", "bf16[s72, 8] before Sym(s72)", "Sym(s72) before bf16[s72, 8]", None)


def test_an_additional_output() -> None:
    assert described(only(layer_code(outputs=["linear"]), layer_code())) == ("output", "3 outputs", "2 outputs", None)


def test_another_output() -> None:
    difference = only(changed("(linear_1, mul)", "(linear_1, output_4)"), layer_code())
    assert described(difference) == ("output", "r2, i0", "r2, r1", None)


def test_only_the_wiring() -> None:
    difference = only(changed(".linear(mul,", ".linear(output_4,"), layer_code())
    qkv = parameter(1, "qkv_proj")
    assert described(difference) == (
        "wiring",
        f"torch._C._nn.linear(output_4, {qkv}) -> bf16[s72, 8]",
        f"torch._C._nn.linear(mul, {qkv}) -> bf16[s72, 8]",
        12,
    )


def test_only_the_first_wiring_difference_is_returned() -> None:
    one = changed("torch._C._nn.linear(output_4, ", "torch._C._nn.linear(s72, ").replace(".linear(mul,", ".linear(s72,")
    assert only(one, layer_code()).source == read_graph(layer_code()).operations[0].source


# Many


def test_every_difference_is_returned() -> None:
    body = [line for n in range(40) for line in (comment(100 + n), f'a{n}: "f32[2]" = f{n}(mul, {{}})')]
    one, other = (layer_code(body=[line.format(value) for line in body]) for value in (1, 2))
    found = compare(one, other)
    assert [described(each) for each in found] == [("constant", "1", "2", 100 + n) for n in range(40)]
    assert len({each.site for each in found}) == 40


def test_graphs_with_nothing_in_common() -> None:
    one = graph_code({"x": "f32[2]"}, ["a = f(x)", "b = g(a)"], ["b"])
    other = graph_code({"y": "f16[3]"}, ["a = h(y, 1)"], ["a"])
    assert [described(each)[:3] for each in compare(one, other)] == [
        ("operation", "f(x)", None),
        ("operation", "g(a)", None),
        ("operation", None, "h(y, 1)"),
        ("input", "f32[2]", "f16[3]"),
    ]


def test_a_graph_and_an_empty_one() -> None:
    found = differences(read_graph(layer_code()), Graph())
    assert [each.kind for each in found].count("operation") == 3
    assert all(each.other is None for each in found if each.kind != "output")


def test_large_graphs_are_compared_quickly() -> None:
    body = [f'a{n}: "f32[2]" = f{n % 7}(mul, {n})' for n in range(600)]
    other = [line for n, line in enumerate(body) if n % 50]
    assert len(compare(layer_code(body=body), layer_code(body=other))) == 12


# The same difference in other graphs


def test_the_same_constant_in_other_layers_has_one_site() -> None:
    common = layer_code(0)
    sites = {only(layer_code(layer, scale=f"0.{layer}"), common).site for layer in (1, 2, 10)}
    assert len(sites) == 1


def test_the_same_type_in_other_layers_has_one_site() -> None:
    common = layer_code(0)
    codes = [layer_code(layer).replace('linear_1: "bf16', 'linear_1: "f32') for layer in (1, 2, 10)]
    assert len({only(code, common).site for code in codes}) == 1


def test_the_same_additional_operation_in_other_layers_has_one_site() -> None:
    sites = set()
    for layer in (1, 2, 10):
        more = f'gate: "bf16[s72, 8]" = torch.f(mul, {parameter(layer, "o_proj")})'
        sites.add(only(layer_code(layer, body=[more]), layer_code(0)).site)
    assert len(sites) == 1


def test_the_same_value_passed_on_from_other_layers_has_one_site() -> None:
    sites = set()
    for layer in (1, 2, 10):
        more = f'gate: "bf16[s72, 3]" = torch.f(mul, {parameter(layer, "o_proj")})'
        one = layer_code(layer, body=[more], outputs=["gate"])
        sites.add(only(one, layer_code(0, inputs={"gate": "bf16[s72, 3]"})).site)
    assert len(sites) == 1


# Any graphs

lines = st.lists(
    st.sampled_from(
        [
            'a: "f32[2]" = f(x, 1)',
            'a: "f32[2]" = f(x, 2)',
            'a: "f16[2]" = f(x, 1)',
            'a: "f32[2]" = g(x)',
            'b: "f32[2]" = x + y',
            'b: "f32[2]" = y + x',
            'c: "Sym(s)" = math_prod((x, 8))',
            'x: "f32[2]" = h(x, y)',
        ]
    ),
    max_size=5,
)
inputs = st.lists(st.tuples(st.sampled_from(["p", "q", "s"]), st.sampled_from(["f32[2]", "Sym(s)"])), max_size=3).map(
    lambda described: {"x": "f32[2]", "y": "f32[2]", **dict(described)}
)
outputs = st.lists(st.sampled_from(["x", "y", "a", "b", "c", "1"]), max_size=3)
graphs = st.builds(graph_code, inputs, lines, outputs)


@settings(max_examples=30, deadline=None)
@given(graphs, graphs)
def test_graphs_differ_exactly_if_their_digests_do(one: str, other: str) -> None:
    found = compare(one, other)
    assert bool(found) == (read_graph(one).digest() != read_graph(other).digest())
    back = compare(other, one)
    assert bool(back) == bool(found)
    assert {each.kind for each in found} <= {
        *("passed on", "operation", "constant", "type", "input", "output", "wiring")
    }
    assert all((each.one, each.other) != (None, None) and each.site for each in found)


def test_the_hidden_state_is_passed_on() -> None:
    assert [value.name for value in read_graph(layer_code()).inputs if not value.is_of_module()] == [*HIDDEN]
