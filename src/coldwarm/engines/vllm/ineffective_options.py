"""Which of the user's options have no effect: vLLM's resolved config has a default in their place, or nothing."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from coldwarm.core.options import flatten

# They are merged into a config of the model's, or mean something to plugins alone.
_NOT_COMPARABLE = frozenset(("additional_config", "hf_overrides"))
_COMPILATION = "compilation_config"
# Values by which vLLM is asked to choose.
_CHOOSE = ("auto", "", None, -1)
_MISSING = object()


def ineffective_options(options: Mapping[str, Any], config: Any) -> dict[str, str]:
    """Return the options that have no effect, by dotted name, with the value that vLLM has in their place as JSON.

    An option is reported only if a field of its name is there to compare with, and that field has its default, or what
    switches it off (``false``, ``[]``, ``null``, ``NONE``). A number or a list that vLLM has adjusted is not reported.

    Args:
        options: What the user asked for, as keyword arguments of `vllm.LLM`.
        config: The resolved `vllm.config.VllmConfig`.
    """
    ineffective = {}
    for name, text in flatten(options).items():
        first, *rest = name.split(".")
        if first in _NOT_COMPARABLE:
            continue
        asked = json.loads(text)
        places = [found for place in _places(config, first) if (found := _descend(place, rest)) is not None]
        used = [_plain(place.value) for place in places]
        if places and all(_is_reset(asked, place, is_own=first == _COMPILATION) for place in places):
            ineffective[name] = json.dumps(used[0])
    return ineffective


@dataclasses.dataclass(frozen=True)
class _Place:
    """A field of the resolved config."""

    value: Any
    default: Any


def _places(config: Any, name: str) -> Iterator[_Place]:
    """The fields of this name: of the config itself, and of its parts (``model_config``, ``cache_config``)."""
    parts = [config, *(getattr(config, field.name, None) for field in dataclasses.fields(config))]
    for part in parts:
        if (place := _field(part, name)) is not None:
            yield place


def _descend(place: _Place, names: list[str]) -> _Place | None:
    for name in names:
        found = _field(place.value, name)
        if found is None:
            return None
        place = found
    return place


def _field(owner: Any, name: str) -> _Place | None:
    if isinstance(owner, dict):
        return _Place(owner[name], _MISSING) if name in owner else None
    if not dataclasses.is_dataclass(owner):
        return None
    for field in dataclasses.fields(owner):
        if field.name == name and hasattr(owner, name):
            return _Place(getattr(owner, name), _default(field))
    return None


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    # A field of pydantic's holds its default in a `FieldInfo`.
    default = getattr(field.default, "default", field.default)
    return _MISSING if default is dataclasses.MISSING else default


def _is_reset(asked: Any, place: _Place, *, is_own: bool) -> bool:
    """Whether the field has its default, or what switches it off, instead of what was asked for.

    Text of a part that the user addresses as such (`is_own`) is used as it is, or not at all.
    """
    used = _plain(place.value)
    if used is _MISSING or asked in _CHOOSE or not _are_comparable(asked, used) or _is_as_asked(asked, place.value):
        return False
    off = used is None or used is False or used in ([], {}) or _is_none_of_an_enum(place.value)
    is_text = is_own and isinstance(asked, str) and isinstance(place.value, str)
    return off or used == _plain(place.default) or isinstance(asked, bool) or is_text


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
    """Whether values of these types can be compared: of one type, a number as text, or one that is switched off."""
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
    """`value` as JSON has it; `_MISSING` for what JSON does not have."""
    if isinstance(value, Enum):
        return value.name
    if isinstance(value, set | frozenset | tuple | list):
        items = [_plain(item) for item in value]
        return _MISSING if _MISSING in items else items
    if isinstance(value, dict):
        inner = {str(name): _plain(item) for name, item in value.items()}
        return _MISSING if _MISSING in inner.values() else inner
    return value if value is None or isinstance(value, bool | int | float | str) else _MISSING
