"""The models that vLLM has loaded in this process."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class LoadedModel:
    """A model that vLLM has loaded: the main model, or a drafter."""

    reference: Callable[[], Any]
    """Returns the model."""
    tag: str
    """vLLM's name for the compiled parts of the model (vllm/compilation/backends.py, `model_tag`)."""
    config: Any
    """A `vllm.config.ModelConfig`."""

    @property
    def model(self) -> Any:
        """The `torch.nn.Module`; None: the program has released it."""
        return self.reference()

    @classmethod
    def of_users_program(cls, model: Any, tag: str, config: Any) -> LoadedModel:
        """Return a model without keeping it: a program may release it, to load another one into the same memory."""
        return cls(weakref.ref(model), tag, config)


LOADED: list[LoadedModel] = []
"""In order: a drafter comes after its target."""
