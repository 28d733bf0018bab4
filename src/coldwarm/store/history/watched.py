"""Makes the entry of a start that `coldwarm watch` observed in the user's own caches."""

from __future__ import annotations

import os
from collections.abc import Sequence

from coldwarm.core.checkout import Checkout
from coldwarm.core.command import settings_of
from coldwarm.core.record import StartRecord
from coldwarm.core.run_folder import keys_name, record_name
from coldwarm.core.secrets import Secrets
from coldwarm.diagnose.warmth import StartWarmth
from coldwarm.store import schema
from coldwarm.store.history.content import WARMTH
from coldwarm.store.history.entries import Entry, Surroundings, digest, fields_of_record, id_of, shortened, start_point
from coldwarm.store.history.packing import Files
from coldwarm.store.history.points import Point, ShortFinding


def watched_entry(
    name: str, words: Sequence[str], start: StartWarmth, record: StartRecord, checkout: Checkout | None = None
) -> Entry:
    """Return the entry of a start, without the secrets in the environment and in the command.

    Args:
        name: The name of the command.
        words: The command.
        start: How warm the start was.
        record: What was observed.
        checkout: The checkout under test.
    """
    secrets = Secrets(os.environ, *settings_of(words))
    start = StartWarmth.model_validate(secrets.tree(start.model_dump(mode="json")))
    files = _files(start, record, secrets)
    record = schema.RECORD.from_data(files[record_name(record.kind)])
    fields = fields_of_record(record, Surroundings(checkout=checkout))
    what = [name, record.command, record.engine, record.device, record.compilation]
    point = Point(
        id=id_of(name, [record]),
        source="watch",
        model=name,
        name=name,
        settings=digest(["watch", *what, fields["environment"]]),
        warm_changes=(),
        verdict=start.warmth,
        reasons=tuple(shortened(reason.what) for reason in start.reasons),
        known_issues=(),
        findings=tuple(
            ShortFinding("reason", record.kind, shortened(reason.what), None, None) for reason in start.reasons
        ),
        starts=(start_point(record, "watched"),),
        **fields,
    )
    return Entry(point, files)


def _files(start: StartWarmth, record: StartRecord, secrets: Secrets) -> Files:
    """Return the files of the start, as those of a run: the keys of the first rank have a file of their own."""
    ranks = [each for each in record.processes if each.rank is not None and each.cache_keys is not None]
    first = min(ranks, key=lambda each: each.rank or 0, default=None)
    processes = [each.model_copy(update={"cache_keys": None}) for each in record.processes]
    kept = record.model_copy(update={"processes": processes})
    files = {
        WARMTH: start.model_dump(mode="json"),
        record_name(record.kind): secrets.tree(schema.RECORD.to_data(kept)),
    }
    if first is not None and first.cache_keys is not None:
        files[keys_name(record.kind)] = secrets.tree(first.cache_keys.model_dump(mode="json"))
    return files
