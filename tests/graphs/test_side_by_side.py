from __future__ import annotations

import pytest

from coldwarm.graphs.readable_code import read_graph
from coldwarm.graphs.side_by_side import Line, Side, side_by_side
from tests.support.graphs import HIDDEN, graph_code, layer_code


def lines_of(one: str, other: str) -> list[Line]:
    return side_by_side(read_graph(one), read_graph(other))


def marked(side: Side | None) -> list[str]:
    assert side is not None
    return [side.text[begin:end] for begin, end in side.marks]


def test_every_line_of_both_graphs_is_there_in_order() -> None:
    lines = lines_of(layer_code(0), layer_code(1))
    texts = [(line.one.text, line.other.text) for line in lines if line.one and line.other]
    assert len(texts) == len(lines) == 4 + 3 + 1
    assert texts[0] == ("output_4: bf16[s72, 8]",) * 2
    assert texts[5] == ("mul: bf16[s72, 8] = linear * 1.0",) * 2
    assert texts[7] == ("return linear_1, mul",) * 2


def test_names_and_layer_numbers_do_not_differ() -> None:
    assert not any(line.differs for line in lines_of(layer_code(0), layer_code(30)))


def test_only_the_constant_of_a_different_line_is_marked() -> None:
    [line] = [line for line in lines_of(layer_code(0, scale="0.25"), layer_code(1, scale="0.5")) if line.differs]
    assert (marked(line.one), marked(line.other)) == (["0.25"], ["0.5"])
    assert line.source is not None
    assert (line.source.line, line.source.code) == (11, "x = x * self.scale")


def test_an_additional_operation_has_nothing_beside_it() -> None:
    more = layer_code(1, body=["extra = torch.relu(mul)"])
    [line] = [line for line in lines_of(more, layer_code(0)) if line.differs]
    assert line.other is None
    assert line.one == Side("extra = torch.relu(mul)")


@pytest.mark.parametrize("swap", [False, True])
def test_an_additional_input_has_nothing_beside_it(swap: bool) -> None:
    graphs = [layer_code(0, inputs={"s9": "Sym(s9)"}), layer_code(1)]
    [line] = [line for line in lines_of(*(reversed(graphs) if swap else graphs)) if line.differs]
    only = line.other if swap else line.one
    assert only == Side("s9: Sym(s9)")
    assert (line.one if swap else line.other) is None


def test_additional_outputs_are_marked() -> None:
    [line] = [line for line in lines_of(layer_code(0, outputs=["linear"]), layer_code(0)) if line.differs]
    assert marked(line.one) == [", linear"]


def test_if_only_the_wiring_differs_the_operation_is_marked() -> None:
    def wired(argument: str) -> str:
        body = ["a = f(output_4)", "b = g(output_4)", f"c = h({argument})"]
        return graph_code(HIDDEN, body, ["c"])

    [line] = [line for line in lines_of(wired("a"), wired("b")) if line.differs]
    assert line.one == Side("c = h(a)")
    assert line.other == Side("c = h(b)")


def test_graphs_that_are_empty_or_not_python() -> None:
    assert [line.differs for line in lines_of("", "")] == [False]
    assert any(line.differs for line in lines_of("", layer_code()))
    assert lines_of("x = <object at 0x1>", "x = <object at 0x2>")
