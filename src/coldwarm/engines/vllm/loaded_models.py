"""The models that vLLM has loaded in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LoadedModel:
    """A model that vLLM has loaded: the main model, or a drafter."""

    model: Any
    """A `torch.nn.Module`."""
    tag: str
    """vLLM's name for the compiled parts of the model (vllm/compilation/backends.py, `model_tag`)."""
    config: Any
    """A `vllm.config.ModelConfig`."""


LOADED: list[LoadedModel] = []
"""In order: a drafter comes after its target."""
