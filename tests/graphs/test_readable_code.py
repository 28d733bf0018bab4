from __future__ import annotations

import re
from keyword import iskeyword

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coldwarm.graphs.graph import Graph, Source, Value
from coldwarm.graphs.readable_code import outline, read_graph, read_inputs
from tests.support.graphs import comment, first_code, graph_code, layer_code, moe_code, parameter

wild = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
few = settings(max_examples=25, deadline=None)

X = {"x": "f32[2, 3]"}
OBJECT = "<function silu at 0x7f00>"


def one(line: str, inputs: dict[str, str] | None = None, result: str = "a") -> Graph:
    return read_graph(graph_code(inputs or X, [line], [result]))


def with_an_object(line: str) -> str:
    """Return code that Python cannot parse as a whole."""
    return graph_code(X, [line, f"lost = f(x, {OBJECT});  x = None"], ["a"])


# Names


NAMES = ["output_4", "s72", "linear", "mul", "linear_1", parameter(0, "o_proj"), parameter(1, "qkv_proj")]
TAKEN = {"self", "torch", "forward", "GraphModule"}
new_names = st.lists(
    st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True).filter(
        lambda name: not iskeyword(name) and name not in TAKEN
    ),
    min_size=len(NAMES),
    max_size=len(NAMES),
    unique=True,
)


def renamed(code: str, names: dict[str, str]) -> str:
    """Return `code` with the names of its values replaced, except in comments and types."""
    name = re.compile("|".join(rf"\b{each}\b" for each in names))
    unchanged = re.compile(r'(#.*|"[^"]*"|\.\w+)')
    pieces = unchanged.split(code)
    pieces[::2] = [name.sub(lambda found: names[found[0]], piece) for piece in pieces[::2]]
    return "".join(pieces)


@few
@given(new_names)
def test_the_digest_does_not_depend_on_names(names: list[str]) -> None:
    code = layer_code(0)
    other = renamed(code, dict(zip(NAMES, names, strict=True)))
    assert other != code
    assert read_graph(other).digest() == read_graph(code).digest()


@few
@given(st.integers(0, 120), st.integers(0, 120))
def test_the_digest_is_the_same_for_another_layer(layer: int, other: int) -> None:
    for code in (layer_code, moe_code):
        assert read_graph(code(layer)).digest() == read_graph(code(other)).digest()


def test_the_digest_does_not_depend_on_sources() -> None:
    moved = layer_code().replace("/site/vllm/layer.py:10", "/elsewhere/layer.py:99")
    assert moved != layer_code()
    assert read_graph(moved).digest() == read_graph(layer_code()).digest()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("linear * 1.0", "linear * 2.0"),
        ("linear * 1.0", "linear * 1"),
        ("linear * 1.0", "linear * -1.0"),
        ("linear * 1.0", "linear + 1.0"),
        ("linear * 1.0", "1.0 * linear"),
        ("linear * 1.0", "linear * output_4"),
        ("linear * 1.0", "output_4 * 1.0"),
        ("linear * 1.0", "torch.mul(linear, 1.0)"),
        ("linear * 1.0", "linear.mul(1.0)"),
        ("linear * 1.0", "linear.mul(other = 1.0)"),
        ('mul: "bf16[s72, 8]"', 'mul: "f32[s72, 8]"'),
        ('mul: "bf16[s72, 8]"', 'mul: "bf16[s72, 9]"'),
        ('mul: "bf16[s72, 8]"', 'mul: "bf16[s72, 8][8, 1]cpu"'),
        ('mul: "bf16[s72, 8]"', "mul"),
        ('weight_: "bf16[8, 8]"', 'weight_: "bf16[8, 16]"'),
        ('output_4: "bf16[s72, 8]", s72: "Sym(s72)"', 's72: "Sym(s72)", output_4: "bf16[s72, 8]"'),
        ("(linear_1, mul)", "(mul, linear_1)"),
        ("(linear_1, mul)", "(linear_1,)"),
        ("(linear_1, mul)", "(linear_1, output_4)"),
        ("(linear_1, mul)", "(linear_1, mul, None)"),
        ("        return", "        extra = mul + 1.0\n        return"),
    ],
)
def test_the_digest_depends_on_everything_else(old: str, new: str) -> None:
    code = layer_code()
    changed = code.replace(old, new, 1)
    assert changed != code
    assert read_graph(changed).digest() != read_graph(code).digest()


def test_the_digest_depends_on_unused_inputs() -> None:
    assert read_graph(layer_code(inputs={"unused": "f32[1]"})).digest() != read_graph(layer_code()).digest()


constants = st.one_of(
    st.integers(-(10**6), 10**6), st.floats(allow_nan=False), st.text(max_size=8), st.booleans(), st.none()
)


@few
@given(constants, constants)
def test_two_constants_have_the_same_digest_only_if_they_are_written_the_same(a: object, b: object) -> None:
    ours, theirs = (one(f"a = f(x, {value!r})") for value in (a, b))
    assert (ours.digest() == theirs.digest()) == (repr(a) == repr(b))


def test_the_digest_depends_on_a_constant_of_an_in_place_operation() -> None:
    ours, theirs = (
        read_graph(graph_code(X, [f'x *= {value};  imul: "f32[2, 3]" = x;  x = None'], ["imul"]))
        for value in (2.5, 3.5)
    )
    assert ours.digest() != theirs.digest()


def test_the_digest_depends_on_an_assignment_to_a_slice() -> None:
    ours, theirs = (
        read_graph(graph_code(X, [f"x[slice(None, {end}, None)] = 0;  setitem = x;  x = None"], ["setitem"]))
        for end in (1, 2)
    )
    assert ours.digest() != theirs.digest()


def test_the_digest_of_lines_that_are_not_python_does_not_depend_on_names() -> None:
    ours = graph_code(X, [f'add_1: "f32[2]" = f(x, {OBJECT});  x = None'], ["add_1"])
    theirs = graph_code({"y": X["x"]}, [f'add_2: "f32[2]" = f(y, {OBJECT});  y = None'], ["add_2"])
    assert read_graph(ours).digest() == read_graph(theirs).digest()


# Layouts


def test_inputs_operations_and_outputs_are_read() -> None:
    graph = read_graph(layer_code(3))
    assert [(value.name, value.type) for value in graph.inputs] == [
        ("output_4", "bf16[s72, 8]"),
        ("s72", "Sym(s72)"),
        (parameter(3, "o_proj"), "bf16[8, 8]"),
        (parameter(4, "qkv_proj"), "bf16[8, 8]"),
    ]
    assert [(each.name, each.op, each.text, each.type) for each in graph.operations] == [
        ("linear", "torch._C._nn.linear", "torch._C._nn.linear(i0, i2)", "bf16[s72, 8]"),
        ("mul", "*", "r0 * 1.0", "bf16[s72, 8]"),
        ("linear_1", "torch._C._nn.linear", "torch._C._nn.linear(r1, i3)", "bf16[s72, 8]"),
    ]
    assert graph.outputs == ["r2", "r1"]
    assert [each.name for each in graph.output_operations()] == ["linear_1", "mul"]


@pytest.mark.parametrize("name", ["GraphModule", "<lambda>"])
@pytest.mark.parametrize("expanded", [False, True])
def test_both_layouts_of_the_signature_are_read(expanded: bool, name: str) -> None:
    types = {"arg0_1": "bf16[s72, 8, 128][1024, 128, 1]cpu", "arg1_1": "Sym(s72)", "arg2_1": "i64[][]cpu"}
    type_ = "bf16[s72, 8][8, 1]cpu"
    body = [f'add: "{type_}" = torch.ops.aten.add.Tensor(arg0_1, 1);  arg0_1 = None']
    graph = read_graph(graph_code(types, body, ["add"], expanded=expanded, name=name))
    assert [(value.name, value.type) for value in graph.inputs] == list(types.items())
    add = graph.operations[0]
    assert (add.op, add.text, add.type) == ("torch.ops.aten.add.Tensor", "torch.ops.aten.add.Tensor(i0, 1)", type_)


def test_outputs_on_separate_lines_are_read() -> None:
    code = graph_code(X, ["add = x + 1", "mul = add * 2"], ["add", "mul"], expanded=True, name="<lambda>")
    graph = read_graph(code)
    assert ([each.name for each in graph.operations], graph.outputs) == (["add", "mul"], ["r0", "r1"])


def test_inputs_on_separate_lines_are_read_next_to_lines_that_are_not_python() -> None:
    inputs = {"x": "f32[2][1]cpu", "y": "Sym(s72)"}
    graph = read_graph(graph_code(inputs, [f"a = f(x, {OBJECT})", "b = a + y"], ["b"], expanded=True))
    assert [(value.name, value.type) for value in graph.inputs] == list(inputs.items())
    assert [each.text for each in graph.operations[1:2]] == ["r0 + i1"]


def test_an_input_may_have_no_type() -> None:
    assert one("a = f(x)", {"x": ""}).inputs == [Value("x", "")]


@pytest.mark.xfail(strict=True, reason="line by line, an input is found by its type")
def test_an_input_without_a_type_is_read_next_to_lines_that_are_not_python() -> None:
    graph = read_graph(graph_code({"x": "", "y": "f32[2]"}, [f"a = f(x, {OBJECT})", "b = x + y"], ["b"]))
    assert [value.name for value in graph.inputs] == ["x", "y"]


def test_a_graph_may_have_no_inputs_and_one_bare_output() -> None:
    graph = read_graph("class G(torch.nn.Module):\n    def forward(self):\n        a = f()\n        return a\n")
    assert (graph.inputs, [each.text for each in graph.operations], graph.outputs) == ([], ["f()"], ["r0"])


def test_outputs_may_be_inputs_and_constants() -> None:
    graph = read_graph(graph_code(X, ["a = f(x)"], ["x", "a", "3", "None"]))
    assert graph.outputs == ["i0", "r0", "3", "None"]
    assert [each.name for each in graph.output_operations()] == ["a"]


def test_a_list_of_outputs_is_read() -> None:
    code = graph_code(X, ["a = f(x)"], ["a", "x"]).replace("(a, x)", "[a, x]")
    assert read_graph(code).outputs == ["r0", "i0"]


def test_freeing_a_name_is_not_an_operation() -> None:
    assert [each.name for each in one("a = f(x);  x = b = None").operations] == ["a"]


@pytest.mark.parametrize(
    ("expression", "op"),
    [
        ("x + 1", "+"),
        ("x // 2", "//"),
        ("x @ x", "@"),
        ("-x", "-"),
        ("~x", "~"),
        ("x > 0.02", ">"),
        ("x == 0", "=="),
        ("x is None", "Is"),
        ("x[0]", "[]"),
        ("x[(slice(None, None, None), None)]", "[]"),
        ("x.shape", ".shape"),
        ("x.view(-1, 4)", ".view"),
        ("self.weight", ".weight"),
        ("self.wrap_body_0(x)", "self.wrap_body_0"),
        ("torch.ops.aten.sym_size.int(x, 0)", "torch.ops.aten.sym_size.int"),
        ("x", "Name"),
        ("3", "Constant"),
    ],
)
def test_operations_have_names(expression: str, op: str) -> None:
    assert [each.op for each in one(f"a = {expression}").operations] == [op]


def test_constants_are_read_as_written() -> None:
    [operation] = one("a = f(x, 1, 2.5, 'model.layers.3', flag = True, none = None)").operations
    assert operation.constants == ("1", "2.5", "'model.layers.3'", "flag=True", "none=None")


def test_a_negative_constant_keeps_its_sign() -> None:
    [operation] = one("a = x * -1.5").operations
    assert operation.constants == ("-1.5",)


def test_an_operation_is_aligned_without_names() -> None:
    [operation] = one("a = f(x, 2, x)").operations
    assert (operation.text, operation.shape, operation.written) == ("f(i0, 2, i0)", "f(_, 2, _)", "f(x, 2, x)")


def test_an_unknown_name_is_not_replaced() -> None:
    assert [each.text for each in one("a = f(x, inf, torch.float32)").operations] == ["f(i0, inf, torch.float32)"]


def test_a_reassigned_name_refers_to_the_latest_value() -> None:
    graph = read_graph(graph_code(X, ["a = f(x)", "a = g(a)", "b = h(a)"], ["b"]))
    assert [each.text for each in graph.operations] == ["f(i0)", "g(r0)", "h(r1)"]


# Nested graphs

NESTED = graph_code({"y": "f32[2]"}, ["b = y * 2", "c = b + y"], ["c"], name="wrap_body_0")
OUTER = ["wrap_body_0 = self.wrap_body_0", "a = wrap(wrap_body_0, x)", "d = a - x"]


def test_the_operations_of_a_nested_graph_follow() -> None:
    graph = read_graph(graph_code(X, OUTER, ["d", "a"], nested=NESTED))
    assert [each.name for each in graph.operations] == ["wrap_body_0", "a", "d", "b", "c"]
    assert [value.name for value in graph.inputs] == ["x", "y"]
    assert [each.text for each in graph.operations[-2:]] == ["i1 * 2", "r3 + i1"]


def test_the_digest_depends_on_a_nested_graph() -> None:
    ours, theirs = (read_graph(graph_code(X, OUTER, ["d"], nested=NESTED.replace("y * 2", f"y * {n}"))) for n in (2, 3))
    assert ours.digest() != theirs.digest()


@pytest.mark.parametrize(
    "line",
    [
        "e = d",
        pytest.param(
            f"e = f(d, {OBJECT})",
            marks=pytest.mark.xfail(strict=True, reason="line by line, the return of the last nested graph is taken"),
        ),
    ],
)
def test_the_outputs_are_those_of_the_outer_graph(line: str) -> None:
    graph = read_graph(graph_code(X, [*OUTER, line], ["d", "a"], nested=NESTED))
    assert graph.outputs[:2] == ["r2", "r1"]


# Sources


SOURCES = [
    Source("/site/vllm/layer.py", 7, "forward", "x = f(x)"),
    Source("/home/a user/my models/layer.py", 7, "forward", "x = f(x)"),
    Source("C:/models/layer:1.py", 7, "forward", "x = f(x)"),
    Source("<eval_with_key>.12", 7, "<lambda>", "x = f(x)"),
    Source("/site/layer.py", 12345, "forward", "x = f(\"it's\", 'a, code: b') # File: other.py:3 in g, code: h"),
    Source("/site/layer.py", 1, "forward", ""),
    Source("/site/größe.py", 1, "größe", "größe = 1"),
]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("is_python", [True, False])
def test_an_operation_has_its_source(source: Source, is_python: bool) -> None:
    described = comment(source.line, source.file, source.function, source.code)
    lost = [] if is_python else [f"lost = f(x, {OBJECT})"]
    graph = read_graph(graph_code(X, [described, "a = f(x)", *lost], ["a"]))
    assert {each.source for each in graph.operations} == {source}
    assert str(source) == f"{source.file}:{source.line}"


def test_a_comment_applies_until_the_next_one() -> None:
    body = ["a = f(x)", comment(1), "b = f(a)", "", "c = f(b)", comment(2), "d = f(c)"]
    body += ["# No stacktrace found for following nodes", "e = f(d)"]
    graph = read_graph(graph_code(X, body, ["e"]))
    assert [each.source and each.source.line for each in graph.operations] == [None, 1, 1, 2, None]


def test_blank_lines_before_the_code_do_not_shift_sources() -> None:
    graph = read_graph("\n\n\n" + graph_code(X, [comment(1), "a = f(x)", comment(2), "b = f(a)"], ["b"]))
    assert [each.source and each.source.line for each in graph.operations] == [1, 2]


def test_a_string_is_not_a_comment() -> None:
    [operation] = one(f"a = f(x, {comment(3)!r})").operations
    assert operation.source is None


@pytest.mark.parametrize("annotation", ["Annotation: {'stage': 'a'}", "recompute: MUST_SAVE", "ac_graph_id: 1"])
def test_a_comment_may_have_an_annotation(annotation: str) -> None:
    body = [comment(1), "a = f(x)", comment(2).replace("# ", f"# {annotation} "), "b = f(a)"]
    body += [f"# {annotation} No stacktrace found for following nodes", "c = f(b)"]
    graph = read_graph(graph_code(X, body, ["c"]))
    assert [each.source and each.source.line for each in graph.operations] == [1, 2, None]


# Lines that are not Python


def test_a_line_that_is_not_python_is_an_operation() -> None:
    graph = read_graph(with_an_object(f'{comment()}\n        a: "f32[2]" = x + 1;  x = None'))
    first, lost = graph.operations
    assert (first.name, first.op, first.text, first.type) == ("a", "+", "i0 + 1", "f32[2]")
    assert (lost.name, lost.written) == ("lost", f"f(x, {OBJECT})")
    assert first.source == lost.source == Source("/site/vllm/layer.py", 7, "forward", "x = f(x)")
    assert graph.outputs == ["r0"]


def test_later_lines_can_refer_to_a_line_that_is_not_python() -> None:
    graph = read_graph(graph_code(X, [f'a: "f32[2]" = f(x, {OBJECT})', "b = a + 1"], ["b", "a"]))
    assert [each.name for each in graph.operations] == ["a", "b"]
    assert (graph.operations[1].text, graph.outputs) == ("r0 + 1", ["r1", "r0"])


def test_the_digest_depends_on_lines_that_are_not_python() -> None:
    ours, theirs = (read_graph(with_an_object("a = f(x)").replace("silu", name)) for name in ("silu", "gelu"))
    assert ours.digest() != theirs.digest()


# Shortcuts


@pytest.mark.parametrize("expanded", [False, True])
def test_only_the_inputs_can_be_read(expanded: bool) -> None:
    code = graph_code({"a": "bf16[s72, 8][8, 1]cpu", "b": "Sym(s72)"}, ['c: "f32[2]" = f(a)'], ["c"], expanded=expanded)
    assert read_inputs(code) == read_graph(code).inputs
    assert read_inputs(layer_code(3)) == read_graph(layer_code(3)).inputs


@pytest.mark.parametrize("code", ["", "garbage", "def forward(", "def forward(self"])
def test_inputs_of_malformed_code(code: str) -> None:
    assert read_inputs(code) == []
    assert isinstance(outline(code), str)


@few
@given(st.integers(0, 120), st.integers(0, 120))
def test_the_outline_is_the_same_for_another_layer(layer: int, other: int) -> None:
    assert outline(layer_code(layer)) == outline(layer_code(other))


def test_the_outline_does_not_depend_on_sources() -> None:
    assert outline(layer_code()) == outline(layer_code().replace("layer.py:10", "layer.py:99"))


@few
@given(st.integers(0, 99), st.integers(0, 99), st.sampled_from(["1.0", "2.0"]), st.sampled_from(["1.0", "2.0"]))
def test_graphs_with_the_same_outline_are_identical(layer: int, other: int, ours: str, theirs: str) -> None:
    codes = layer_code(layer, scale=ours), layer_code(other, scale=theirs)
    one, two = map(read_graph, codes)
    assert (outline(codes[0]) == outline(codes[1])) == (one.digest() == two.digest())


# Damage


@pytest.mark.parametrize("code", ["", "\n", " ", "\t", "class", "def forward(", "return", ")", "self,", "\0", "\ufeff"])
def test_an_empty_graph_is_read(code: str) -> None:
    graph = read_graph(code)
    assert (graph.inputs, graph.output_operations()) == ([], [])
    assert graph.digest() == read_graph(code).digest()


WHOLE = graph_code(X, [comment(), 'a: "f32[2]" = torch.f(x, 1, dtype = torch.float32);  x = None', "b = a[0]"], ["b"])
pieces = st.sampled_from(
    [*WHOLE.split("\n"), *"(){}[]=:;,.'\"#\n\\*@ ", "x", "a = ", "0x1", "lambda", "f'{a}'", "\n    "]
)


def never_raises(code: str) -> None:
    graph = read_graph(code)
    graph.digest()
    graph.output_operations()


@wild
@given(st.text())
def test_any_text_is_read(text: str) -> None:
    never_raises(text.replace("\r", ""))


@wild
@given(st.lists(st.one_of(pieces, st.text(max_size=3)), max_size=30).map("".join))
@example("class G:\n    def forward(self):\n        a = f(x\n        return (a")
def test_malformed_code_is_read(text: str) -> None:
    never_raises(re.sub(r"[\r*]", "", text))


@wild
@given(st.integers(0, len(WHOLE)), st.integers(0, 30), st.text(max_size=5))
def test_damaged_code_is_read(at: int, length: int, instead: str) -> None:
    never_raises(WHOLE[:at] + re.sub(r"[\r*]", "", instead) + WHOLE[at + length :])


def test_operations_before_a_cut_are_read() -> None:
    graph = read_graph(layer_code().split("linear_1:")[0])
    assert [each.name for each in graph.operations] == ["linear", "mul"]
    assert graph.outputs == []


@pytest.mark.parametrize(
    "line",
    [
        "*a",
        "return *a, b",
        pytest.param("a = x" + ".b" * 600, id="a chain of attributes"),
        pytest.param("a = " + "+".join(["x"] * 3000), id="a long sum"),
        pytest.param("a = f(0x" + "f" * 5000 + ")", id="a number longer than Python writes"),
    ],
)
def test_other_python_code_is_read(line: str) -> None:
    never_raises(graph_code(X, [line], ["x"]))


def test_a_carriage_return_is_read() -> None:
    never_raises("def forward(self):\r    a = f()\r    return (a,)")


# Inputs


@pytest.mark.parametrize(
    ("name", "is_of_module"),
    [
        (parameter(3, "o_proj"), True),
        ("L_self_modules_layers_modules_0_mlp_experts_gate_correction_bias", True),
        ("l_self_modules_rotary_emb_buffers_cos_sin_cache_", True),
        ("output_4", False),
        ("s72", False),
        ("l_positions_", False),
    ],
)
def test_inputs_of_a_module_are_recognized(name: str, is_of_module: bool) -> None:
    assert Value(name, "f32[2]").is_of_module() is is_of_module


@pytest.mark.parametrize("name", ["l_self_parameters_class_embedding_", "L_self_buffers_scale_"])
def test_inputs_of_the_compiled_module_are_recognized(name: str) -> None:
    assert Value(name, "f32[2]").is_of_module()


def test_a_role_has_no_numbers() -> None:
    assert {Value(parameter(layer, "o_proj"), "").role() for layer in (0, 9, 10, 99, 100)} == {
        "l_self_modules_layers_modules_N_modules_o_proj_parameters_weight_"
    }


def test_a_role_has_no_numbers_of_nested_lists() -> None:
    names = (
        f"l_self_modules_stages_modules_{n}_modules_{m}_modules_norm_parameters_weight_" for n, m in ((0, 3), (1, 10))
    )
    assert len({Value(name, "").role() for name in names}) == 1


def test_a_role_keeps_the_numbers_of_modules_own_names() -> None:
    assert Value(parameter(3, "norm1"), "").role() != Value(parameter(3, "norm2"), "").role()


def test_the_first_subgraph_is_read() -> None:
    assert [each.op for each in read_graph(first_code()).operations] == [
        "torch.nn.functional.embedding",
        "torch._C._nn.linear",
    ]
