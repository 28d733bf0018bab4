from __future__ import annotations

import json
from pathlib import Path

import pytest

from coldwarm.catalog.catalog import PACKAGED, Catalog, read_model
from coldwarm.core.errors import CatalogError, UsageError
from tests.support.records import catalog_model, model_entry, tiny_config


def write_model(folder: Path, model_id: str = "tiny", *, config: str = "tiny.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "tiny.json").write_text(json.dumps(tiny_config()))
    file = folder / f"{model_id}.toml"
    file.write_text(f'id = "{model_id}"\nname = "Tiny"\nsource = "here"\nconfig = {json.dumps(config)}\n')
    return file


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(
        catalog_model(model_entry(id=model_id), path=Path(f"models/{model_id}.toml"))
        for model_id in ("qwen3-32b", "glm-4.5", "llama-3.1-8b")
    )


def test_models_are_in_the_order_of_their_ids(catalog: Catalog) -> None:
    assert [model.entry.id for model in catalog.models()] == ["glm-4.5", "llama-3.1-8b", "qwen3-32b"]


def test_ids_are_unique() -> None:
    first, second = (catalog_model(path=Path(name)) for name in ("a.toml", "b.toml"))
    with pytest.raises(CatalogError) as raised:
        Catalog([first, second])
    assert raised.value.path == Path("b.toml")
    assert raised.value.key == "id"
    assert "'tiny' is already the id of a.toml" in raised.value.problem


def test_a_folder_of_the_user_adds_models(tmp_path: Path) -> None:
    write_model(tmp_path)
    catalog = Catalog.read([tmp_path])
    tiny = catalog.get("tiny")
    assert tiny is not None and tiny.config == tiny_config()
    assert catalog.get("llama-3.1-8b") is not None


def test_a_folder_of_the_user_cannot_replace_a_packaged_model(tmp_path: Path) -> None:
    file = write_model(tmp_path, "llama-3.1-8b")
    with pytest.raises(CatalogError, match="already the id of") as raised:
        Catalog.read([tmp_path])
    assert raised.value.path == file


def test_one_broken_file_of_a_folder_is_not_skipped(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "broken.toml").write_text("id = 3")
    with pytest.raises(CatalogError, match=r"broken\.toml"):
        Catalog.read([tmp_path])


def test_a_folder_that_does_not_exist_or_has_no_models(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such catalog folder"):
        Catalog.read([tmp_path / "absent"])
    with pytest.raises(UsageError, match=r"no \*\.toml file"):
        Catalog.read([tmp_path])


def test_an_id_is_resolved_to_its_model(catalog: Catalog) -> None:
    assert catalog.resolve("glm-4.5").entry.id == "glm-4.5"


def test_an_id_takes_precedence_over_a_file_of_that_name(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "glm-4.5").mkdir()
    (tmp_path / "glm-4.5" / "config.json").write_text(json.dumps(tiny_config()))
    monkeypatch.chdir(tmp_path)
    assert catalog.resolve("glm-4.5") is catalog.get("glm-4.5")


@pytest.mark.parametrize("word", ["qwen3-23b", "Qwen3-32B", "qwen", "qwen3_32b"])
def test_the_nearest_id_is_suggested_for_a_misspelt_one(catalog: Catalog, word: str) -> None:
    with pytest.raises(UsageError) as raised:
        catalog.resolve(word)
    assert str(raised.value).startswith(f"no model {word!r} in the catalog; nearest: qwen3-32b")
    assert "coldwarm list" in str(raised.value)


@pytest.mark.parametrize("word", ["zzzzzzzz", "", "?", "../..", "/", "config.yaml"])
def test_nothing_is_suggested_for_nonsense(
    catalog: Catalog, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as raised:
        catalog.resolve(word)
    assert "nearest" not in str(raised.value)


@pytest.mark.parametrize("word", ["x" * 5000, "x" * 5000 + ".json", "x" * 5000 + ".toml", "x/" * 5000])
def test_a_word_that_is_not_a_valid_path(catalog: Catalog, word: str) -> None:
    with pytest.raises((UsageError, CatalogError)):
        catalog.resolve(word)


def test_a_path_to_a_toml_file_is_resolved_to_its_model(catalog: Catalog, tmp_path: Path) -> None:
    model = catalog.resolve(str(write_model(tmp_path, "other")))
    assert model.entry.id == "other"
    assert model.config_path == (tmp_path / "tiny.json").resolve()


def test_a_path_to_a_missing_toml_file(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(CatalogError, match="No such file"):
        catalog.resolve(str(tmp_path / "absent.toml"))


@pytest.mark.parametrize("word", ["some-model", "some-model/config.json"])
def test_a_config_or_its_folder_is_resolved_to_a_bare_model(
    catalog: Catalog, word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("some-model").mkdir()
    Path("some-model/config.json").write_text(json.dumps(tiny_config(hidden_size=4096)))
    model = catalog.resolve(word)
    assert model.entry.id == "some-model"
    assert model.config == tiny_config(hidden_size=4096)
    assert model.path == model.config_path == Path("some-model/config.json")


def test_a_bare_config_that_is_already_small(catalog: Catalog, tmp_path: Path) -> None:
    file = tmp_path / "small.json"
    file.write_text(json.dumps(tiny_config()))
    assert catalog.resolve(str(file)).entry.id == "small"


def test_a_folder_without_a_config_is_not_a_model(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no model"):
        catalog.resolve(str(tmp_path))


def test_a_model_without_its_config(tmp_path: Path) -> None:
    file = write_model(tmp_path, config="absent.json")
    with pytest.raises(CatalogError, match="no such file") as raised:
        read_model(file)
    assert (raised.value.path, raised.value.key) == (file, "config")


@pytest.mark.parametrize("config", ["a\0b.json", "x" * 5000, ".", ""])
def test_a_model_whose_config_is_not_a_valid_path(tmp_path: Path, config: str) -> None:
    file = write_model(tmp_path, config=config)
    with pytest.raises(CatalogError) as raised:
        read_model(file)
    assert raised.value.path == file


def test_a_config_that_points_at_itself(tmp_path: Path) -> None:
    (tmp_path / "loop.json").symlink_to(tmp_path / "loop.json")
    with pytest.raises(CatalogError):
        read_model(write_model(tmp_path, config="loop.json"))


def test_an_error_in_a_config_names_the_path_of_the_config(tmp_path: Path) -> None:
    file = write_model(tmp_path)
    (tmp_path / "tiny.json").write_text("{")
    with pytest.raises(CatalogError) as raised:
        read_model(file)
    assert raised.value.path == (tmp_path / "tiny.json").resolve()


def test_the_packaged_catalog_is_read_by_default() -> None:
    assert len(Catalog.read().models()) == len(list(PACKAGED.glob("*.toml"))) >= 8
