"""The engine that coldwarm uses unless the user names another."""

from __future__ import annotations

DEFAULT_ENGINE = "vllm"
