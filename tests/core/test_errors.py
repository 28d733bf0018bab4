from __future__ import annotations

from pathlib import Path

from coldwarm.core.errors import CatalogError, nearest


def test_a_catalog_error_names_file_line_key_and_problem() -> None:
    path = Path("models/a.toml")
    assert str(CatalogError(path, "wrong")) == "models/a.toml: wrong"
    assert str(CatalogError(path, "wrong", key="expect.0")) == "models/a.toml: expect.0: wrong"
    assert str(CatalogError(path, "wrong", key="expect.0", line=7)) == "models/a.toml:7: expect.0: wrong"


def test_the_nearest_words_come_first() -> None:
    assert nearest("sorce", ["source_note", "name", "source"]) == "; nearest: source, source_note"


def test_at_most_three_words_are_suggested() -> None:
    assert nearest("ab", ["abc", "abd", "abe", "abf"]).count(",") == 2


def test_nothing_is_suggested_for_nonsense() -> None:
    assert nearest("zzzz", ["name", "source"]) == ""
    assert nearest("name", []) == ""
