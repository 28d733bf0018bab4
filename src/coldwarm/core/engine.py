"""The default engine."""

from __future__ import annotations

DEFAULT_ENGINE = "vllm"
