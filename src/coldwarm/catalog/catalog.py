"""Finds the models to run: in the packaged catalog, in a user's folders, or in a bare config.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from coldwarm.catalog.bare_config import entry_of_bare_config
from coldwarm.catalog.files import read_config, read_entry, read_text
from coldwarm.core.errors import CatalogError, UsageError, nearest
from coldwarm.core.model_entry import ModelEntry

PACKAGED = Path(__file__).parent / "models"


@dataclass(frozen=True)
class CatalogModel:
    """A catalog entry with its config."""

    entry: ModelEntry
    config: dict[str, Any]
    """The published config."""
    path: Path
    """The TOML file, or the bare config.json."""
    config_path: Path
    drafter: dict[str, Any] | None = None
    """The published config of the drafter; None: the entry names none."""
    files: Mapping[str, str] = field(default_factory=dict)
    """The contents of the entry's other files, by file name."""

    @property
    def is_packaged(self) -> bool:
        """Whether it is part of coldwarm, not of a user's folder."""
        return self.path.parent == PACKAGED


class Catalog:
    """The models of one or more folders, by id, in the order of their ids."""

    def __init__(self, models: Iterable[CatalogModel]) -> None:
        self._models: dict[str, CatalogModel] = {}
        for model in models:
            if (known := self._models.get(model.entry.id)) is not None:
                raise CatalogError(
                    model.path, f"{model.entry.id!r} is already the id of {known.path}; choose another id", key="id"
                )
            self._models[model.entry.id] = model

    @classmethod
    def read(cls, folders: Sequence[Path] = ()) -> Catalog:
        """Read the packaged catalog and the user's `folders` of TOML files.

        Raises:
            CatalogError: One of the files cannot be used; none is skipped.
        """
        return cls([*_packaged_models(), *(model for folder in folders for model in _models_in(folder))])

    def models(self) -> list[CatalogModel]:
        """Return all models, in the order of their ids."""
        return sorted(self._models.values(), key=lambda model: model.entry.id)

    def representative(self) -> list[CatalogModel]:
        """Return the models that run if none is named: the representative ones, and all in the user's folders."""
        return [model for model in self.models() if model.entry.representative or not model.is_packaged]

    def get(self, model_id: str) -> CatalogModel | None:
        """Return the model with this id, or None."""
        return self._models.get(model_id)

    def find(self, word: str) -> CatalogModel | None:
        """Return the model named by `word`: a catalog id, a model's TOML file, or a config.json (or its folder).

        Returns None if `word` is neither an id nor such a path.

        Raises:
            CatalogError: The file cannot be used.
        """
        if (model := self.get(word)) is not None:
            return model
        path = Path(word)
        if word and is_file(path / "config.json"):
            path = path / "config.json"
        if path.suffix == ".toml":
            return read_model(path)
        if path.suffix == ".json":
            config = read_config(path)
            return CatalogModel(entry_of_bare_config(path, config), config, path, path)
        return None

    def resolve(self, word: str) -> CatalogModel:
        """Return the model named by `word`, as `find` does.

        Raises:
            CatalogError: The file cannot be used.
            UsageError: There is no such model.
        """
        if (model := self.find(word)) is None:
            raise self.unknown(word)
        return model

    def unknown(self, word: str, others: Iterable[str] = ()) -> UsageError:
        """Return the error that there is no model `word`; it suggests similar ids, and the most similar `others`."""
        return UsageError(
            f"no model {word!r} in the catalog{nearest(word, [*self._models, *others])}\n"
            "  `coldwarm list` shows the catalog; you can also pass a path to a config.json or to a model's TOML file"
        )


def read_model(path: Path) -> CatalogModel:
    """Read a model's TOML file and the files that it names."""
    entry = read_entry(path)
    config_path = _existing(path, entry.config, "config")
    drafter = read_config(_existing(path, entry.drafter.config, "drafter.config")) if entry.drafter else None
    files = {Path(name).name: read_text(_existing(path, name, f"files.{i}")) for i, name in enumerate(entry.files)}
    return CatalogModel(entry, read_config(config_path), path, config_path, drafter, files)


def _existing(path: Path, name: str, key: str) -> Path:
    named = path.parent / name
    if not is_file(named):
        raise CatalogError(path, f"no such file: {named}", key=key)
    return named.resolve()


def is_file(path: Path) -> bool:
    """Return whether `path` is a file; False if it is not a valid path (too long, a NUL, a loop of links)."""
    try:
        return path.is_file()
    except (OSError, ValueError, RuntimeError):
        return False


@cache
def _packaged_models() -> tuple[CatalogModel, ...]:
    # Each test of the pytest plugin reads the catalog; the packaged files do not change meanwhile.
    return tuple(_models_in(PACKAGED))


def _models_in(folder: Path) -> list[CatalogModel]:
    try:
        # `Path.glob` finds nothing in a folder that cannot be read.
        files = sorted(path for path in folder.iterdir() if path.name.endswith(".toml"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UsageError(f"no such catalog folder: {folder}") from error
    except OSError as error:
        raise UsageError(f"cannot read the catalog folder {folder}: {error.strerror}") from error
    if not files:
        raise UsageError(f"no *.toml file in the catalog folder {folder}")
    return [read_model(path) for path in files]
