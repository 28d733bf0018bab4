from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.engines.vllm.trace_records import TRACE
from coldwarm.graphs.graph import Value
from coldwarm.measure.compiled_graphs import CompiledGraphs, layers_of
from coldwarm.trace.reader import read_trace
from tests.support.graphs import FILE, RANGE, Compiled, layer_code, model_records, timed_trace


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("l_self_modules_layers_modules_3_modules_mlp_parameters_weight_", ["modules_layers_modules_3"]),
        ("L_self_modules_layers_modules_12_modules_o_proj_cpu_linear_closure_1", ["modules_layers_modules_12"]),
        (
            "l_self_modules_cross_decoder_modules_decoder_layers_modules_2_modules_experts_modules_5_parameters_w_",
            ["modules_cross_decoder_modules_decoder_layers_modules_2"],
        ),
        # All layers share one buffer for the rotary embedding, which has the name of the first.
        ("l_self_modules_layers_modules_0_modules_rotary_emb_buffers_cos_sin_cache_", []),
        ("l_self_modules_norm_parameters_weight_", []),
        ("hidden_states_3", []),
    ],
)
def test_a_parameter_names_its_layer(name: str, layers: list[str]) -> None:
    assert layers_of([Value(name, "bf16[8, 8]")]) == layers


def test_each_layer_is_named_once_in_the_order_of_the_inputs() -> None:
    names = [f"l_self_modules_layers_modules_{n}_modules_{m}_parameters_w_" for n, m in ((1, "a"), (1, "b"), (2, "a"))]
    assert layers_of([Value(name, "") for name in names]) == ["modules_layers_modules_1", "modules_layers_modules_2"]


def test_each_model_has_the_name_that_the_engine_gives_it(tmp_path: Path) -> None:
    def compiled(layers: int) -> list[Compiled]:
        return [Compiled(layer_code(n), f"k{n}") for n in range(layers)]

    records = [
        *model_records(*compiled(3), name="backbone"),
        *model_records(*compiled(2), name="eagle_head"),
        *model_records(*compiled(1)),
        *model_records(*compiled(1), name="eagle_head"),
    ]
    (tmp_path / FILE).write_text(timed_trace(records))
    consumer = CompiledGraphs()
    read_trace(tmp_path, consumer, vocabulary=TRACE)
    assert [(each.model, each.name, len(each.groups), each.compile_range) for each in consumer.graphs()] == [
        (0, "backbone", 3, RANGE),
        (1, "eagle_head", 2, RANGE),
        (2, None, 1, RANGE),
        (3, "eagle_head", 1, RANGE),
    ]
