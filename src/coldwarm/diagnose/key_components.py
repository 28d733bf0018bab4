"""Compares the compiler's own cache keys component by component, if the trace shows them.

A miss of Inductor's FX graph cache is logged with what went into its key, each component as ``[hash] name: value``
(torch/_inductor/codecache.py, `FxGraphHashDetails.debug_lines`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_COMPONENT = re.compile(r"\[(?P<hash>\w+)\] (?P<name>[^:]+): (?P<value>.*)", re.DOTALL)
_LONGEST_VALUE = 100
_MARGIN = 40
"""Characters before the first difference that are shown."""


def changed_components(cold: Iterable[str], warm: Iterable[str]) -> list[str]:
    """Return the components whose hashes differ, each as ``name: cold value -> warm value``."""
    before, after = _by_name(cold), _by_name(warm)
    return [
        f"{name}: {' -> '.join(_shown(_value(before.get(name)), _value(after.get(name))))}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name, ("", ""))[0] != after.get(name, ("", ""))[0]
    ]


def _by_name(components: Iterable[str]) -> dict[str, tuple[str, str]]:
    found = (_COMPONENT.fullmatch(component) for component in components)
    return {each["name"]: (each["hash"], each["value"]) for each in found if each}


def _value(component: tuple[str, str] | None) -> str:
    return "nothing" if component is None else " ".join(component[1].split())


def _shown(first: str, second: str) -> list[str]:
    """Return two values; if they are long, only the part in which they differ."""
    common = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    begin = 0 if common < _LONGEST_VALUE - _MARGIN else common - _MARGIN
    end = begin + _LONGEST_VALUE
    before = "..." if begin else ""
    return [f"{before}{each[begin:end]}{'...' if len(each) > end else ''}" for each in (first, second)]
