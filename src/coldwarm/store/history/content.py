"""What the history keeps of a run beside its point, from which the run can be shown, judged and compared."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

from coldwarm.checks.verdict import Verdict
from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.case import Case
from coldwarm.core.errors import UsageError
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import (
    CASE,
    EXPLANATION,
    REPETITIONS,
    SUITE,
    VERDICT,
    RunFolder,
    SuiteFolder,
    keys_name,
    record_name,
)
from coldwarm.diagnose.explanation import Explanation
from coldwarm.diagnose.warmth import StartWarmth
from coldwarm.store import schema
from coldwarm.store.history.packing import Files

WARMTH = "watch.json"
"""The name of the file with how warm a start was that was watched."""


@dataclass(frozen=True)
class RunContent:
    """What the history keeps of a run beside its point."""

    case: Case | None
    """None: a start that was watched has none."""
    cold: StartRecord | None
    warm: StartRecord | None
    """Of a start that was watched, its record."""
    verdict: Verdict | None
    explanation: Explanation | None
    warmth: StartWarmth | None = None
    """How warm a start was that was watched."""
    keys: dict[str, CacheKeys] = field(default_factory=dict)
    """The components of cache keys in the first rank, by the name of the start; missing: they were not recorded."""
    repetitions: tuple[RunContent, ...] = ()
    """The second, third, ... repetition; empty: it was not repeated."""

    @property
    def shown(self) -> RunContent:
        """The repetition that has the verdict on the run; the run itself if it was not repeated."""
        number = self.verdict.repetition if self.verdict is not None else 1
        return [self, *self.repetitions][min(number, len(self.repetitions) + 1) - 1]


def content_of(files: Files) -> RunContent:
    """Return the content of the `files` of a run; those of an older schema are migrated.

    Raises:
        ValueError: A file is damaged, or was written by a newer coldwarm.
    """
    repetitions: list[RunContent] = []
    while of_next := _of_repetition(files, len(repetitions) + 2):
        repetitions.append(_content(of_next))
    return replace(_content(files), repetitions=tuple(repetitions))


def _of_repetition(files: Files, number: int) -> Files:
    """Return the files of a further repetition, by their names in its folder."""
    folder = f"{RunFolder(Path()).repetition(number).path.as_posix()}/"
    return {path.removeprefix(folder): content for path, content in files.items() if path.startswith(folder)}


def _content(files: Files) -> RunContent:
    starts = {kind: _read(schema.RECORD, files, record_name(kind)) for kind in StartKind}
    keys = {str(kind): files[keys_name(kind)] for kind in StartKind if keys_name(kind) in files}
    return RunContent(
        case=_read(schema.CASE, files, CASE),
        cold=starts[StartKind.COLD],
        warm=starts[StartKind.WARM],
        verdict=_read(schema.VERDICT, files, VERDICT),
        explanation=_read(schema.EXPLANATION, files, EXPLANATION),
        warmth=StartWarmth.model_validate(files[WARMTH]) if WARMTH in files else None,
        keys={start: CacheKeys.model_validate(content) for start, content in keys.items()},
    )


def write_files(name: str, files: Files, folder: Path) -> None:
    """Write the `files` of the run `name` as a suite of this run, which every command of coldwarm reads.

    Raises:
        UsageError: `folder` has something in it, or cannot be written; or a name in the history is not that of a file.
    """
    if not _is_name(name) or not all(_is_path(file) for file in files):
        raise UsageError(f"a name in the history is not that of a file: {name}: {', '.join(files)}")
    try:
        if folder.exists() and any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty; choose another folder")
        run = folder / name
        run.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            path = SuiteFolder(folder).suite if file == SUITE else run / file
            path.parent.mkdir(exist_ok=True)
            path.write_text(json.dumps(content, indent=2, ensure_ascii=False), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {error.filename or folder}: {error.strerror}") from error


def _is_path(file: str) -> bool:
    """Return whether `file` is the name of a file, or that of one in the folder of a repetition."""
    folder, slash, name = file.rpartition("/")
    return _is_name(name) and (not slash or (_is_name(folder) and PurePath(folder).match(REPETITIONS)))


def _is_name(name: str) -> bool:
    return PurePath(name).name == name and name not in ("", "..")


def _read(kind: schema.Schema[Any], files: Files, name: str) -> Any:
    return kind.from_data(files[name]) if name in files else None
