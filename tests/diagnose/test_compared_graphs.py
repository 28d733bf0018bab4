from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.core.run_folder import RunFolder
from coldwarm.diagnose import compared_graphs as module
from coldwarm.diagnose.compared_graphs import ComparedGraphs, compared_graphs
from coldwarm.diagnose.explanation import explain
from coldwarm.store import schema
from tests.support.graphs import Compiled, collected, first_code, last_code, layer_code, model_records, timed_trace
from tests.support.records import cold_record, warm_record


def subgraphs(*layers: str) -> list[Compiled]:
    codes = [first_code(), *layers, last_code(9)]
    return [Compiled(code, f"k{number}") for number, code in enumerate(codes)]


def compared(folder: Path, *layers: str) -> list[ComparedGraphs]:
    return compared_graphs([collected(folder, *subgraphs(*layers))])


def test_each_graph_that_is_not_shared_is_beside_the_most_common(tmp_path: Path) -> None:
    found = compared(tmp_path, *(layer_code(n, scale=f"0.{n}") for n in range(1, 4)))
    assert [(each.model, each.part, each.one, each.other) for each in found] == [
        (0, "dense layer", "submod_4", "submod_2"),
        (0, "dense layer", "submod_6", "submod_2"),
    ]
    for each in found:
        [line] = [line for line in each.lines if line.differs]
        assert line.source is not None
        assert each.sources[line.source].where == "/site/vllm/layer.py:11"
        assert each.sources[line.source].code == "x = x * self.scale"


def test_what_is_shared_is_not_kept(tmp_path: Path) -> None:
    assert compared(tmp_path, layer_code(1)) == []


def test_pairs_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_PAIRS", 2)
    assert len(compared(tmp_path, *(layer_code(n, scale=f"0.{n}") for n in range(1, 9)))) == 2


def test_of_a_large_graph_the_lines_near_differences_are_kept(tmp_path: Path) -> None:
    def large(scale: str) -> str:
        before = [f"a{n} = torch.relu(mul, {n})" for n in range(300)]
        after = [f"b{n} = torch.tanh(mul, {n})" for n in range(300)]
        return layer_code(1, body=[*before, f"z = mul + {scale}", *after])

    [graphs] = compared(tmp_path, large("0.1"), large("0.2"))
    texts = [line.one.text for line in graphs.lines if line.one]
    assert len(texts) == 9
    assert texts[3:6] == ["a299 = torch.relu(mul, 299)", "z = mul + 0.2", "b0 = torch.tanh(mul, 0)"]
    assert graphs.lines[0].skipped + len(texts) + graphs.skipped == 4 + 3 + 601 + 1


def test_lines_are_limited(tmp_path: Path) -> None:
    def different(op: str) -> str:
        return layer_code(1, body=[f"a{n} = torch.{op}(mul, {n})" for n in range(2 * module.MOST_LINES)])

    [graphs] = compared(tmp_path, different("relu"), different("tanh"))
    assert len(graphs.lines) == module.MOST_LINES
    assert graphs.skipped > 0


def test_long_lines_are_cut(tmp_path: Path) -> None:
    def long(end: str) -> str:
        return layer_code(1, body=[f"z = f(mul, '{'x' * 1000}', {end}, '{'y' * 1000}')"])

    [graphs] = compared(tmp_path, long("1"), long("2"))
    sides = [side for line in graphs.lines for side in (line.one, line.other) if side]
    assert max(len(side.text) for side in sides) == module.LONGEST_TEXT + 1
    assert all(end <= module.LONGEST_TEXT for side in sides for _, end in side.marks)


def test_an_explanation_has_them_and_is_stored_with_them(tmp_path: Path) -> None:
    trace = RunFolder(tmp_path).trace("cold")
    trace.mkdir()
    records = model_records(*subgraphs(layer_code(1, scale="0.1"), layer_code(2, scale="0.2")))
    (trace / "dedicated_log_torch_trace_rank_0_a.log").write_text(timed_trace(records))
    explanation = explain(tmp_path, cold_record(), warm_record())
    assert explanation.compared_graphs is not None
    assert len(explanation.compared_graphs) == 1
    assert schema.EXPLANATION.from_data(schema.EXPLANATION.to_data(explanation)) == explanation


def test_without_a_trace_and_in_older_files_nothing_is_recorded(tmp_path: Path) -> None:
    explanation = explain(tmp_path, cold_record(), warm_record())
    assert explanation.compared_graphs is None
    older = schema.EXPLANATION.to_data(explanation)
    del older["compared_graphs"]
    assert schema.EXPLANATION.from_data(older).compared_graphs is None
