from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog.bare_config import entry_of_bare_config
from coldwarm.core.model_entry import ModelEntry

LARGE = {
    "num_hidden_layers": 61,
    "hidden_size": 7168,
    "intermediate_size": 18432,
    "moe_intermediate_size": 2048,
    "num_attention_heads": 64,
    "num_key_value_heads": 64,
    "num_experts": 128,
    "num_local_experts": 128,
    "n_routed_experts": 384,
}
SMALL = {
    "num_hidden_layers": 8,
    "hidden_size": 256,
    "intermediate_size": 512,
    "moe_intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "num_experts": 8,
    "num_local_experts": 8,
    "n_routed_experts": 8,
}


def entry_of(config: dict[str, Any], path: str = "some-model/config.json") -> ModelEntry:
    return entry_of_bare_config(Path(path), {"architectures": ["SomeForCausalLM"], **config})


def overrides_of(config: dict[str, Any]) -> dict[str, Any]:
    [shrink] = entry_of(config).shrink
    return shrink.overrides


def test_every_large_size_is_lowered() -> None:
    assert overrides_of(LARGE) == SMALL


@pytest.mark.parametrize("key", SMALL)
def test_a_size_is_only_ever_lowered(key: str) -> None:
    other = "hidden_size" if key != "hidden_size" else "intermediate_size"
    assert overrides_of({key: SMALL[key], other: 10_000}) == {other: SMALL[other]}
    assert overrides_of({key: SMALL[key] + 1, other: 10_000}) == {key: SMALL[key], other: SMALL[other]}


def test_a_missing_key_is_not_added() -> None:
    assert overrides_of({"num_hidden_layers": 32, "vocab_size": 100_000}) == {"num_hidden_layers": 8}


@pytest.mark.parametrize("value", ["7168", None, 7168.0, True, [7168], {"size": 7168}])
def test_a_value_that_is_not_an_integer_is_not_changed(value: object) -> None:
    assert overrides_of({"num_hidden_layers": 32, "hidden_size": value}) == {"num_hidden_layers": 8}


def test_a_nested_text_config_is_shrunk_in_place() -> None:
    config = {"hidden_size": 64, "text_config": {"hidden_size": 7168, "num_hidden_layers": 4}}
    assert overrides_of(config) == {"text_config": {"hidden_size": 256}}


def test_other_nested_configs_are_not_changed() -> None:
    assert overrides_of({"hidden_size": 512, "vision_config": {"hidden_size": 7168}}) == {"hidden_size": 256}


def test_a_small_config_is_not_changed() -> None:
    assert entry_of({"num_hidden_layers": 2, "hidden_size": 64}).shrink == ()
    assert entry_of({"text_config": {"hidden_size": 64}}).shrink == ()


def test_it_has_no_expectations_and_no_known_issues() -> None:
    entry = entry_of(LARGE)
    assert entry.expect == () and entry.known_issue == ()
    assert entry.layer_kinds is None
    assert entry.source == "some-model/config.json"


@pytest.mark.parametrize(
    ("path", "model_id", "name"),
    [
        ("Qwen3 32B/config.json", "qwen3-32b", "Qwen3 32B"),
        ("folder/My_Model.v2.json", "my_model.v2", "My_Model.v2"),
        ("模型/config.json", "model", "模型"),
        ("-.-/config.json", "model", "-.-"),
    ],
)
def test_it_is_named_after_its_folder_or_file(path: str, model_id: str, name: str) -> None:
    entry = entry_of(LARGE, path)
    assert (entry.id, entry.name) == (model_id, name)
