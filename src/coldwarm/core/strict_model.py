"""Models of manually written data, in which an unknown key is probably a typo, and therefore an error."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationInfo, model_validator

STORED = {"stored": True}
"""The validation context for data that was stored by coldwarm, possibly by a version with other keys."""


class StrictModel(BaseModel):
    """Rejects unknown keys, but ignores them in the context `STORED`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _ignore_unknown_keys_of_stored_data(cls, data: Any, info: ValidationInfo) -> Any:
        if info.context == STORED and isinstance(data, dict):
            return {key: value for key, value in data.items() if key in cls.model_fields}
        return data
