"""Stores the keys of a program's functions in the cache that has what was compiled, for comparison with later keys."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field, ValidationError

from coldwarm.core.deferred_model import DeferredModel

KEYS_FILE = "coldwarm-function-keys.json"
_MOST_FUNCTIONS = 100
_LONGEST_COMPONENT = 20_000
"""Characters. A component is compared by its hash; its value, such as the text of a graph, is only shown."""


class _StoredKeys(DeferredModel):
    components: dict[str, list[str]] = Field(default_factory=dict)
    """By function, the one that was compiled last comes last (`coldwarm.diagnose.function_keys.Components`)."""


def read_function_keys(folder: Path) -> dict[str, list[str]]:
    """Return the components of each function's key in the cache `folder`; empty if there are none."""
    try:
        return _StoredKeys.model_validate_json((folder / KEYS_FILE).read_bytes()).components
    except (OSError, ValidationError):
        return {}


def store_function_keys(folder: Path, components: Mapping[str, Sequence[str]]) -> None:
    """Add the keys of functions that were compiled to those in the cache `folder`.

    Raises:
        OSError: The cache cannot be written.
    """
    shortened = {name: [each[:_LONGEST_COMPONENT] for each in of_one] for name, of_one in components.items()}
    before = {name: of_one for name, of_one in read_function_keys(folder).items() if name not in shortened}
    newest = list((before | shortened).items())[-_MOST_FUNCTIONS:]
    unfinished = folder / f"{KEYS_FILE}.{os.getpid()}.part"
    unfinished.write_text(_StoredKeys(components=dict(newest)).model_dump_json(), encoding="utf-8")
    unfinished.replace(folder / KEYS_FILE)
