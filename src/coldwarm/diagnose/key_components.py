"""Compares the compiler's own cache keys component by component, if the trace shows them.

A miss of Inductor's FX graph cache is logged with what went into its key, each component as ``[hash] name: value``
(torch/_inductor/codecache.py, `FxGraphHashDetails.debug_lines`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_COMPONENT = re.compile(r"\[(?P<hash>\w+)\] (?P<name>[^:]+): (?P<value>.*)", re.DOTALL)
_LONGEST_VALUE = 100


def changed_components(cold: Iterable[str], warm: Iterable[str]) -> list[str]:
    """Return the components whose hashes differ, each as ``name: cold value -> warm value``."""
    before, after = _by_name(cold), _by_name(warm)
    return [
        f"{name}: {_value(before.get(name))} -> {_value(after.get(name))}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name, ("", ""))[0] != after.get(name, ("", ""))[0]
    ]


def _by_name(components: Iterable[str]) -> dict[str, tuple[str, str]]:
    found = (_COMPONENT.fullmatch(component) for component in components)
    return {each["name"]: (each["hash"], each["value"]) for each in found if each}


def _value(component: tuple[str, str] | None) -> str:
    if component is None:
        return "nothing"
    value = " ".join(component[1].split())
    return value if len(value) <= _LONGEST_VALUE else f"{value[:_LONGEST_VALUE]}..."
