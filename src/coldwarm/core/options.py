"""Parses options of the engine: dotted names with JSON values, as in ``additional_config.seed=1``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from coldwarm.core.errors import UsageError


def parse_options(words: Iterable[str], *, flag: str) -> dict[str, Any]:
    """Parse ``NAME=VALUE`` arguments; a value that is not JSON is text.

    Raises:
        UsageError: An argument has no ``=``, or a name is used both as a value and as a prefix of other names.
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
            raise UsageError(f"{flag} {word}: {clash!r} cannot be both a value and a prefix of other options")
        options = merged(options, value)
    return options


def parse_variables(words: Iterable[str], *, flag: str) -> dict[str, str]:
    """Parse ``NAME=VALUE`` arguments of environment variables.

    Raises:
        UsageError: An argument has no name or no ``=``.
    """
    variables = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise UsageError(f"{flag} {word}: expected NAME=VALUE")
        variables[name] = value
    return variables


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Return `below` recursively updated with the values of `above`."""
    result = dict(below)
    for name, value in above.items():
        inner = result.get(name)
        result[name] = merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
    return result


def flatten(options: Mapping[str, Any]) -> dict[str, str]:
    """Return nested options as dotted names with JSON values; the reverse of `parse_options`."""
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
    except (ValueError, RecursionError):  # not JSON; a number too long; nested too deep
        return text


def _clash(below: Mapping[str, Any], above: Mapping[str, Any]) -> str | None:
    """Return a name that is a mapping in only one of the two; None if there is none."""
    for name, value in above.items():
        if name in below:
            if isinstance(below[name], dict) is not isinstance(value, dict):
                return name
            if isinstance(value, dict) and (inner := _clash(below[name], value)) is not None:
                return inner
    return None


def _is_plain(name: object) -> bool:
    """Return whether a key can be a part of a dotted name."""
    return isinstance(name, str) and name != "" and "." not in name and "=" not in name
