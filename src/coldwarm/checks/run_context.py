"""What the starts of a run ran on, and with which settings: which expectations and known issues apply to it."""

from __future__ import annotations

from coldwarm.core.conditions import Circumstances, differences
from coldwarm.core.options import flatten
from coldwarm.core.record import StartRecord
from coldwarm.core.secrets import Secrets
from coldwarm.engines.base import load_vocabulary


def circumstances_of(record: StartRecord) -> Circumstances:
    """What a finished start ran on, and its settings; secrets are masked."""
    return Circumstances(
        device=record.device,
        compilation=record.compilation,
        aot_artifact=record.facts.aot_artifact if record.facts else None,
        versions=record.facts.versions if record.facts else {},
        options=_options(record),
        environment=load_vocabulary(record.engine).settings_in(_environment(record)),
    )


def warm_changes(cold: StartRecord, warm: StartRecord | None) -> list[str]:
    """Return the settings that the `warm` start has and the `cold` one has not, as ``without NAME=VALUE``.

    Every variable that may be in a cache key counts here: a changed one can make the warm start compile again.
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
    """Say which of the user's options have no effect in a start; a note for each."""
    of_cold = _ineffective(cold)
    of_warm = [note for note in (_ineffective(warm) if warm else []) if note not in of_cold]
    return of_cold + [f"in the warm start, {note}" for note in of_warm]


def _ineffective(record: StartRecord) -> list[str]:
    used = record.facts.ineffective_options if record.facts else {}
    engine = load_vocabulary(record.engine).title
    asked = _options(record)
    return [
        f"{name}={asked[name]} has no effect here: {engine} used {value}"
        for name, value in used.items()
        if name in asked
    ]


def _options(record: StartRecord) -> dict[str, str]:
    return flatten(Secrets(record.options).options(record.options))


def _environment(record: StartRecord) -> dict[str, str]:
    return Secrets(record.environment).environment(record.environment)


def _aot_artifact(record: StartRecord) -> dict[str, str]:
    kept = record.facts.aot_artifact if record.facts else None
    return {"aot_artifact": kept} if kept else {}
