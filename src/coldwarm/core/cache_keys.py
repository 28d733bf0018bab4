"""The components of a start's cache keys, recorded so that two starts can be compared."""

from __future__ import annotations

import hashlib
import json

from pydantic import Field

from coldwarm.core.deferred_model import DeferredModel


class CacheKeys(DeferredModel):
    """The components of all cache keys that the engine computed during a start."""

    factors: dict[str, dict[str, str]] = Field(default_factory=dict)
    """By group (``environment``, ``config.model``, ``source``, ``inductor config``, ...) and name."""
    hints: dict[str, dict[str, str]] = Field(default_factory=dict)
    """Values that are not key components, but may show which setting an unnamed component comes from."""

    problems: list[str] = Field(default_factory=list)
    """What could not be recorded, so that components are missing."""

    def add(self, group: str, name: str, value: str) -> None:
        """Add a component, unless it already has a value."""
        self.factors.setdefault(group, {}).setdefault(name, value)

    def snapshot(self) -> CacheKeys:
        """Return a copy of the components so far. Another thread may be adding some."""
        return CacheKeys(
            factors={group: dict(components) for group, components in list(self.factors.items())},
            hints={group: dict(settings) for group, settings in list(self.hints.items())},
            problems=list(self.problems),
        )

    def digest(self) -> str | None:
        """Return what identifies all factors with their values; None if there are none."""
        if not self.factors:
            return None
        return hashlib.sha256(json.dumps(self.factors, sort_keys=True).encode()).hexdigest()[:16]


class ChangedFactor(DeferredModel):
    """A key component that differs between two starts."""

    group: str
    name: str
    cold: str | None
    """None: not a component in the cold start."""
    warm: str | None
    hints: list[str] = Field(default_factory=list)
    """Changed settings that may be the cause, each as ``name: cold -> warm``."""


def changed_factors(cold: CacheKeys, warm: CacheKeys) -> list[ChangedFactor]:
    """Return all components that differ; groups that only one of the starts computed are not compared."""
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


class CacheEntry(DeferredModel):
    """An entry of a user's compile cache."""

    folder: str
    modified: float
    """When its key was stored, in seconds since the epoch."""
    stored: CacheKeys
    """The components of its key that the engine stores; of some groups only a hash."""
    keys: CacheKeys | None = None
    """All components, if coldwarm observed the start that made the entry."""

    def differences(self, other: CacheEntry) -> list[ChangedFactor]:
        """Return the components that differ from those of `other`: all, or else those that the engine stores."""
        if self.keys is not None and other.keys is not None:
            return changed_factors(self.keys, other.keys)
        return changed_factors(self.stored, other.stored)
