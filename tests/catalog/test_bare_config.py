from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coldwarm.catalog.bare_config import entry_of_bare_config
from coldwarm.core.model_entry import ModelEntry

LARGE = {"num_hidden_layers": 61, "hidden_size": 4096, "num_attention_heads": 32}


def entry_of(config: dict[str, Any], path: str = "some-model/config.json") -> ModelEntry:
    return entry_of_bare_config(Path(path), {"architectures": ["SomeForCausalLM"], **config})


def test_it_is_shrunk_by_rule() -> None:
    overrides = [shrink.overrides for shrink in entry_of(LARGE).shrink]
    assert overrides == [{"num_hidden_layers": 8}, {"hidden_size": 256, "num_attention_heads": 2}]
    assert entry_of({"num_hidden_layers": 2, "hidden_size": 64}).shrink == ()


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
