from __future__ import annotations

import copy
import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coldwarm.catalog.shrinking import merged, shrink_by_rule


def shrunk(config: dict[str, Any], *, widths: bool = True) -> dict[str, Any]:
    for shrink in shrink_by_rule(config, widths=widths):
        config = merged(config, shrink.overrides)
    return config


def changed(config: dict[str, Any]) -> dict[str, Any]:
    """Return what differs in the shrunk config, without lists that have an entry for each layer."""
    return {key: value for key, value in shrunk(config).items() if value != config[key]}


DEEPSEEK_V3 = {
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_attention_heads": 128,
    "num_key_value_heads": 128,
    "n_routed_experts": 256,
    "num_experts_per_tok": 8,
    "n_group": 8,
    "topk_group": 4,
    "first_k_dense_replace": 3,
    "num_nextn_predict_layers": 1,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "vocab_size": 129280,
    "quantization_config": {"quant_method": "fp8", "weight_block_size": [128, 128]},
}


def test_a_mixture_of_experts_keeps_its_relations() -> None:
    assert changed(DEEPSEEK_V3) == {
        "num_hidden_layers": 8,
        "n_routed_experts": 16,  # two in each of 8 groups, of which 4 are chosen
        "hidden_size": 896,  # 1/8: with 1/16, it would not consist of whole blocks
        "intermediate_size": 2304,
        "moe_intermediate_size": 256,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
    }


def test_blocks_are_whole_only_if_there_are_any() -> None:
    config = {key: value for key, value in DEEPSEEK_V3.items() if key != "quantization_config"}
    assert changed(config)["hidden_size"] == 448


def test_quantized_blocks_consist_of_whole_heads() -> None:
    # 8 heads of 80 values are 5 blocks.
    config = {
        "num_hidden_layers": 2,
        "hidden_size": 4096,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 80,
    }
    assert changed(config)["num_attention_heads"] == 2
    quantized = changed({**config, "quantization_config": {"weight_block_size": [128, 128]}})
    assert (quantized["num_attention_heads"], quantized["num_key_value_heads"]) == (8, 8)


def test_key_value_heads_divide_the_heads() -> None:
    # 40 and 128 heads have 8 as their divisor: half of the 5 heads that remain would be 2.
    config = {
        "num_hidden_layers": 2,
        "hidden_size": 4480,
        "num_attention_heads": 40,
        "num_key_value_heads": 20,
        "head_dim": 128,
        "mamba_num_heads": 128,
    }
    small = changed(config)
    assert (small["num_attention_heads"], small["num_key_value_heads"]) == (5, 1)


@pytest.mark.parametrize(("per_token", "experts"), [(1, 8), (4, 8), (6, 16), (10, 32), (33, 128)])
def test_a_token_leaves_half_of_the_experts_out(per_token: int, experts: int) -> None:
    config = {"num_experts": 512, "num_experts_per_tok": per_token}
    assert changed(config) == {"num_experts": experts}


def test_a_language_model_may_be_quantized_by_itself() -> None:
    small = shrunk({"text_config": DEEPSEEK_V3, "vision_config": {"vt_num_hidden_layers": 27}})
    assert small["text_config"] == shrunk(DEEPSEEK_V3)
    assert small["vision_config"] == {"vt_num_hidden_layers": 4}


def test_without_widths_only_layers_and_experts_are_fewer() -> None:
    small = shrunk(DEEPSEEK_V3, widths=False)
    assert small == {**DEEPSEEK_V3, "num_hidden_layers": 8, "n_routed_experts": 16}


def test_the_size_of_a_head_is_free_of_the_hidden_size() -> None:
    # gpt-oss: 45 values for each head, so that no fraction of both is aligned.
    config = {
        "num_hidden_layers": 2,
        "hidden_size": 2880,
        "intermediate_size": 2880,
        "num_attention_heads": 64,
        "num_key_value_heads": 8,
        "head_dim": 64,
    }
    assert changed(config) == {
        "hidden_size": 256,
        "intermediate_size": 256,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
    }
    del config["head_dim"]
    assert shrunk(config) == config, "the size of a head would change"


HYBRID = {
    "num_hidden_layers": 2,
    "hidden_size": 4096,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "mamba_n_heads": 128,
    "mamba_d_head": 64,
    "mamba_expand": 2,
    "mamba_n_groups": 16,
    "mamba_d_state": 256,
    "linear_attn_config": {"num_heads": 32, "head_dim": 128},
}


def test_heads_of_mamba_and_of_linear_attention_shrink_with_the_hidden_size() -> None:
    assert changed(HYBRID) == {
        "hidden_size": 256,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "mamba_n_heads": 8,  # 8 * 64 == 2 * 256
        "mamba_n_groups": 8,
        "linear_attn_config": {"num_heads": 2, "head_dim": 128},
    }


def test_heads_of_mamba_can_be_free_of_the_hidden_size() -> None:
    # Nemotron-3-Nano-30B: 84 values for each head.
    config = {
        "num_hidden_layers": 2,
        "hidden_size": 2688,
        "num_attention_heads": 32,
        "head_dim": 128,
        "mamba_num_heads": 64,
        "mamba_head_dim": 64,
        "expand": 2,
        "n_groups": 8,
    }
    assert changed(config) == {"hidden_size": 256, "num_attention_heads": 2, "mamba_num_heads": 4, "n_groups": 4}
    tied = {**config, "mamba_num_heads": 84}
    assert shrunk(tied) == tied


def test_a_multimodal_config_keeps_its_class_and_its_parts_fit_together() -> None:
    config = {
        "architectures": ["SomeForConditionalGeneration"],
        "hidden_size": 4096,  # a copy
        "text_config": {"num_hidden_layers": 36, "hidden_size": 4096, "num_attention_heads": 32, "head_dim": 128},
        "vision_config": {
            "depth": 27,
            "hidden_size": 1152,
            "out_hidden_size": 4096,
            "num_heads": 16,
            "deepstack_visual_indexes": [8, 16, 24],
        },
    }
    small = shrunk(config)
    assert small["architectures"] == config["architectures"]
    assert small["hidden_size"] == small["text_config"]["hidden_size"] == 256
    assert small["text_config"] == {
        "num_hidden_layers": 8,
        "hidden_size": 256,
        "num_attention_heads": 2,
        "head_dim": 128,
    }
    assert small["vision_config"] == {
        "depth": 17,  # up to the second of these layers
        "hidden_size": 1152,
        "out_hidden_size": 256,
        "num_heads": 16,
        "deepstack_visual_indexes": [8, 16],
    }


@pytest.mark.parametrize("value", ["7168", None, 7168.0, True, [], {"size": 7168}])
def test_a_size_that_is_not_a_number_stays(value: object) -> None:
    config = {"num_hidden_layers": 32, "hidden_size": value, "num_attention_heads": 32}
    assert shrunk(config) == {**config, "num_hidden_layers": 8}


def test_a_small_config_is_not_changed() -> None:
    assert shrink_by_rule({"num_hidden_layers": 8, "hidden_size": 1024, "num_attention_heads": 16}) == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 10**6) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KEYS = st.sampled_from(
    [
        *DEEPSEEK_V3,
        *HYBRID,
        *("layers_block_type", "hybrid_override_pattern", "layer_types", "full_attn_idxs", "per_layer_config"),
        *("num_kv_shared_layers", "moe_layer_end_index", "full_attention_interval", "sliding_window_pattern"),
        *("zero_expert_num", "text_config", "vision_config", "out_hidden_size", "group_size", "weight_block_size"),
    ]
)


@given(st.recursive(st.dictionaries(KEYS, JSON, max_size=8), lambda inner: st.dictionaries(KEYS, inner | JSON)))
def test_anything_is_shrunk_without_an_error(config: dict[str, Any]) -> None:
    before = copy.deepcopy(config)
    shrink_by_rule(config)
    assert config == before


LISTS = ("layer_types", "hybrid_override_pattern", "sliding_windows")


@st.composite
def published(draw: st.DrawFn) -> dict[str, Any]:
    """Return a config as models have it: with several kinds of layers, and sizes that fit together."""
    depth = draw(st.integers(1, 60))
    heads = draw(st.sampled_from([1, 8, 20, 32, 48, 64, 71, 96, 128]))
    head_dim = draw(st.sampled_from([64, 80, 96, 128, 192, 256]))
    kv_heads = draw(st.sampled_from([n for n in (1, 2, 4, 8, heads) if heads % n == 0]))
    groups = draw(st.sampled_from([1, 4, 8]))
    chosen_groups = draw(st.integers(1, groups))
    experts = groups * draw(st.sampled_from([2, 8, 16, 60, 64]))
    mamba_heads = draw(st.sampled_from([1, 2, 4])) * heads
    config: dict[str, Any] = {
        "num_hidden_layers": depth,
        "hidden_size": heads * head_dim,
        "intermediate_size": draw(st.integers(1, 300)) * 128,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "mamba_n_heads": mamba_heads,
        "mamba_d_head": head_dim,
        "mamba_expand": mamba_heads // heads,
        "mamba_n_groups": draw(st.sampled_from([1, mamba_heads])),
        "num_experts": experts,
        "num_experts_per_tok": draw(st.integers(1, experts // groups * chosen_groups)),
        "n_group": groups,
        "topk_group": chosen_groups,
    }
    if draw(st.booleans()):
        config["head_dim"] = head_dim
    period = draw(st.integers(1, 12))
    for key, value in {
        "layer_types": [("full" if layer % period == period - 1 else "sliding") for layer in range(depth)],
        "hybrid_override_pattern": "".join(draw(st.lists(st.sampled_from("M*-E"), min_size=depth, max_size=depth))),
        "first_k_dense_replace": draw(st.integers(0, depth)),
        "num_kv_shared_layers": draw(st.integers(0, depth)),
        "no_rope_layer_interval": draw(st.integers(0, min(12, depth))),
        "full_attn_idxs": sorted(draw(st.sets(st.integers(0, depth - 1)))),
        "sliding_windows": draw(st.lists(st.sampled_from([None, 128]), min_size=depth, max_size=depth)),
    }.items():
        if draw(st.booleans()):
            config[key] = value
    if "no_rope_layer_interval" in config:
        for key in LISTS:  # if one of them has this period, the engine goes by the list
            config.pop(key, None)
    return config


def kinds_of(config: dict[str, Any]) -> Counter[str]:
    """Count the layers of each kind, as the engine distinguishes them."""
    depth = config["num_hidden_layers"]

    def kind(layer: int) -> str:
        differences = [
            [config[key][layer] for key in LISTS if key in config],
            layer < config.get("first_k_dense_replace", 0),
            layer >= depth - config.get("num_kv_shared_layers", 0),
            layer in config.get("full_attn_idxs", []),
            layer % (config.get("no_rope_layer_interval") or 1),
        ]
        return json.dumps(differences)

    return Counter(kind(layer) for layer in range(depth))


@settings(deadline=None)
@given(published())
def test_every_kind_of_layer_is_kept_at_least_twice(config: dict[str, Any]) -> None:
    small = shrunk(config)
    all_kinds, kept = kinds_of(config), kinds_of(small)
    assert kept.keys() == all_kinds.keys()
    assert all(kept[kind] >= min(2, number) for kind, number in all_kinds.items())
    assert small["num_hidden_layers"] >= min(8, config["num_hidden_layers"])
    for key in LISTS:
        assert len(small.get(key, [])) in (0, small["num_hidden_layers"])


@settings(deadline=None)
@given(published())
def test_sizes_still_fit_together_and_none_grows(config: dict[str, Any]) -> None:
    small = shrunk(config)
    for key, value in config.items():
        assert not isinstance(value, int) or small[key] <= value
    heads, kv_heads = small["num_attention_heads"], small["num_key_value_heads"]
    assert heads % kv_heads == 0
    assert (kv_heads == heads) == (config["num_key_value_heads"] == config["num_attention_heads"]) or heads == 1
    # With an explicit size of a head, the hidden size is free of it, but not of the heads of Mamba.
    assert small["hidden_size"] * config["mamba_expand"] == small["mamba_n_heads"] * small["mamba_d_head"]
    assert small["hidden_size"] * config["num_attention_heads"] == config["hidden_size"] * heads
    assert small["mamba_n_heads"] % small["mamba_n_groups"] == 0
    assert small["num_experts"] % small["n_group"] == 0
    assert small["num_experts"] >= 2 * small["n_group"]
    assert small["num_experts_per_tok"] <= small["num_experts"] // small["n_group"] * small["topk_group"]


@settings(deadline=None)
@given(published())
def test_what_is_shrunk_is_not_shrunk_again(config: dict[str, Any]) -> None:
    assert shrink_by_rule(shrunk(config)) == ()


@settings(deadline=None)
@given(published(), st.sampled_from([32, 64, 128]))
def test_quantized_blocks_stay_whole(config: dict[str, Any], block: int) -> None:
    config["quantization_config"] = {"weight_block_size": [block, block]}
    small = shrunk(config)
    for key in ("hidden_size", "intermediate_size"):
        assert small[key] % block == 0 or config[key] % block != 0
