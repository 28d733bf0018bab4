"""Models of what people write by hand: a key that coldwarm does not know is a typo, and an error."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

STORED = {"stored": True}
"""The validation context for data that coldwarm wrote itself, perhaps in an older version with other keys."""


class StrictModel(BaseModel):
    """Refuses unknown keys; ignores them in the context `STORED`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _ignore_unknown_keys_of_stored_data(cls, data: Any, info: ValidationInfo) -> Any:
        if info.context == STORED and isinstance(data, dict):
            return {key: value for key, value in data.items() if key in cls.model_fields}
        return data
