"""Compares the compiler's own cache keys component by component, if the trace shows them.

A miss of Inductor's FX graph cache is logged with what went into its key, each component as ``[hash] name: value``
(torch/_inductor/codecache.py, `FxGraphHashDetails.debug_lines`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import zip_longest

_COMPONENT = re.compile(r"\[(?P<hash>\w+)\] (?P<name>[^:]+): (?P<value>.*)", re.DOTALL)
_TITLES = {"gm": "graph"}
_LONGEST_VALUE = 100
_MARGIN = 40
"""Characters before the first difference that are shown."""


def changed_components(cold: Iterable[str], warm: Iterable[str]) -> list[str]:
    """Return the components whose hashes differ, each as ``name: cold value -> warm value``."""
    before, after = _by_name(cold), _by_name(warm)
    return [
        f"{_TITLES.get(name, name)}: {_change(before.get(name), after.get(name))}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name, ("", ""))[0] != after.get(name, ("", ""))[0]
    ]


def _by_name(components: Iterable[str]) -> dict[str, tuple[str, str]]:
    found = (_COMPONENT.fullmatch(component) for component in components)
    return {each["name"]: (each["hash"], each["value"]) for each in found if each}


def _change(first: tuple[str, str] | None, second: tuple[str, str] | None) -> str:
    before, after = _where_different(first, second)
    if before == after:  # of a long value, only the beginning may be known
        return f"{_shown(before, after)[0]} (the difference is not in the part that is known)"
    return " -> ".join(_shown(before, after))


def _where_different(first: tuple[str, str] | None, second: tuple[str, str] | None) -> tuple[str, str]:
    """Return two values, each in one line; of two texts of several lines, such as graphs, the first that differ."""
    before, after = (None if each is None else each[1] for each in (first, second))
    if before is not None and after is not None:
        lines = zip_longest(before.splitlines(), after.splitlines())
        before, after = next((pair for pair in lines if pair[0] != pair[1]), (before, after))
    return _in_one_line(before), _in_one_line(after)


def _in_one_line(text: str | None) -> str:
    return "nothing" if text is None else " ".join(text.split())


def _shown(first: str, second: str) -> list[str]:
    """Return two values; if they are long, only the part in which they differ."""
    common = next((n for n, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), 0)
    begin = 0 if common < _LONGEST_VALUE - _MARGIN else common - _MARGIN
    end = begin + _LONGEST_VALUE
    before = "..." if begin else ""
    return [f"{before}{each[begin:end]}{'...' if len(each) > end else ''}" for each in (first, second)]
