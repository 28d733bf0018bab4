"""What went into the cache keys of a start, part by part, so that two starts can be compared."""

from __future__ import annotations

import hashlib
import json

from pydantic import BaseModel, Field


class CacheKeys(BaseModel):
    """The factors of every key that the engine computed while it started."""

    factors: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By group (``environment``, ``config.model``, ``source``, ``inductor config``, ...) and name."""
    hints: dict[str, dict[str, str]] = Field(default_factory=dict)
    """What is no factor by itself, but may tell which setting a factor without a name of its own comes from."""

    problems: list[str] = Field(default_factory=list)
    """What could not be taken down, so that the factors are not all."""

    def add(self, group: str, name: str, value: str) -> None:
        """Keep a factor; the first value stays."""
        self.factors.setdefault(group, {}).setdefault(name, value)

    def digest(self) -> str | None:
        """Return what identifies all factors with their values; None if there are none."""
        if not self.factors:
            return None
        return hashlib.sha256(json.dumps(self.factors, sort_keys=True).encode()).hexdigest()[:16]


class ChangedFactor(BaseModel):
    """A factor that differs between two starts."""

    group: str
    name: str
    cold: str | None
    """None: not a factor of the cold start."""
    warm: str | None
    hints: list[str] = Field(default_factory=list)
    """Settings that differ and may be behind it, each as ``name: cold -> warm``."""


def changed_factors(cold: CacheKeys, warm: CacheKeys) -> list[ChangedFactor]:
    """Return all factors that differ; a group that one of the starts never computed is not compared."""
    changed = []
    for group in sorted(cold.factors.keys() & warm.factors.keys()):
        before, after = cold.factors[group], warm.factors[group]
        changed += [
            ChangedFactor(
                group=group,
                name=name,
                cold=before.get(name),
                warm=after.get(name),
                hints=_hints(cold.hints.get(group, {}), warm.hints.get(group, {})),
            )
            for name in sorted(before.keys() | after.keys())
            if before.get(name) != after.get(name)
        ]
    return changed


def _hints(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [
        f"{name}: {before.get(name, 'nothing')} -> {after.get(name, 'nothing')}"
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    ]
