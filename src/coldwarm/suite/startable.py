"""Writes a shrunk model of the catalog to a folder that its engine can serve."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coldwarm.catalog.catalog import CatalogModel
from coldwarm.catalog.preparing import drafter_for, startable_config
from coldwarm.core.engine import DEFAULT_ENGINE
from coldwarm.core.errors import UsageError
from coldwarm.engines.base import load_installation, served_model

_DRAFTER = "drafter"


@dataclass(frozen=True)
class Startable:
    """A folder that can be served."""

    device: str
    command: list[str]
    """The program and the arguments that serve it."""


def write_startable(model: CatalogModel, folder: Path, device: str | None = None) -> Startable:
    """Write the config of a model, that of its drafter, and the other files that its entry names.

    Args:
        model: The model.
        folder: The folder, which need not exist.
        device: The device that it is for; None: the one that the engine was built for.

    Raises:
        UsageError: The device cannot run the model, or the folder has files of another one or cannot be written.
        CatalogError: A deviation does not fit the published config.
    """
    device = device or load_installation(DEFAULT_ENGINE).default_device()
    if (why := model.entry.unsupported_on(device, "piecewise")) is not None:
        raise UsageError(f"{model.entry.id} is unsupported on {device}: {why.reason}")
    server = served_model(DEFAULT_ENGINE)
    config, options = startable_config(model, device), dict(model.entry.options)
    texts = {folder / "config.json": _text(config)}
    texts |= {folder / name: text for name, text in model.files.items()}
    drafter = server.drafter_config(options, drafter_for(model, device), config)
    if drafter is not None:
        texts[folder / _DRAFTER / "config.json"] = _text(drafter)
        options = server.with_drafter_in(options, str(folder / _DRAFTER))
    try:
        for path, text in texts.items():
            if path.exists() and path.read_bytes() != text.encode():
                raise UsageError(f"{path} exists, and is another model's; choose another folder")
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {error.filename}: {error.strerror}") from error
    return Startable(device, server.serving(str(folder), device, options))


def _text(config: dict[str, Any]) -> str:
    return json.dumps(config, indent=2) + "\n"
