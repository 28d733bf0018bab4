"""The base of models that each observed process imports."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class DeferredModel(BaseModel):
    """A model whose validator is built when it is first used.

    A process of a user's command imports all models of a record and uses a few. Building the others takes CPU time
    that the start would not need without coldwarm.
    """

    model_config = ConfigDict(defer_build=True)
