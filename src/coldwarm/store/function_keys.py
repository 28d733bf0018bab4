"""Stores the keys of a program's functions in the cache that has what was compiled, for comparison with later keys."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import Field, ValidationError

from coldwarm.core.deferred_model import DeferredModel

KEYS_FILE = "coldwarm-function-keys.json"
_MOST_FUNCTIONS = 100
_MOST_KEYS = 4
"""Of each function: one that takes tensors of many sizes has a key for each."""
_LONGEST_COMPONENT = 20_000
"""Characters. A component is compared by its hash; its value, such as the text of a graph, is only shown."""


class _StoredKeys(DeferredModel):
    keys: dict[str, list[list[str]]] = Field(default_factory=dict)
    """By function, the one that was compiled last comes last (`coldwarm.diagnose.function_keys.Keys`)."""


def read_function_keys(folder: Path) -> dict[str, list[list[str]]]:
    """Return the components of the keys of each function in the cache `folder`, the newest first; empty if none are."""
    try:
        return _StoredKeys.model_validate_json((folder / KEYS_FILE).read_bytes()).keys
    except (OSError, ValidationError):
        return {}


def shortened(keys: Mapping[str, Sequence[Sequence[str]]]) -> dict[str, list[list[str]]]:
    """Return `keys` with the beginnings of their values, as they are stored."""
    return {name: [[each[:_LONGEST_COMPONENT] for each in key] for key in of_one] for name, of_one in keys.items()}


def store_function_keys(folder: Path, keys: Mapping[str, Sequence[Sequence[str]]]) -> None:
    """Add the `keys` of functions that were compiled to those in the cache `folder`.

    If two do so at the same time, the keys of one of them may be lost.

    Raises:
        OSError: The cache cannot be written.
        ValueError: A component is no valid text.
    """
    found = read_function_keys(folder)
    for name, own in shortened(keys).items():
        before = found.pop(name, [])
        found[name] = [*own, *(key for key in before if key not in own)][:_MOST_KEYS]
    content = _StoredKeys(keys=dict(list(found.items())[-_MOST_FUNCTIONS:])).model_dump_json().encode()
    # Of this start alone: containers that share a cache may have the same process ids.
    unfinished = folder / f"{KEYS_FILE}.{uuid.uuid4().hex}.part"
    try:
        unfinished.write_bytes(content)
        unfinished.replace(folder / KEYS_FILE)
    except OSError:
        with suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
