"""Creates an entry for a config.json that is not in a catalog; it is shrunk by rule and has no expectations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from coldwarm.catalog.shrinking import shrink_by_rule
from coldwarm.core.model_entry import ModelEntry, id_of_name


def entry_of_bare_config(path: Path, config: dict[str, Any]) -> ModelEntry:
    """Return an entry for the published `config` at `path`; its layer kinds are derived when it is started."""
    folder = path.resolve().parent.name
    name = folder if path.name == "config.json" and folder else path.stem
    return ModelEntry(
        id=id_of_name(name) or "model",
        name=name or config["architectures"][0],
        config=path.name,
        source=str(path),
        source_note="a bare config.json: only the invariants are checked",
        shrink=shrink_by_rule(config),
    )
