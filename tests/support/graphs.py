"""Readable graph code as `torch.fx.GraphModule.print_readable` writes it, and traces of piecewise compilation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coldwarm.engines.vllm.trace_records import TRACE
from coldwarm.graphs.subgraphs import CompiledModel, SubgraphCollector
from coldwarm.trace.reader import read_trace
from tests.support.traces import trace_text

RANGE = (1, 1024)
NOON = 43200.0
FILE = "dedicated_log_torch_trace_rank_0_a.log"

HIDDEN = {"output_4": "bf16[s72, 8]", "s72": "Sym(s72)"}
LAYERS = "l_self_modules_layers_modules_{}_modules_"


def comment(line: int = 7, file: str = "/site/vllm/layer.py", function: str = "forward", code: str = "x = f(x)") -> str:
    """The comment above the operations that a line of the model's code made."""
    return f"# File: {file}:{line} in {function}, code: {code}"


def graph_code(
    inputs: Mapping[str, str],
    body: Sequence[str],
    outputs: Sequence[str],
    *,
    expanded: bool = False,
    name: str = "GraphModule",
    nested: str = "",
) -> str:
    """The code of a graph; `expanded`, as AOTAutograd's dumps are, with each input and output on a line of its own."""
    arguments = [argument + (f': "{type_}"' if type_ else "") for argument, type_ in inputs.items()]
    if expanded:
        lines = [f"        {each},  # PlainAOTInput(idx={n})" for n, each in enumerate(arguments)]
        signature = ["    def forward(", "        self,", *lines, "    ):"]
        results = [f"            {each},  # PlainAOTOutput(idx={n})" for n, each in enumerate(outputs)]
        returned = ["        return (", *results, "        )"]
    else:
        signature = [f"    def forward({', '.join(['self', *arguments])}):"]
        returned = [f"        return ({', '.join(outputs)}{',' if len(outputs) == 1 else ''})"]
    lines = [f"class {name}(torch.nn.Module):", *signature, *(f"        {line}" for line in body), *returned, ""]
    inner = "\n".join(f"    {line}" if line else "" for line in nested.split("\n"))
    return "\n".join(lines) + inner


def parameter(layer: int, module: str, kind: str = "parameters_weight_") -> str:
    """The name that Dynamo gives a layer's parameter or buffer."""
    return f"{LAYERS.format(layer)}{module}_{kind}"


def layer_code(
    layer: int = 0,
    *,
    scale: str = "1.0",
    inputs: Mapping[str, str] | None = None,
    body: Sequence[str] = (),
    outputs: Sequence[str] = (),
) -> str:
    """The code of the subgraph between two layers' attention; `inputs`, `body` and `outputs` are what it has more."""
    o_proj, qkv = parameter(layer, "o_proj"), parameter(layer + 1, "qkv_proj")
    return graph_code(
        {**HIDDEN, o_proj: "bf16[8, 8]", qkv: "bf16[8, 8]", **(inputs or {})},
        [
            comment(10, code="x = self.o_proj(x)"),
            f'linear: "bf16[s72, 8]" = torch._C._nn.linear(output_4, {o_proj});  output_4 = {o_proj} = None',
            "",
            comment(11, code="x = x * self.scale"),
            f'mul: "bf16[s72, 8]" = linear * {scale};  linear = None',
            *body,
            "",
            comment(12, code="return self.qkv_proj(x)"),
            f'linear_1: "bf16[s72, 8]" = torch._C._nn.linear(mul, {qkv});  {qkv} = None',
        ],
        ["linear_1", "mul", *outputs],
    )


def moe_code(layer: int = 0) -> str:
    """The code of a subgraph with experts."""
    experts = {parameter(layer, f"mlp_modules_experts_w{n}", "weight"): "bf16[4, 8, 8]" for n in (13, 2)}
    call = f'moe: "bf16[s72, 8]" = torch.ops.vllm.moe_forward(mul, {", ".join(experts)})'
    return layer_code(layer, inputs=experts, body=["", comment(20, "/site/vllm/moe.py"), call], outputs=["moe"])


def first_code() -> str:
    """The code before the first layer's attention."""
    embedding, qkv = "l_self_modules_embed_tokens_parameters_weight_", parameter(0, "qkv_proj")
    return graph_code(
        {"l_input_ids_": "i32[s72]", "s72": "Sym(s72)", embedding: "bf16[99, 8]", qkv: "bf16[8, 8]"},
        [
            f'embedding: "bf16[s72, 8]" = torch.nn.functional.embedding(l_input_ids_, {embedding})',
            f'linear: "bf16[s72, 8]" = torch._C._nn.linear(embedding, {qkv});  {qkv} = None',
        ],
        ["linear", "embedding"],
    )


def last_code(layer: int) -> str:
    """The code after the last layer's attention."""
    o_proj, norm = parameter(layer, "o_proj"), "l_self_modules_norm_parameters_weight_"
    return graph_code(
        {**HIDDEN, o_proj: "bf16[8, 8]", norm: "bf16[8]"},
        [
            f'linear: "bf16[s72, 8]" = torch._C._nn.linear(output_4, {o_proj});  output_4 = None',
            f'mul: "bf16[s72, 8]" = linear * {norm};  linear = None',
        ],
        ["mul"],
    )


@dataclass(frozen=True)
class Compiled:
    """A subgraph as recorded in the trace."""

    code: str | None
    key: str | None = None
    """What AOTAutograd's cache was asked for; None: the artifact of an earlier subgraph was taken."""
    outcome: str = "miss"
    """What it answered."""
    bypass: str | None = None
    lowered: str | None = None
    runnable: str | None = None
    """The graph as Inductor writes it to be run again."""
    seconds: float = 1.0
    compile_range: tuple[int, int] = RANGE
    index: int | None = None
    """None: its place among those that are compiled."""


def model_records(
    *subgraphs: Compiled, total: int | None = None, ends: bool = True, clock: float = NOON, name: str | None = None
) -> list[tuple[float, dict[str, Any], str | None]]:
    """What the trace has of a model's compilation, each record with its clock; `name` is vLLM's for the model."""
    total = len(subgraphs) if total is None else total
    records: list[tuple[float, dict[str, Any], str | None]] = [(clock, *span("vllm_backend", "B"))]
    if name is not None:
        artifact = {"name": "vllm_compilation_config", "encoding": "json"}
        records.append((clock, {"artifact": artifact, "has_payload": "0f"}, json.dumps({"prefix": name})))
    for place, each in enumerate(subgraphs):
        index = place if each.index is None else each.index
        records.append((clock, *start_record(index, total, each.compile_range)))
        if each.code is not None:
            records.append((clock, *dump_record(f"vllm_submod_{2 * index}", each.code)))
        if each.key is not None:
            records.append((clock, *cache_record(each.outcome, key=each.key)))
        if each.bypass is not None:
            records.append((clock, *cache_record("bypass", cache_bypass_reason=each.bypass)))
        if each.lowered is not None:
            records.append((clock, {"aot_inference_graph": {}, "has_payload": "0f"}, each.lowered))
        if each.runnable is not None:
            artifact = {"name": "fx_graph_runnable", "encoding": "string"}
            records.append((clock, {"artifact": artifact, "has_payload": "0f"}, each.runnable))
        clock += each.seconds
    return [*records, (clock, *span("vllm_backend", "E"))] if ends else records


def start_record(
    index: int, total: int, compile_range: tuple[int, int] = RANGE, **ids: int
) -> tuple[dict[str, Any], str]:
    """vLLM's record of a subgraph that it hands to the compiler."""
    content = {
        "piecewise_index": index,
        "submod_name": f"submod_{2 * index}",
        "total_piecewise_compiles": total,
        "compile_range_start": compile_range[0],
        "compile_range_end": compile_range[1],
    }
    metadata = {"artifact": {"name": "vllm_piecewise_compile_start", "encoding": "json"}, "has_payload": "0f", **ids}
    return metadata, json.dumps(content)


def dump_record(name: str, code: str) -> tuple[dict[str, Any], str]:
    """A dump of a graph."""
    return {"graph_dump": {"name": name}, "has_payload": "0f"}, code


def cache_record(outcome: str, layer: str = "aotautograd", **content: str | None) -> tuple[dict[str, Any], str]:
    """What a cache of the compiler answered."""
    artifact = {"name": f"{layer}_cache_{outcome}", "encoding": "json"}
    return {"artifact": artifact, "has_payload": "0f"}, json.dumps(content)


def span(name: str, edge: str) -> tuple[dict[str, Any], str]:
    """The beginning (``B``) or the end (``E``) of a span."""
    return {"chromium_event": {}, "has_payload": "0f"}, json.dumps({"name": name, "ph": edge, "ts": 1.0})


def timed_trace(records: Sequence[tuple[float, dict[str, Any], str | None]]) -> str:
    """The text of a trace whose records have clocks, in seconds since midnight."""
    text = []
    for clock, metadata, payload in records:
        minutes, seconds = divmod(clock % 86400, 60)
        stamp = f"{int(minutes) // 60:02}:{int(minutes) % 60:02}:{seconds:09.6f}"
        text.append(trace_text((metadata, payload)).replace("12:00:00.123456", stamp, 1))
    return "".join(text)


def collect(folder: Path, **files: str) -> list[CompiledModel]:
    """Return the models in traces, by the part of the file name that identifies the process (``rank_0_a``)."""
    for name, text in files.items():
        (folder / f"dedicated_log_torch_trace_{name}.log").write_text(text, encoding="utf-8")
    collector = SubgraphCollector()
    read_trace(folder, collector, vocabulary=TRACE)
    return collector.models


def collected(folder: Path, *subgraphs: Compiled) -> CompiledModel:
    """The only model of a trace."""
    [model] = collect(folder, rank_0_a=timed_trace(model_records(*subgraphs)))
    return model
