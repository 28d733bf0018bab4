from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.core.finding import Finding, FindingKind
from coldwarm.diagnose.rank_graphs import graph_findings
from coldwarm.graphs.subgraphs import CompiledModel
from tests.support.graphs import Compiled, collected, first_code, last_code, layer_code


@pytest.fixture
def compiled(tmp_path: Path) -> list[CompiledModel]:
    """What a rank compiled whose layers have the constant 1.0."""
    return model(tmp_path, "1.0")


def model(folder: Path, *scales: str, last: str = "") -> list[CompiledModel]:
    """Return a model whose layers have these constants; all layers with the last one share an artifact."""
    codes = [first_code(), *(layer_code(n, scale=scale) for n, scale in enumerate(scales)), last or last_code(3)]
    subgraphs = [Compiled(code, key=f"{n} {code}") for n, code in enumerate(codes)]
    return [collected(folder, *subgraphs)]


def only(findings: list[Finding]) -> Finding:
    [finding] = findings
    assert finding.kind is FindingKind.RANKS_DISAGREE
    return finding


def test_ranks_with_the_same_graphs_have_no_finding(tmp_path: Path, compiled: list[CompiledModel]) -> None:
    assert graph_findings({0: compiled, 1: model(tmp_path, "1.0")}) == []
    assert graph_findings({0: compiled}) == []


def test_a_constant_that_differs_is_named_with_its_rank(tmp_path: Path, compiled: list[CompiledModel]) -> None:
    found = only(graph_findings({0: compiled, 1: model(tmp_path, "1.0"), 2: model(tmp_path, "1.25")}))
    assert found.what == (
        "ranks compile different graphs of submod_2 (dense layer): a constant that differs is baked into the graph: "
        "`1.0` in rank 0, `1.25` in rank 2"
    )
    assert (found.where, found.code) == ("/site/vllm/layer.py:11", "x = x * self.scale")
    assert [each.record.split(": ")[1] for each in found.evidence] == ["vllm_submod_2", "vllm_submod_2"]
    assert found.seconds is None


def test_the_same_line_in_several_subgraphs_is_one_finding(tmp_path: Path) -> None:
    ranks = {rank: model(tmp_path, f"1.{rank}", f"2.{rank}") for rank in range(2)}
    assert "different graphs of submod_2 and 1 more (" in only(graph_findings(ranks)).what


def test_what_differs_by_design_is_no_finding(tmp_path: Path, compiled: list[CompiledModel]) -> None:
    assert graph_findings({0: compiled, 1: model(tmp_path, "1.25")}, ["*/layer.py"]) == []
    uneven = last_code(3).replace("bf16[8]", "bf16[7]")
    assert graph_findings({0: compiled, 1: model(tmp_path, "1.0", last=uneven)}) == []
