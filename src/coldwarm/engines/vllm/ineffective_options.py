"""Finds the user's options that have no effect: vLLM's resolved config has a default instead, or nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from coldwarm.core.options import flatten

# They are merged into the model's config, or are used only by plugins.
_NOT_COMPARABLE = frozenset(("additional_config", "hf_overrides"))
_COMPILATION = "compilation_config"
# Values that let vLLM choose.
_CHOOSE = ("auto", "", None, -1)
_MISSING = object()


def ineffective_options(options: Mapping[str, Any], config: Any) -> dict[str, str]:
    """Return the options that have no effect, by dotted name, with the value that vLLM uses instead as JSON.

    An option is reported only if the config has a field with its name, and that field has its default, or a value that
    switches it off (``false``, ``[]``, ``null``, ``NONE``). A number or a list that vLLM has adjusted is not reported.

    Args:
        options: The user's options, as keyword arguments of `vllm.LLM`.
        config: The resolved `vllm.config.VllmConfig`.
    """
    ineffective = {}
    for name, text in flatten(options).items():
        first, *rest = name.split(".")
        if first in _NOT_COMPARABLE:
            continue
        asked = json.loads(text)
        fields = [found for field in _fields(config, first) if (found := _descend(field, rest)) is not None]
        used = [_plain(field.value) for field in fields]
        if fields and all(_is_reset(asked, field, is_direct=first == _COMPILATION) for field in fields):
            ineffective[name] = json.dumps(used[0])
    return ineffective


@dataclasses.dataclass(frozen=True)
class _Field:
    """A field of the resolved config."""

    value: Any
    default: Any


def _fields(config: Any, name: str) -> Iterator[_Field]:
    """Yield the fields of this name in the config itself, and in its parts (``model_config``, ``cache_config``)."""
    parts = [config, *(getattr(config, field.name, None) for field in dataclasses.fields(config))]
    for part in parts:
        if (field := _field(part, name)) is not None:
            yield field


def _descend(field: _Field, names: list[str]) -> _Field | None:
    for name in names:
        found = _field(field.value, name)
        if found is None:
            return None
        field = found
    return field


def _field(owner: Any, name: str) -> _Field | None:
    if isinstance(owner, dict):
        return _Field(owner[name], _MISSING) if name in owner else None
    if not dataclasses.is_dataclass(owner):
        return None
    for field in dataclasses.fields(owner):
        if field.name == name and hasattr(owner, name):
            return _Field(getattr(owner, name), _default(field))
    return None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    # The default of a field of pydantic is in a `FieldInfo`.
    default = getattr(field.default, "default", field.default)
    return _MISSING if default is dataclasses.MISSING else default


def _is_reset(asked: Any, field: _Field, *, is_direct: bool) -> bool:
    """Return whether the field has its default, or a value that switches it off, instead of the user's value.

    A string for a part of the config that the option names directly (`is_direct`) is used unchanged, or not at all.
    """
    used = _plain(field.value)
    if used is _MISSING or asked in _CHOOSE or not _are_comparable(asked, used) or _is_as_asked(asked, field.value):
        return False
    off = used is None or used is False or used in ([], {}) or _is_none_of_an_enum(field.value)
    is_text = is_direct and isinstance(asked, str) and isinstance(field.value, str)
    return off or used == _plain(field.default) or isinstance(asked, bool) or is_text


def _is_as_asked(asked: Any, value: Any) -> bool:
    if isinstance(value, Enum):
        return str(asked).casefold() in {str(value.value).casefold(), value.name.casefold()}
    used = _plain(value)
    if isinstance(asked, list) and isinstance(used, list):
        # vLLM sorts, adds and removes duplicates.
        return {json.dumps(each) for each in asked} <= {json.dumps(each) for each in used}
    if isinstance(asked, dict) and isinstance(used, dict):
        return all(name in used and _is_as_asked(each, used[name]) for name, each in asked.items())
    return bool(asked == used) or str(asked) == str(used)


def _are_comparable(asked: Any, used: Any) -> bool:
    """Return whether these values can be compared: same type, a number as text, or one that is switched off."""
    if used is None:
        return True
    numbers = (int, float)
    if isinstance(asked, bool) or isinstance(used, bool):
        return isinstance(asked, bool) and isinstance(used, bool)
    if isinstance(asked, numbers) and isinstance(used, numbers):
        return True
    return isinstance(asked, type(used)) or (isinstance(asked, str | int) and isinstance(used, str | int))


def _is_none_of_an_enum(value: Any) -> bool:
    return isinstance(value, Enum) and value.name == "NONE"


def _plain(value: Any) -> Any:
    """Return `value` as JSON represents it; `_MISSING` if JSON cannot."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, set | frozenset | tuple | list):
        items = [_plain(item) for item in value]
        return _MISSING if _MISSING in items else items
    if isinstance(value, dict):
        inner = {str(name): _plain(item) for name, item in value.items()}
        return _MISSING if _MISSING in inner.values() else inner
    return value if value is None or isinstance(value, bool | int | float | str) else _MISSING
