"""Suites that reports are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.case import Case
from coldwarm.core.compiler_work import CompiledGraph, SubgraphGroup
from coldwarm.core.finding import Evidence, FindingKind
from coldwarm.core.phases import Phase, Step
from coldwarm.core.record import Failure, Message, Outcome, ProcessReport, StartKind
from coldwarm.diagnose.cache_layers import CacheLayer
from coldwarm.diagnose.compared_graphs import ComparedGraphs, ComparedLine, ComparedSide, SourceLine
from coldwarm.diagnose.explanation import Explanation
from coldwarm.diagnose.sharing import ClassReport
from coldwarm.report.summary import SuiteSummary
from coldwarm.suite.result import RunResult
from coldwarm.suite.stored import judge_stored
from tests.support.commands import ROOT
from tests.support.explanations import finding
from tests.support.records import cold_record, compiler_work, kernel_event, kernel_events, model_entry, warm_record
from tests.support.runs import result_of

H200 = ROOT / "records" / "h200-2026-11-29-vllm-0.33"
BEGAN = cold_record().began.timestamp()


def stored_suite(folder: Path = H200) -> SuiteSummary:
    """Return a suite of real runs."""
    return SuiteSummary.of(judge_stored(folder, Catalog.read()))


def explained(**fields: object) -> Explanation:
    """Return the explanation of a model whose third subgraph of five is not shared; `fields` override its own."""
    names = [["submod_0"], ["submod_2", "submod_6"], ["submod_4"], ["submod_8"]]
    values = {
        "models": [
            [
                ClassReport(name=name, submodules=each, seconds=2.0, key=None)
                for name, each in zip(("first", "dense layer", "dense layer", "last"), names, strict=True)
            ]
        ],
        "findings": [
            finding(
                kind=FindingKind.NOT_SHARED,
                what="3 subgraphs (dense layer) compiled to 2 artifacts instead of 1: a constant",
            )
        ],
        "compared_graphs": [pair()],
        "layers": [CacheLayer(name="FX graph", cold=None, warm=None)],
        **fields,
    }
    return Explanation.model_validate(values)


def pair(text: str = "mul = linear * 0.5", **fields: object) -> ComparedGraphs:
    """Return the graphs of the subgraph that is not shared, with `text` as its different line."""
    same = [ComparedLine(one=ComparedSide(text=f"a{n}"), other=ComparedSide(text=f"b{n}")) for n in range(12)]
    different = ComparedLine(
        one=ComparedSide(text=text, marks=[(0, 3)]),
        other=ComparedSide(text="mul = linear * 1.0"),
        differs=True,
        source=0,
    )
    values = {
        "model": 0,
        "part": "dense layer",
        "one": "submod_4",
        "other": "submod_2",
        "lines": [*same, different, ComparedLine(other=ComparedSide(text="extra = f(x)"), differs=True)],
        "sources": [SourceLine(where="/venv/lib/site-packages/vllm/layer.py:11", code="x = x * self.scale")],
        **fields,
    }
    return ComparedGraphs.model_validate(values)


def graphs(rank: int = 0) -> CompiledGraph:
    """Return the compiled graph of the same model."""
    layers = "modules_layers_modules_{}"
    groups = [
        SubgraphGroup(submodules=["submod_0"], part=0, layers=[[layers.format(0)]]),
        SubgraphGroup(
            submodules=["submod_2", "submod_6"],
            part=1,
            layers=[[layers.format(n), layers.format(n + 1)] for n in (0, 2)],
        ),
        SubgraphGroup(submodules=["submod_4"], part=1, layers=[[layers.format(1), layers.format(2)]]),
        SubgraphGroup(submodules=["submod_8"], part=2, layers=[[layers.format(3)]]),
    ]
    return CompiledGraph(rank=rank, model=0, name="backbone", compile_range=(1, 64), groups=groups)


def not_shared(name: str = "apart", explanation: Explanation | None = None) -> RunResult:
    """Return the run of a model whose third subgraph of five is not shared."""
    cold = cold_record(
        compiler_work=compiler_work(graphs=[graphs()], subgraphs_unique=4),
        phases=[Phase(name="import", seconds=2.0), Phase(name="Dynamo", seconds=10.5)],
        steps=[Step(name="import", begin=BEGAN, end=BEGAN + 2), Step(name="compile", begin=BEGAN + 2, end=BEGAN + 12)],
        kernels=kernel_events(kernel_event(begin=BEGAN + 11)),
    )
    result = result_of(model_entry(id=name), cold, warm_record(phases=[Phase(name="import", seconds=12.5)]))
    return replace(result, explanation=explained() if explanation is None else explanation)


def hostile(text: str) -> RunResult:
    """Return a run in which everything that a model, a log or a trace could contain is `text`."""
    cold = cold_record(
        environment={"VLLM_X": text},
        phases=[Phase(name=text, seconds=12.5)],
        steps=[Step(name=text, begin=BEGAN, end=BEGAN + 12)],
        messages=[Message(logger=text, level="WARNING", text=text)],
        kernels=kernel_events(kernel_event(begin=BEGAN + 1, kernel=text)),
        compiler_work=compiler_work(graphs=[graphs().model_copy(update={"name": text})]),
        processes=[
            ProcessReport(pid=1, rank=0, role=text, kernels=kernel_events(kernel_event(begin=BEGAN + 1, kernel=text)))
        ],
    )
    crash = Failure(what=text, phase=text, exception=text, log_tail=[text, text])
    warm = warm_record(outcome=Outcome.CRASHED, facts=None, compiler_work=None, failure=crash)
    found = finding(
        kind=FindingKind.NOT_SHARED,
        what=f"3 subgraphs ({text}) compiled to 2 artifacts: {text}",
        where=text,
        code=text,
        details=[text],
        evidence=[Evidence(file=text, record=text)],
        start=StartKind.COLD,
        next=text,
        changed={"group": text, "name": text, "cold": text, "warm": None},
    )
    explanation = explained(
        findings=[found],
        notes=[text],
        compared_graphs=[pair(text, part=text, sources=[SourceLine(where=text, code=text)])],
    )
    return replace(
        _renamed(result_of(model_entry(id="hostile", name="Hostile"), cold, warm), text), explanation=explanation
    )


def _renamed(result: RunResult, name: str) -> RunResult:
    # An entry refuses such an id; a record from elsewhere may have it.
    entry = result.case.entry.model_copy(update={"id": name})
    case: Case = result.case.model_copy(update={"entry": entry, "argument": name})
    return replace(result, case=case)
