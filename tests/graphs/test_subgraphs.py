from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.graphs.readable_code import read_graph
from coldwarm.graphs.subgraphs import CompiledModel
from tests.support.graphs import (
    FILE,
    NOON,
    RANGE,
    Compiled,
    cache_record,
    collect,
    collected,
    dump_record,
    first_code,
    graph_code,
    last_code,
    layer_code,
    model_records,
    moe_code,
    parameter,
    span,
    start_record,
    timed_trace,
)
from tests.support.traces import compiler_work_of

MIDNIGHT = 86400.0
SMALL, LARGE = (1, 64), (65, 1024)


def classes(model: CompiledModel) -> list[list[str]]:
    return [[member.start.submodule for member in one.members] for one in model.classes]


def hits(codes: Sequence[str | None], *keys: str) -> list[Compiled]:
    """Return subgraphs that hit the compiler's cache."""
    return [Compiled(code, key, outcome="hit") for code, key in zip(codes, keys, strict=True)]


def decoder() -> list[Compiled]:
    """Return a model with a first subgraph, three layers that share an artifact, and a last one."""
    return [
        Compiled(first_code(), "k0", seconds=10.0),
        Compiled(layer_code(0), "k1", seconds=4.0),
        Compiled(layer_code(1), seconds=0.25),
        Compiled(layer_code(2), seconds=0.25),
        Compiled(last_code(3), "k2", seconds=2.0),
    ]


# Groups


def test_without_a_trace_there_are_no_models(tmp_path: Path) -> None:
    assert collect(tmp_path) == []
    assert collect(tmp_path, rank_0_a="") == []


def test_subgraphs_that_share_an_artifact_are_a_group(tmp_path: Path) -> None:
    model = collected(tmp_path, *decoder())
    assert classes(model) == [["submod_0"], ["submod_2", "submod_4", "submod_6"], ["submod_8"]]
    assert [(one.key, one.bypass) for one in model.classes] == [("k0", None), ("k1", None), ("k2", None)]
    assert [each.start.index for each in model.subgraphs()] == [0, 1, 2, 3, 4]


def test_the_first_graph_of_a_group_is_stored(tmp_path: Path) -> None:
    model = collected(tmp_path, *decoder())
    assert model.classes[1].graph == read_graph(layer_code(0))


def test_a_subgraph_with_a_miss_begins_a_group(tmp_path: Path) -> None:
    model = collected(tmp_path, *(Compiled(layer_code(n), f"k{n}") for n in range(4)))
    assert classes(model) == [["submod_0"], ["submod_2"], ["submod_4"], ["submod_6"]]


def test_a_subgraph_joins_the_group_of_its_graph(tmp_path: Path) -> None:
    codes = [layer_code(0), moe_code(1), layer_code(2), moe_code(3), layer_code(4)]
    model = collected(tmp_path, *(Compiled(code, f"k{n}" if n < 2 else None) for n, code in enumerate(codes)))
    assert classes(model) == [["submod_0", "submod_4", "submod_8"], ["submod_2", "submod_6"]]


def test_graphs_that_differ_in_an_in_place_operation_are_two_groups(tmp_path: Path) -> None:
    codes = [layer_code(n, body=[f"mul *= {(2.5, 3.5)[n % 2]};  imul = mul"]) for n in range(4)]
    model = collected(tmp_path, *(Compiled(code, f"k{n}" if n < 2 else None) for n, code in enumerate(codes)))
    assert classes(model) == [["submod_0", "submod_4"], ["submod_2", "submod_6"]]


def test_a_subgraph_joins_the_group_of_its_graph_with_other_names(tmp_path: Path) -> None:
    other = layer_code(1).replace("mul", "mul_7").replace("linear_1", "linear_9")
    model = collected(tmp_path, Compiled(moe_code(), "k0"), Compiled(layer_code(), "k1"), Compiled(other))
    assert classes(model) == [["submod_0"], ["submod_2", "submod_4"]]


def test_a_subgraph_without_an_identical_earlier_one_begins_a_group(tmp_path: Path) -> None:
    [one] = collected(tmp_path, Compiled(layer_code())).classes
    assert (one.key, one.bypass, one.lowered_code) == (None, None, "")


def test_each_subgraph_with_a_bypass_is_a_group(tmp_path: Path) -> None:
    model = collected(tmp_path, *(Compiled(layer_code(n), bypass="no source") for n in range(3)))
    assert classes(model) == [["submod_0"], ["submod_2"], ["submod_4"]]
    assert {(one.key, one.bypass) for one in model.classes} == {(None, "no source")}


def test_the_first_miss_of_a_subgraph_has_its_key(tmp_path: Path) -> None:
    records = model_records(Compiled(layer_code(), "k0"))
    late = [(NOON, *cache_record("miss", key="k9")), (NOON, *cache_record("bypass", cache_bypass_reason="late"))]
    [model] = collect(tmp_path, rank_0_a=timed_trace([*records[:-1], *late, records[-1]]))
    assert [(one.key, one.bypass) for one in model.classes] == [("k0", None)]


@pytest.mark.parametrize("layer", ["fx_graph", "fx_graph_bundled"])
def test_a_miss_of_another_cache_is_ignored(tmp_path: Path, layer: str) -> None:
    records = model_records(Compiled(layer_code(0), "k0"), Compiled(layer_code(1)))
    miss = (NOON, *cache_record("miss", layer, key="k9"))
    [model] = collect(tmp_path, rank_0_a=timed_trace([*records[:-1], miss, records[-1]]))
    assert classes(model) == [["submod_0", "submod_2"]]


def test_a_subgraph_with_a_hit_joins_the_group_of_its_key(tmp_path: Path) -> None:
    codes = [layer_code(0), moe_code(1), layer_code(2), None]
    model = collected(tmp_path, *map(Compiled, codes, ["k0", "k1"]), *hits(codes[2:], "k0", "k1"))
    assert classes(model) == [["submod_0", "submod_4"], ["submod_2", "submod_6"]]


def test_a_hit_with_a_new_key_begins_a_group(tmp_path: Path) -> None:
    model = collected(tmp_path, Compiled(layer_code(0), "k0"), *hits([layer_code(1)], "k1"))
    assert [(one.key, len(one.members)) for one in model.classes] == [("k0", 1), ("k1", 1)]


@given(answers=st.lists(st.sampled_from(["miss", "bypass", "hit", "none"]), max_size=12))
def test_a_cold_start_has_as_many_groups_as_unique_subgraphs(answers: list[str]) -> None:
    subgraphs = [Compiled(layer_code(0), "k0")]
    for number, answer in enumerate(answers, start=1):
        code = layer_code(number)
        match answer:
            case "miss":
                subgraphs.append(Compiled(code, f"k{number}"))
            case "bypass":
                subgraphs.append(Compiled(code, bypass="no source"))
            case "hit":
                subgraphs += hits([code], "k0")
            case _:
                subgraphs.append(Compiled(code))
    with TemporaryDirectory() as folder:
        model = collected(Path(folder), *subgraphs)
        assert len(model.classes) == compiler_work_of(Path(folder)).subgraphs_unique
        assert sum(len(one.members) for one in model.classes) == len(subgraphs)


def test_a_group_that_begins_with_a_hit_has_its_key(tmp_path: Path) -> None:
    records = model_records(Compiled(layer_code()))
    hit = (NOON, *cache_record("hit", key="k0"))
    [model] = collect(tmp_path, rank_0_a=timed_trace([*records[:-1], hit, records[-1]]))
    assert [one.key for one in model.classes] == ["k0"]


def test_the_graph_after_aotautograd_is_stored(tmp_path: Path) -> None:
    lowered = graph_code({"arg0_1": "bf16[8][1]cpu"}, ["a = f(arg0_1)"], ["a"], expanded=True, name="<lambda>")
    [one] = collected(tmp_path, Compiled(layer_code(), "k0", lowered=lowered)).classes
    assert [(value.name, value.type) for value in one.lowered.inputs] == [("arg0_1", "bf16[8][1]cpu")]


def test_graphs_are_not_mixed_up_between_subgraphs(tmp_path: Path) -> None:
    lowered = graph_code({"arg0_1": "f32[1]"}, ["a = f(arg0_1)"], ["a"])
    model = collected(tmp_path, Compiled(first_code(), "k0", lowered=lowered), Compiled(None, "k1"))
    assert [one.lowered_code for one in model.classes] == [lowered, ""]
    assert model.classes[1].graph.operations == []


def test_only_the_dump_of_the_subgraph_itself_is_its_graph(tmp_path: Path) -> None:
    records = model_records(Compiled(layer_code(), "k0"))
    other = [(NOON, *dump_record(name, moe_code())) for name in ("vllm_submod_2", "vllm_piecewise_split_graph", "x")]
    [model] = collect(tmp_path, rank_0_a=timed_trace([*records[:-1], *other, records[-1]]))
    assert model.classes[0].graph == read_graph(layer_code())


def test_a_dump_has_its_location(tmp_path: Path) -> None:
    text = timed_trace(model_records(*decoder()))
    [model] = collect(tmp_path, rank_0_a=text)
    lines = text.split("\n")
    for each in model.subgraphs():
        assert each.dump is not None
        assert each.dump.file == FILE
        assert f'"vllm_{each.start.submodule}"' in lines[each.dump.line - 1]


@pytest.mark.parametrize("code", ["", "garbage ((", "def forward("])
def test_a_malformed_dump_is_accepted(tmp_path: Path, code: str) -> None:
    model = collected(tmp_path, Compiled(code, "k0"), Compiled(layer_code(), "k1"))
    assert classes(model) == [["submod_0"], ["submod_2"]]


# Records that do not belong to a subgraph


@pytest.mark.parametrize("ids", [{"frame_id": 7, "frame_compile_id": 0}, {"frame_id": 0, "frame_compile_id": 1}])
def test_a_nested_compile_does_not_belong_to_a_subgraph(tmp_path: Path, ids: dict[str, int]) -> None:
    records = model_records(Compiled(layer_code(0), "k0"), Compiled(layer_code(1)))
    metadata, payload = cache_record("miss", key="k9")
    dump, code = dump_record("vllm_submod_2", moe_code())
    nested = [(NOON, {**metadata, **ids}, payload), (NOON, {**dump, **ids}, code)]
    nested.append((NOON, {"aot_inference_graph": {}, "has_payload": "0f", **ids}, moe_code()))
    [model] = collect(tmp_path, rank_0_a=timed_trace([*records[:-1], *nested, records[-1]]))
    assert classes(model) == [["submod_0", "submod_2"]]
    assert model.classes[0].lowered_code == ""


def test_later_compilations_do_not_belong_to_the_model(tmp_path: Path) -> None:
    records = model_records(Compiled(layer_code(0), "k0"), Compiled(layer_code(1)))
    after = [(NOON + 3, *cache_record("miss", key="k9")), (NOON + 4, *span("vllm_backend", "E"))]
    [model] = collect(tmp_path, rank_0_a=timed_trace([*records, *after]))
    assert classes(model) == [["submod_0", "submod_2"]]


def test_records_before_the_first_subgraph_are_skipped(tmp_path: Path) -> None:
    before = [(NOON, *cache_record("miss", key="k9")), (NOON, *dump_record("vllm_submod_0", moe_code()))]
    before.append((NOON, *span("vllm_backend", "E")))
    assert collect(tmp_path, rank_0_a=timed_trace(before)) == []


@pytest.mark.parametrize("name", ["vllm_backend_inner", "backend_compile", "vllm_log_compile_start_torch_trace_only"])
def test_the_end_of_another_span_does_not_end_a_subgraph(tmp_path: Path, name: str) -> None:
    records = model_records(Compiled(layer_code(), "k0", seconds=5.0))
    records.insert(2, (NOON + 1, *span(name, "E")))
    [model] = collect(tmp_path, rank_0_a=timed_trace(records))
    assert [(one.key, one.seconds) for one in model.classes] == [("k0", 5.0)]


@pytest.mark.parametrize("rank", [1, 7, 10])
def test_other_ranks_are_ignored(tmp_path: Path, rank: int) -> None:
    text = timed_trace(model_records(*decoder()))
    [model] = collect(tmp_path, **{"rank_0_b": text, f"rank_{rank}_a": text})
    assert len(model.subgraphs()) == 5
    assert {each.start.location.file for each in model.subgraphs()} == {"dedicated_log_torch_trace_rank_0_b.log"}


def test_a_trace_without_a_rank_is_followed(tmp_path: Path) -> None:
    [model] = collect(tmp_path, a=timed_trace(model_records(*decoder())))
    assert len(model.classes) == 3


# Several models, several ranges


def test_models_are_separated(tmp_path: Path) -> None:
    records = model_records(*decoder()) + model_records(Compiled(moe_code(), "k8"), Compiled(moe_code(1)))
    language, draft = collect(tmp_path, rank_0_a=timed_trace(records))
    assert len(language.subgraphs()) == 5
    assert classes(draft) == [["submod_0", "submod_2"]]


def test_models_are_separated_without_spans(tmp_path: Path) -> None:
    records = model_records(*decoder()) + model_records(*decoder())
    models = collect(tmp_path, rank_0_a=timed_trace([each for each in records if "chromium_event" not in each[1]]))
    assert [len(model.subgraphs()) for model in models] == [5, 4]


def test_each_file_begins_a_model(tmp_path: Path) -> None:
    one, other = decoder()[:1], [Compiled(layer_code(), "k9", index=3)]
    texts = [timed_trace(model_records(*each, total=5)[1:]) for each in (one, other)]
    texts[0] = texts[0][: texts[0].rindex("V1123")] + timed_trace([(NOON + 10, *start_record(1, 5))])
    models = collect(tmp_path, rank_0_a=texts[0], rank_0_b=texts[1])
    assert [classes(model) for model in models] == [[["submod_0"]], [["submod_6"]]]


def test_a_model_does_not_take_the_dumps_of_another(tmp_path: Path) -> None:
    records = model_records(Compiled(layer_code(), "k0")) + model_records(Compiled(None, "k1"))
    models = collect(tmp_path, rank_0_a=timed_trace(records))
    assert [len(model.classes[0].graph.operations) for model in models] == [3, 0]


def test_a_subgraph_does_not_join_a_group_of_another_model(tmp_path: Path) -> None:
    records = model_records(Compiled(layer_code(0), "k0")) + model_records(Compiled(layer_code(1)))
    models = collect(tmp_path, rank_0_a=timed_trace(records))
    assert [classes(model) for model in models] == [[["submod_0"]], [["submod_0"]]]


def test_an_encoder_is_a_separate_model(tmp_path: Path) -> None:
    encoder = model_records(Compiled(moe_code(), "k8", compile_range=(1, 2**31 - 1)))
    models = collect(tmp_path, rank_0_a=timed_trace(encoder + model_records(*decoder())))
    assert [len(model.subgraphs()) for model in models] == [1, 5]


def in_ranges(subgraphs: list[Compiled], dumps_each: bool) -> list[Compiled]:
    """Return subgraphs with two compile ranges each; graphs are dumped only for the first (piecewise_backend.py)."""
    return [
        Compiled(
            each.code if dumps_each or compile_range == SMALL else None,
            each.key and f"{each.key} {compile_range}",
            compile_range=compile_range,
            index=index,
        )
        for index, each in enumerate(subgraphs)
        for compile_range in (SMALL, LARGE)
    ]


@pytest.mark.parametrize("dumps_each", [True, False])
def test_each_compile_range_has_its_groups(tmp_path: Path, dumps_each: bool) -> None:
    model = collected(tmp_path, *in_ranges(decoder(), dumps_each))
    for compile_range in (SMALL, LARGE):
        of_range = [one for one in model.classes if one.members[0].start.compile_range == compile_range]
        assert [len(one.members) for one in of_range] == [1, 3, 1]
        assert all(one.graph.operations for one in of_range)


def test_compile_ranges_are_one_model(tmp_path: Path) -> None:
    assert len(collected(tmp_path, *in_ranges(decoder(), False)).subgraphs()) == 10


# Traces that end early


@pytest.mark.parametrize("length", range(2, 15))
def test_subgraphs_before_an_early_end_are_read(tmp_path: Path, length: int) -> None:
    records = model_records(*decoder(), ends=False)
    models = collect(tmp_path, rank_0_a=timed_trace(records[:length]))
    begun = sum(
        "artifact" in metadata and "piecewise_index" in str(payload) for _, metadata, payload in records[:length]
    )
    assert [len(model.subgraphs()) for model in models] == [begun - 1]


def test_a_trace_that_ends_in_a_dump_is_read(tmp_path: Path) -> None:
    text = timed_trace(model_records(*decoder()))
    [model] = collect(tmp_path, rank_0_a=text[: text.index(parameter(3, "qkv_proj")) + 5])
    assert classes(model) == [["submod_0"], ["submod_2", "submod_4"]]


def test_a_subgraph_does_not_continue_in_the_next_file(tmp_path: Path) -> None:
    cut = timed_trace(model_records(Compiled(layer_code(0)), ends=False))
    rest = timed_trace([(NOON + 500, *cache_record("miss", key="k9")), (NOON + 500, *span("vllm_backend", "E"))])
    models = collect(tmp_path, rank_0_a=cut, rank_0_b=rest)
    assert [one for model in models for one in model.classes] == []


# Costs


def test_a_subgraph_costs_the_time_to_the_next_one(tmp_path: Path) -> None:
    model = collected(tmp_path, *decoder())
    assert [each.seconds for each in model.subgraphs()] == pytest.approx([10.0, 4.0, 0.25, 0.25, 2.0])
    assert [one.seconds for one in model.classes] == pytest.approx([10.0, 4.0, 2.0])


def test_the_last_subgraph_costs_the_time_to_the_end_of_the_backend(tmp_path: Path) -> None:
    records = model_records(Compiled(layer_code(), "k0", seconds=5.0))
    records.append((NOON + 600, *start_record(0, 1)))
    models = collect(tmp_path, rank_0_a=timed_trace(records))
    assert models[0].classes[0].seconds == pytest.approx(5.0)


@pytest.mark.parametrize("before", [0.0, 1.0, 11.0, 14.125])
def test_costs_are_measured_across_midnight(tmp_path: Path, before: float) -> None:
    [model] = collect(tmp_path, rank_0_a=timed_trace(model_records(*decoder(), clock=MIDNIGHT - before)))
    assert [each.seconds for each in model.subgraphs()] == pytest.approx([10.0, 4.0, 0.25, 0.25, 2.0])


@pytest.mark.parametrize("back", [0.001, 1.0, 3600.0], ids=["clock corrected", "one second", "end of summer time"])
def test_a_clock_that_is_set_back_costs_nothing(tmp_path: Path, back: float) -> None:
    [model] = collect(tmp_path, rank_0_a=timed_trace(model_records(Compiled(layer_code(), "k0", seconds=-back))))
    assert [each.seconds for each in model.subgraphs()] == [0.0]


def test_a_group_without_a_cost(tmp_path: Path) -> None:
    [one] = collected(tmp_path, Compiled(layer_code(), "k0", seconds=0.0)).classes
    assert one.seconds == 0.0
    assert one.members[0].start.compile_range == RANGE
