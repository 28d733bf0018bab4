"""What the starts of a run ran on, and with which settings: which expectations and known issues apply to it."""

from __future__ import annotations

from coldwarm.catalog.conditions import Circumstances, differences
from coldwarm.engines.vllm.settings import keyed_in, settings_in
from coldwarm.starts.options import flatten
from coldwarm.starts.record import StartRecord
from coldwarm.starts.secrets import Secrets


def circumstances_of(record: StartRecord) -> Circumstances:
    """What a finished start ran on, and its settings; secrets are masked."""
    return Circumstances(
        device=record.device,
        compilation=record.compilation,
        aot_artifact=record.facts.aot_artifact if record.facts else None,
        versions=record.facts.versions if record.facts else {},
        options=_options(record),
        environment=settings_in(_environment(record)),
    )


def warm_changes(cold: StartRecord, warm: StartRecord | None) -> list[str]:
    """Return the settings that the `warm` start has and the `cold` one has not, as ``without NAME=VALUE``.

    Every variable that may be in a cache key counts here: a changed one can make the warm start compile again.
    """
    if warm is None:
        return []
    return [
        *differences(_options(cold), _options(warm)),
        *differences(keyed_in(_environment(cold)), keyed_in(_environment(warm))),
        *differences(_aot_artifact(cold), _aot_artifact(warm)),
    ]


def _options(record: StartRecord) -> dict[str, str]:
    return flatten(Secrets(record.options).options(record.options))


def _environment(record: StartRecord) -> dict[str, str]:
    return Secrets(record.environment).environment(record.environment)


def _aot_artifact(record: StartRecord) -> dict[str, str]:
    kept = record.facts.aot_artifact if record.facts else None
    return {"aot_artifact": kept} if kept else {}
