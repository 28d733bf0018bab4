from __future__ import annotations

import io

import pytest
from rich.console import Console

from coldwarm.core.compiler_work import CompiledFunction, CompilerWork
from coldwarm.core.finding import FindingKind
from coldwarm.core.phases import Phase
from coldwarm.core.record import StartKind
from coldwarm.core.stats import LayerCounts
from coldwarm.diagnose.cache_layers import CacheLayer
from coldwarm.diagnose.compilers import CompilerCell, CompilerRow, KernelCell, KernelRow
from coldwarm.diagnose.explanation import Explanation
from coldwarm.diagnose.sharing import ClassReport
from coldwarm.report.explanation_view import print_explanation
from coldwarm.report.findings import finding_lines, short_lines
from coldwarm.suite.result import RunResult
from tests.support.explanations import STAGES, finding
from tests.support.records import cold_record, compiler_work, model_entry, warm_record
from tests.support.runs import crashed, known, passed, result_of

MARKUP = "[bold] [/x] :warning: [link=http://x]a.py:100[/link]"


def shown(explanation: Explanation | None = None, result: RunResult | None = None, *, width: int = 200) -> str:
    file = io.StringIO()
    # Like `coldwarm.report.console.PlainConsole`, but of any width.
    console = Console(file=file, width=width, markup=False, emoji=False, highlight=False, color_system=None)
    print_explanation(console, result or passed(), explanation or Explanation())
    return file.getvalue()


def rows(text: str, title: str) -> list[list[str]]:
    """Return the cells of the table below `title`."""
    table = text.split(f"\n{title}\n")[1].split("\n\n")[0]
    return [line.split() for line in table.splitlines()]


def layer(name: str, cold: LayerCounts | None, warm: LayerCounts | None) -> CacheLayer:
    return CacheLayer(name=name, cold=cold, warm=warm)


def one_class(name: str, *submodules: str, seconds: float = 1.0) -> ClassReport:
    return ClassReport(name=name, submodules=list(submodules), seconds=seconds, key=None)


def test_the_first_line_names_the_run_and_its_status() -> None:
    assert shown(result=known()).splitlines()[0] == "known on vllm, cpu, piecewise: known issue"


def test_the_first_line_has_the_engine_the_device_and_the_compilation() -> None:
    assert shown().split()[:6] == ["passes", "on", "vllm,", "cpu,", "piecewise:", "passed"]


def test_the_functions_of_a_command_are_listed_by_name() -> None:
    def work(*functions: CompiledFunction) -> CompilerWork:
        return compiler_work(functions=list(functions))

    first = CompiledFunction(rank=0, name="first (f.py:1)", missed=["a"], seconds=1.5)
    gone = CompiledFunction(rank=0, name="gone (f.py:2)", bypassed=2)
    again = CompiledFunction(rank=0, name="first (f.py:1)", loaded=["a"])
    for command, listed in ((["program"], True), ([], False)):
        records = (
            cold_record(command=command, compiler_work=work(first, gone)),
            warm_record(command=command, compiler_work=work(again)),
        )
        text = shown(result=result_of(model_entry(), *records))
        title = "Functions given to torch.compile, compiled / loaded"
        assert (title in text) == listed
        if listed:
            assert rows(text, title)[1:] == [
                ["first", "(f.py:1)", "0", "1", "/", "0", "1.5", "0", "/", "1"],
                ["gone", "(f.py:2)", "0", "2", "/", "0"],
            ]


def test_a_run_without_data_has_no_tables() -> None:
    lines = shown(result=result_of(model_entry(), None, None)).splitlines()
    assert lines[1:] == ["", "No findings", ""]


def test_the_time_of_each_phase_is_shown_for_both_starts() -> None:
    cold = cold_record(phases=[Phase(name="import", seconds=6.96), Phase(name="Dynamo", seconds=3)], seconds=9.96)
    warm = warm_record(phases=[Phase(name="import", seconds=7), Phase(name="cache load", seconds=0.04)], seconds=7.04)
    assert rows(shown(result=result_of(model_entry(), cold, warm)), "Where the time went, in seconds") == [
        ["phase", "cold", "warm"],
        ["import", "7.0", "7.0"],
        ["Dynamo", "3.0"],
        ["cache", "load", "0.0"],
        ["total", "10.0", "7.0"],
    ]


def test_a_start_that_was_not_run_has_an_empty_column() -> None:
    result = crashed(phases=[Phase(name="import", seconds=2)], seconds=2.0)
    assert rows(shown(result=result), "Where the time went, in seconds")[1:] == [["import", "2.0"], ["total", "2.0"]]


def test_groups_are_shown_with_their_subgraphs_and_cost() -> None:
    text = shown(
        Explanation(
            models=[
                [
                    one_class("first", "submod_0", seconds=14.46),
                    one_class("dense layer", *(f"submod_{number}" for number in range(2, 14, 2)), seconds=3.8),
                ],
                [one_class("whole model", "submod_0", "submod_1", "submod_2", "submod_3")],
            ]
        )
    )
    first, second = text.split("\nSubgraphs that share an artifact\n")[1:]
    lines = [line.rstrip() for line in first.splitlines()]
    assert lines[0] == "group        subgraphs  compile time, s  submodules"
    assert lines[1].split() == ["first", "1", "14.5", "submod_0"]
    assert lines[2].endswith("3.8  submod_2, submod_4, submod_6, submod_8 and 2 more")
    assert "more" not in second


@pytest.mark.parametrize(("count", "end"), [(4, "submod_3"), (5, "submod_3 and 1 more")])
def test_four_subgraphs_are_named_and_the_rest_counted(count: int, end: str) -> None:
    one = one_class("first", *(f"submod_{number}" for number in range(count)))
    assert any(line.rstrip().endswith(end) for line in shown(Explanation(models=[[one]])).splitlines())


def test_names_are_on_the_left_and_numbers_on_the_right() -> None:
    layers = [layer("FX graph", LayerCounts(), None), layer("AOTAutograd", LayerCounts(misses=100), None)]
    lines = shown(Explanation(layers=layers)).split("misses\n")[1].splitlines()[:3]
    assert [line.rstrip() for line in lines] == [
        "layer           cold  warm",
        "FX graph       0 / 0",
        "AOTAutograd  0 / 100",
    ]


def test_cache_layers_are_shown_as_hits_and_misses() -> None:
    layers = [
        layer("vLLM, artifacts", LayerCounts(hits=0, misses=3), LayerCounts(hits=3)),
        layer("FX graph", LayerCounts(hits=1, misses=2, bypasses=4), None),
    ]
    assert rows(shown(Explanation(layers=layers)), "Caches, hits / misses") == [
        ["layer", "cold", "warm"],
        ["vLLM,", "artifacts", "0", "/", "3", "3", "/", "0"],
        ["FX", "graph", "1", "/", "2,", "4", "bypassed"],
    ]


def test_uncounted_and_disabled_caches_are_not_printed_as_0() -> None:
    layers = [
        layer("off", LayerCounts(hits=0, misses=3, is_off=True), LayerCounts(hits=0, misses=0, is_off=True)),
        layer("unknown", LayerCounts(hits=None, misses=None), LayerCounts(hits=2, misses=None)),
    ]
    assert rows(shown(Explanation(layers=layers)), "Caches, hits / misses")[1:] == [
        ["off", "cache", "off,", "3", "needed", "cache", "off"],
        ["unknown", "not", "counted", "2", "/", "not", "counted"],
    ]


@pytest.mark.parametrize(("count", "heading"), [(0, "No findings"), (1, "1 finding"), (12, "12 findings")])
def test_findings_are_counted_and_numbered(count: int, heading: str) -> None:
    lines = shown(Explanation(findings=[finding()] * count)).splitlines()
    assert heading in lines
    assert [line.split(".")[0] for line in lines if "key changed, warm" in line] == [
        str(number) for number in range(1, count + 1)
    ]


def test_a_shared_cost_is_printed_once() -> None:
    findings = [finding(what="A"), finding(what="B", seconds=None, shares_cost=True)]
    lines = short_lines(findings)
    assert [line for line in lines if line.startswith("why")] == [
        "why: A (18.9 s per warm start)",
        "why: B (same recompilation as above; its cost is counted there)",
    ]


def test_a_finding_is_printed_in_full() -> None:
    assert finding_lines(finding()) == [
        "key changed, warm: the key is another one (18.9 s per warm start)",
        "location: model.py:7: x = y",
        "seed: 0 -> 1",
        "evidence: warm.keys.json: config.model: seed = 1",
        "possible fix: keep it",
    ]
    assert "\n   ".join(["1. " + finding_lines(finding())[0], *finding_lines(finding())[1:]]) in shown(
        Explanation(findings=[finding()])
    )


def test_missing_parts_of_a_finding_are_not_printed() -> None:
    bare = finding(where=None, code=None, details=[], evidence=[], seconds=None, next=None)
    assert finding_lines(bare) == ["key changed, warm: the key is another one"]
    assert finding_lines(finding(code=None, details=[], evidence=[], next=None))[1:] == ["location: model.py:7"]


def test_a_cost_of_zero_is_printed() -> None:
    assert finding_lines(finding(seconds=0.0))[0].endswith("(0.0 s per warm start)")


def test_short_lines_omit_findings_on_the_machine() -> None:
    assert short_lines([finding(kind=FindingKind.IMPORTED_FROM_SOURCE)]) == []


def test_short_lines_have_the_message_and_the_location() -> None:
    cold = finding(kind=FindingKind.NOT_SHARED, start=StartKind.COLD, code=None)
    assert short_lines([finding(), cold, finding(where=None, seconds=None)]) == [
        "why: the key is another one (18.9 s per warm start)",
        "     at model.py:7: x = y",
        "why: the key is another one (18.9 s per cold start)",
        "     at model.py:7",
        "why: the key is another one",
    ]
    assert short_lines([]) == []


def test_each_short_line_is_one_line() -> None:
    lines = short_lines([finding(what="the variable X changed: a\nb cold, c warm", where=None)])
    assert [line for line in lines if "\n" in line] == []


def test_notes_are_printed() -> None:
    assert "note: warm.trace contains no trace\n" in shown(Explanation(notes=["warm.trace contains no trace"]))


@pytest.mark.parametrize("field", ["what", "where", "code", "next"])
def test_text_of_a_finding_is_shown_literally(field: str) -> None:
    assert MARKUP in shown(Explanation(findings=[finding(**{field: MARKUP})]))


def test_all_text_is_shown_literally() -> None:
    explanation = Explanation(
        models=[[one_class(f"class {MARKUP}", f"submod {MARKUP}")]],
        layers=[layer(f"layer {MARKUP}", LayerCounts(), None)],
        findings=[finding(details=[f"detail {MARKUP}"], evidence=[{"file": f"file {MARKUP}", "record": "r"}])],
        notes=[f"note {MARKUP}"],
    )
    result = result_of(model_entry(), cold_record(phases=[Phase(name=f"phase {MARKUP}", seconds=1)]), None)
    text = shown(explanation, result)
    for what in ("class", "submod", "layer", "detail", "file", "note", "phase"):
        assert f"{what} {MARKUP}" in text


def test_a_detail_is_printed_on_one_line() -> None:
    assert "\n   first second\n" in shown(Explanation(findings=[finding(details=["first\nsecond"])]))


def test_long_lines_of_findings_are_not_broken() -> None:
    long = "word " * 60 + "end"
    text = shown(Explanation(findings=[finding(what=long, details=[long])], notes=[long]), width=40)
    assert text.count(long) == 3


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_narrow_terminal_shows_all_names_and_numbers(width: int) -> None:
    explanation = Explanation(
        models=[[one_class("dense layer", *(f"submod_{n}" for n in range(0, 14, 2)), seconds=103.8)]],
        layers=[layer("vLLM, whole function", LayerCounts(hits=12, misses=34), LayerCounts(hits=56, misses=78))],
    )
    result = result_of(model_entry(), cold_record(phases=STAGES), warm_record(phases=STAGES))
    text = shown(explanation, result, width=width)
    assert all(len(line) <= width for line in text.splitlines() if "on vllm" not in line)
    for expected in ("C++/Triton compilation", "10.5", "vLLM, whole function", "12 / 34", "56 / 78", "dense layer"):
        assert expected in text
    assert {"103.8", "submod_0,", "submod_6"} <= set(text.split())


def test_compilers_are_shown_for_both_starts() -> None:
    compilers = [
        CompilerRow(
            compiler="torch.compile",
            cold=CompilerCell(compiled=3, loaded=0, seconds=29.96),
            warm=CompilerCell(compiled=0, loaded=3, seconds=None),
        ),
        CompilerRow(compiler="CuTe DSL", cold=CompilerCell(compiled=64, loaded=0, listed=2, seconds=30.6), warm=None),
    ]
    assert rows(shown(Explanation(compilers=compilers)), "Compilers, compiled / loaded") == [
        ["compiler", "cold", "cold", "s", "warm", "warm", "s"],
        ["torch.compile", "3", "/", "0", "30.0", "0", "/", "3"],
        ["CuTe", "DSL", "64", "/", "0,", "2", "listed", "30.6"],
    ]


def test_the_slowest_kernels_are_shown_with_keys_and_seconds() -> None:
    kernels = [
        KernelRow(
            compiler="CuTe DSL",
            kernel="LL\x1b[1mGemm",
            cold=KernelCell(keys=64, seconds=30.6),
            warm=KernelCell(keys=64, seconds=None),
        ),
        KernelRow(compiler="Triton", kernel=MARKUP, cold=None, warm=KernelCell(keys=1, seconds=0.04)),
    ]
    text = shown(Explanation(kernels=kernels))
    table = rows(text, "Slowest kernels")
    assert table[0] == ["kernel", "compiler", "cold", "keys", "cold", "s", "warm", "keys", "warm", "s"]
    assert table[1] == ["LLGemm", "CuTe", "DSL", "64", "30.6", "64"]
    assert table[2][-3:] == ["Triton", "1", "0.0"]
    assert MARKUP in text
