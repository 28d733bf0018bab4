from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.store import function_keys
from coldwarm.store.function_keys import KEYS_FILE, read_function_keys, store_function_keys


def test_keys_are_added_to_those_that_are_there(tmp_path: Path) -> None:
    assert read_function_keys(tmp_path) == {}
    store_function_keys(tmp_path, {"a": [["[1] x: 1"]], "b": [["[2] x: 2"]]})
    store_function_keys(tmp_path, {"a": [["[3] x: 3"], ["[1] x: 1"]]})
    assert list(read_function_keys(tmp_path).items()) == [
        ("b", [["[2] x: 2"]]),
        ("a", [["[3] x: 3"], ["[1] x: 1"]]),
    ]
    assert [path.name for path in tmp_path.iterdir()] == [KEYS_FILE]


def test_the_functions_that_were_compiled_last_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_keys, "_MOST_FUNCTIONS", 2)
    for name in ("a", "b", "a", "c"):
        store_function_keys(tmp_path, {name: []})
    assert list(read_function_keys(tmp_path)) == ["a", "c"]


def test_long_values_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_keys, "_LONGEST_COMPONENT", 10)
    store_function_keys(tmp_path, {"a": [["[1] gm: " + "x" * 100]]})
    assert read_function_keys(tmp_path) == {"a": [["[1] gm: xx"]]}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"keys": 3}'])
def test_a_damaged_file_is_as_none(tmp_path: Path, content: str) -> None:
    (tmp_path / KEYS_FILE).write_text(content)
    assert read_function_keys(tmp_path) == {}
    store_function_keys(tmp_path, {"a": []})
    assert read_function_keys(tmp_path) == {"a": []}


def test_of_many_keys_of_a_function_the_newest_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(function_keys, "_MOST_KEYS", 2)
    for n in range(3):
        store_function_keys(tmp_path, {"a": [[f"[{n}] x: {n}"]]})
    assert read_function_keys(tmp_path) == {"a": [["[2] x: 2"], ["[1] x: 1"]]}


def test_a_cache_that_cannot_be_written_has_no_unfinished_file(tmp_path: Path) -> None:
    (tmp_path / KEYS_FILE).mkdir()
    with pytest.raises(IsADirectoryError):
        store_function_keys(tmp_path, {"a": []})
    assert [path.name for path in tmp_path.iterdir()] == [KEYS_FILE]
