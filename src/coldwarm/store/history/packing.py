"""Compresses the files of a run."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from typing import Any

from pydantic_core import from_json

Files = Mapping[str, Any]
"""The JSON content of the files of a run, by path in its folder, and that of the suite with only this run."""

_MOST_BYTES = 1 << 30
"""How large a run may be uncompressed."""


def pack(files: Files) -> bytes:
    """Return `files` compressed."""
    text = json.dumps(files, ensure_ascii=False, separators=(",", ":"))
    return zlib.compress(text.encode("utf-8", "replace"))


def unpack(data: bytes) -> dict[str, Any]:
    """Return the files that `pack` compressed.

    Raises:
        ValueError: The data is damaged.
    """
    reader = zlib.decompressobj()
    try:
        text = reader.decompress(data, _MOST_BYTES)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if not reader.eof:
        raise ValueError("it is not complete")
    files = from_json(text)
    if not isinstance(files, dict):
        raise ValueError("it is not a JSON object")
    return files
