from __future__ import annotations

from typing import Any

import pytest

from coldwarm.catalog.layer_choice import LayerChoice, choose_layers


def chosen(config: dict[str, Any]) -> LayerChoice:
    choice = choose_layers(config)
    assert choice is not None
    return choice


def values(config: dict[str, Any]) -> dict[str, Any]:
    return {".".join(path): value for path, value in chosen(config).values.items()}


def test_a_list_with_an_entry_for_each_layer_is_cut_where_each_kind_has_occurred_twice() -> None:
    types = (["sliding"] * 5 + ["full"]) * 8
    assert values({"num_hidden_layers": 48, "layer_types": types}) == {
        "num_hidden_layers": 12,
        "layer_types": types[:12],
    }


def test_a_kind_that_occurs_once_needs_one_layer() -> None:
    types = ["dense", *["sparse"] * 46]
    assert values({"num_hidden_layers": 47, "mlp_layer_types": types})["num_hidden_layers"] == 8


def test_a_pattern_in_a_string() -> None:
    # Nemotron-H-8B: a layer is Mamba, an MLP or attention.
    pattern = "M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M*-M-M-M-M-M-"
    choice = chosen({"num_hidden_layers": 52, "hybrid_override_pattern": pattern})
    assert choice.kinds == 3
    assert choice.values["hybrid_override_pattern",] == "M-M-M-M*-M-M-M-M-M*"


def test_a_list_is_enough_without_the_number_of_layers() -> None:
    types = ["mamba", "moe"] * 20
    assert values({"layers_block_type": types}) == {"layers_block_type": types[:8]}


def test_the_layers_of_a_drafter_stay_at_the_end() -> None:
    # DeepSeek-V4
    ratios = [128, 128, 4, *[128, 4] * 20, 0]
    config = {"num_hidden_layers": 43, "compress_ratios": ratios, "num_nextn_predict_layers": 1}
    assert values(config) == {"num_hidden_layers": 8, "compress_ratios": [128, 128, 4, 128, 4, 128, 4, 128, 0]}


def test_numbers_of_layers_from_0_and_from_1() -> None:
    assert values({"num_hidden_layers": 16, "full_attn_idxs": [2, 5, 8, 10, 12, 14]}) == {
        "num_hidden_layers": 8,
        "full_attn_idxs": [2, 5],
    }
    # Kimi-Linear: one of the two lists has the last layer, so that both count from 1.
    linear = [n for n in range(1, 28) if n % 4 and n != 27]
    config = {
        "num_hidden_layers": 27,
        "linear_attn_config": {"kda_layers": linear, "full_attn_layers": [*range(4, 27, 4), 27], "num_heads": 32},
    }
    assert values(config) == {
        "num_hidden_layers": 8,
        "linear_attn_config.kda_layers": [1, 2, 3, 5, 6, 7],
        "linear_attn_config.full_attn_layers": [4, 8],
    }


def test_single_layers_are_chosen_if_kinds_are_far_apart() -> None:
    # Gemma 3n: the first 10 are sparse, the last 15 share keys and values, each fifth has full attention.
    config = {
        "num_hidden_layers": 35,
        "layer_types": (["sliding"] * 4 + ["full"]) * 7,
        "activation_sparsity_pattern": [0.95] * 10 + [0.0] * 25,
        "num_kv_shared_layers": 15,
        "per_layer_config": {"09": {"a": 1}, "34": {"a": 1}},
        "dense_layers": [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
        "moe_layer_end_index": 9,
    }
    choice = chosen(config)
    assert choice.layers == (0, 1, 4, 9, 10, 11, 14, 19, 20, 21, 24, 29, 34)
    assert values(config) == {
        "num_hidden_layers": 13,
        "layer_types": [*["sliding"] * 2, *["full"] * 2] * 3 + ["full"],
        "activation_sparsity_pattern": [0.95] * 4 + [0.0] * 9,
        "num_kv_shared_layers": 5,
        "per_layer_config": {"03": {"a": 1}, "12": {"a": 1}},
        "dense_layers": [0, 1, 2, 3],
        "moe_layer_end_index": 3,
    }


def test_a_period_is_never_broken() -> None:
    config = {"num_hidden_layers": 72, "attn_layer_period": 8, "expert_layer_period": 2}
    assert values(config) == {"num_hidden_layers": 16}
    # A kind begins late: nothing before it is left out, because each layer's number counts.
    assert choose_layers({**config, "num_kv_shared_layers": 8}) is None


def test_a_period_that_a_list_shows_asks_for_nothing_more() -> None:
    config = {"num_hidden_layers": 32, "layer_types": ["s", "s", "s", "f"] * 8, "sliding_window_pattern": 4}
    assert chosen(config).kinds == 2


def test_a_list_that_repeats_nothing_shows_no_period() -> None:
    # By the period alone, the last of 9 layers is of a kind of its own.
    pattern = "*" + "M" * 8
    config = {"num_hidden_layers": 9, "hybrid_override_pattern": pattern, "attn_layer_period": 9}
    assert choose_layers(config) is None


def test_a_period_that_published_configs_leave_out() -> None:
    assert values({"num_hidden_layers": 62, "model_type": "gemma3_text"}) == {"num_hidden_layers": 12}


def test_stacks_keep_two_layers_each() -> None:
    # HRM: 2 stacks of 16 layers, which run 8 times in all.
    assert values({"num_hidden_layers": 128, "num_layers_per_stack": 16, "H_cycles": 2, "L_cycles": 3}) == {
        "num_hidden_layers": 16,
        "num_layers_per_stack": 2,
    }


def test_windows_that_are_not_used_are_no_kind() -> None:
    config = {"num_hidden_layers": 64, "max_window_layers": 48}
    assert values({**config, "use_sliding_window": False}) == {"num_hidden_layers": 8}
    assert values({**config, "use_sliding_window": True}) == {"num_hidden_layers": 8, "max_window_layers": 6}


@pytest.mark.parametrize(
    "more",
    [
        {"rope_scaling": {"short_factor": [1.0] * 31 + [2.0]}},  # one for each rotary dimension
        {"layer_rope_theta": [float(n) for n in range(32)]},  # no two layers alike
        {"name": "x" * 31 + "y"},
        {"eos_token_id": [*range(32)]},
    ],
)
def test_lists_that_are_no_kinds(more: dict[str, Any]) -> None:
    assert chosen({"num_hidden_layers": 32, **more}).layers == tuple(range(8))


def test_few_layers_stay() -> None:
    assert choose_layers({"num_hidden_layers": 8, "layer_types": ["a"] * 8}) is None
    assert choose_layers({"hidden_size": 64}) is None
