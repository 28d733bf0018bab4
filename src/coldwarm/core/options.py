"""Options of the engine as a user gives them: ``additional_config.seed=1``, dotted names with JSON values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from coldwarm.core.errors import UsageError


def parse_options(words: Iterable[str], *, flag: str) -> dict[str, Any]:
    """Parse ``NAME=VALUE`` words; a value that is no JSON is taken as text.

    Raises:
        UsageError: A word has no ``=``, or a name is used both for a value and for what has parts.
    """
    options: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not all(name.split(".")):
            raise UsageError(
                f"{flag} {word}: expected NAME=VALUE, for example {flag} compilation_config.use_inductor=1"
            )
        value = _value(text)
        for part in reversed(name.split(".")):
            value = {part: value}
        if (clash := _clash(options, value)) is not None:
            raise UsageError(f"{flag} {word}: {clash!r} cannot both be a value and have parts")
        options = merged(options, value)
    return options


def parse_variables(words: Iterable[str], *, flag: str) -> dict[str, str]:
    """Parse ``NAME=VALUE`` words of environment variables.

    Raises:
        UsageError: A word has no name or no ``=``.
    """
    variables = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {word}: expected NAME=VALUE")
        variables[name] = value
    return variables


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` with the values of `above` over it, mapping by mapping."""
    result = dict(below)
    for name, value in above.items():
        inner = result.get(name)
        result[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def flatten(options: Mapping[str, Any]) -> dict[str, str]:
    """The reverse of `parse_options`: dotted names with JSON values."""
    flat: dict[str, str] = {}
    for name, value in options.items():
        if isinstance(value, dict) and value and all(_is_plain(part) for part in value):
            flat.update({f"{name}.{inner}": text for inner, text in flatten(value).items()})
        else:
            flat[name] = json.dumps(value)
    return flat


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # no JSON; a number too long; nested too deep
        return text


def _clash(below: Mapping[str, Any], above: Mapping[str, Any]) -> str | None:
    """The name that is a mapping in one and something else in the other."""
    for name, value in above.items():
        if name in below:
            if isinstance(below[name], dict) is not isinstance(value, dict):
                return name
            if isinstance(value, dict) and (inner := _clash(below[name], value)) is not None:
                return inner
    return None


def _is_plain(name: object) -> bool:
    """Whether a key can be a part of a dotted name."""
    return isinstance(name, str) and name != "" and "." not in name and "=" not in name
