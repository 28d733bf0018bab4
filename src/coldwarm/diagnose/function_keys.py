"""Compares the keys of functions given to torch.compile with those of earlier starts that used the same cache."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from coldwarm.diagnose.key_components import changed_components

_MOST_SHOWN = 3

Keys = Mapping[str, Sequence[Sequence[str]]]
"""The components of each key of a function (`CacheEvent.components`), by ``name (file:line)``."""


@dataclass(frozen=True)
class FunctionKeys:
    """What is known of the keys of a program's functions."""

    before: Keys
    """Of functions that an earlier start compiled, if coldwarm observed it."""
    now: Keys
    """Of those that this start compiled."""
    found_nothing: bool
    """Whether the cache was empty when the start began."""

    def why_missed(self, function: str) -> str | None:
        """Return how the first key of `function` differs from the nearest one; None: the cache was empty, or no key was
        logged.

        Inductor logs the key, after AOTAutograd's cache has missed. That of AOTAutograd has further components.
        """
        if self.found_nothing or not self.now.get(function):
            return None
        if not self.before.get(function):
            return (
                "what differs is not known, because no start that 'coldwarm watch' observed with this cache compiled a "
                "function of this name, file and line"
            )
        now = self.now[function][0]
        changes = min((changed_components(key, now) for key in self.before[function]), key=len)
        if not changes:
            return "its key has the same components as before, as far as Inductor logs them"
        more = [f"and {len(changes) - _MOST_SHOWN} more components"] if len(changes) > _MOST_SHOWN else []
        return f"its key differs in {'; '.join([*changes[:_MOST_SHOWN], *more])}"
