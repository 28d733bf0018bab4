"""Platform and settings of a run, which determine the expectations and known issues that apply to it."""

from __future__ import annotations

from coldwarm.core.conditions import RunContext, differences
from coldwarm.core.options import flatten
from coldwarm.core.record import StartRecord
from coldwarm.core.secrets import Secrets
from coldwarm.engines.base import load_vocabulary


def context_of(record: StartRecord) -> RunContext:
    """Return the platform and settings of a finished start; secrets are masked."""
    return RunContext(
        device=record.device,
        compilation=record.compilation,
        aot_artifact=record.facts.aot_artifact if record.facts else None,
        versions=record.facts.versions if record.facts else {},
        options=_options(record),
        environment=load_vocabulary(record.engine).settings_in(_environment(record)),
    )


def warm_changes(cold: StartRecord, warm: StartRecord | None) -> list[str]:
    """Return the settings that only the `warm` start has, each as ``without NAME=VALUE``.

    Every variable that may be part of a cache key counts here: changing one can make the warm start recompile.
    """
    if warm is None:
        return []
    keyed_in = load_vocabulary(cold.engine).keyed_in
    return [
        *differences(_options(cold), _options(warm)),
        *differences(keyed_in(_environment(cold)), keyed_in(_environment(warm))),
        *differences(_aot_artifact(cold), _aot_artifact(warm)),
    ]


def ineffective_settings(cold: StartRecord, warm: StartRecord | None) -> list[str]:
    """Return a note for each of the user's options that has no effect in a start."""
    of_cold = _ineffective(cold)
    of_warm = [note for note in (_ineffective(warm) if warm else []) if note not in of_cold]
    return of_cold + [f"in the warm start, {note}" for note in of_warm]


def _ineffective(record: StartRecord) -> list[str]:
    used = record.facts.ineffective_options if record.facts else {}
    engine = load_vocabulary(record.engine).title
    requested = _options(record)
    return [
        f"{name}={requested[name]} has no effect here: {engine} used {value}"
        for name, value in used.items()
        if name in requested
    ]


def _options(record: StartRecord) -> dict[str, str]:
    return flatten(Secrets(record.options).options(record.options))


def _environment(record: StartRecord) -> dict[str, str]:
    return Secrets(record.environment).environment(record.environment)


def _aot_artifact(record: StartRecord) -> dict[str, str]:
    value = record.facts.aot_artifact if record.facts else None
    return {"aot_artifact": value} if value else {}
