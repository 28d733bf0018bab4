"""The names of engines that other packages know."""

from __future__ import annotations

DEFAULT_ENGINE = "vllm"
TORCH = "torch"
"""The engine of a program that uses torch.compile itself; coldwarm starts it only as a command."""
