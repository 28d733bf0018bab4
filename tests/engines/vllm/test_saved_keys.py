from __future__ import annotations

import json
from pathlib import Path

import pytest

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.engines.vllm.saved_keys import HASH, cache_folder, entries, remember


@pytest.fixture
def entry(tmp_path: Path) -> Path:
    """An entry of two ranks, as vLLM stores it."""
    folder = tmp_path / "vllm" / "torch_compile_cache" / "abc"
    for rank in range(2):
        (folder / f"rank_{rank}_0" / "backbone").mkdir(parents=True)
        content = {"env": {"VLLM_X": True, "VLLM_KEY": "1"}, "config_hash": "c", "code_hash": "s", "compiler_hash": "i"}
        (folder / f"rank_{rank}_0" / "backbone" / "cache_key_factors.json").write_text(json.dumps(content))
    return folder


def test_the_key_of_an_entry_is_read(entry: Path, tmp_path: Path) -> None:
    [found] = entries({"VLLM_CACHE_ROOT": str(tmp_path / "vllm")})
    assert found.folder == str(entry)
    assert found.keys is None
    assert found.stored.factors == {
        "environment": {"VLLM_X": "true", "VLLM_KEY": "1"},
        **{group: {HASH: value} for group, value in (("config", "c"), ("source", "s"), ("compiler", "i"))},
    }


def test_components_are_stored_with_an_entry(entry: Path, tmp_path: Path) -> None:
    keys = CacheKeys(factors={"config.additional_config": {"x": "1"}})
    variables = {"VLLM_CACHE_ROOT": str(tmp_path / "vllm")}
    [found] = entries(variables)
    remember(found, keys)
    [again] = entries(variables)
    assert again.keys == keys


@pytest.mark.parametrize("text", ["", "[1]", "{", '{"env": 1}'])
def test_a_damaged_file_is_no_error(entry: Path, tmp_path: Path, text: str) -> None:
    for file in entry.rglob("*.json"):
        file.write_text(text)
    assert all(not found.stored.factors for found in entries({"VLLM_CACHE_ROOT": str(tmp_path / "vllm")}))


def test_the_cache_is_where_vllm_has_it() -> None:
    assert cache_folder({"HOME": "/h"}) == Path("/h/.cache/vllm/torch_compile_cache")
    assert cache_folder({"HOME": "/h", "XDG_CACHE_HOME": "/x"}) == Path("/x/vllm/torch_compile_cache")
