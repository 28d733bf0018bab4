"""Traces as PyTorch writes them (torch/_logging/_internal.py, `TorchLogsFormatter`), for tests."""

from __future__ import annotations

import json
from typing import Any

_PREFIX = "V1123 12:00:00.123456 4242 torch/_logging/structured.py:42]"


def trace_text(*records: tuple[dict[str, Any], str | None]) -> str:
    """Return the trace of these records, each its metadata and its payload, if it has one."""
    return "".join(_text(metadata, payload) for metadata, payload in records)


def _text(metadata: dict[str, Any], payload: str | None) -> str:
    text = f"{_PREFIX} {json.dumps(metadata)}"
    if payload is not None:
        text += "".join(f"\n\t{line}" for line in payload.split("\n"))
    return text + "\n"
