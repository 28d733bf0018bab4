"""Schema versions of all stored data, and migrations from older versions.

Each kind of file has its own version. Renaming a key or value, or changing its meaning, requires a new version and a
migration from the previous one. Adding a key with a default does not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError, field_serializer
from pydantic_core import from_json

from coldwarm import __version__
from coldwarm.checks.verdict import Verdict
from coldwarm.core import record
from coldwarm.core.case import Case
from coldwarm.core.checkout import Checkout
from coldwarm.core.errors import UsageError
from coldwarm.core.finding import FindingKind
from coldwarm.core.secrets import Secrets, masked_argv
from coldwarm.core.strict_model import STORED
from coldwarm.diagnose.explanation import Explanation

Data = dict[str, Any]
"""The content of a file, as JSON."""
Migration = Callable[[Data], Data]

_Model = TypeVar("_Model", bound=BaseModel)
_VERSION = "schema_version"
_FIRST = 1
"""Also the version of files without one."""


class _NewerError(ValueError):
    """Data of a newer, unknown version."""


class SuiteRecord(BaseModel):
    """The command and the models of a suite."""

    coldwarm: str = __version__
    began: datetime
    command: list[str]
    models: list[str]
    """In the order in which they run."""
    written_by: Literal["run", "pytest"] = "run"
    """``pytest``: a later pytest run may replace the suite."""
    versions: dict[str, str] = Field(default_factory=dict)
    """The installed versions by distribution name, which a start that crashes does not record."""
    checkout: Checkout | None = None
    """The checkout under test; None: there is none, or it was not recorded."""

    @field_serializer("command")
    def _command_without_secrets(self, command: list[str]) -> list[str]:
        return [Secrets.of_command(command).text(word) for word in masked_argv(command)]


@dataclass(frozen=True)
class Schema(Generic[_Model]):
    """Reads and writes one kind of file.

    Args:
        model: The pydantic model of the content.
        version: The version that is written.
        migrations: Migrations to the next version, by the older version.
    """

    model: type[_Model]
    version: int = _FIRST
    migrations: Mapping[int, Migration] = field(default_factory=dict)

    def to_data(self, content: _Model) -> Data:
        """Return `content` in its stored format, with the version."""
        return {_VERSION: self.version} | content.model_dump(mode="json") | {_VERSION: self.version}

    def from_data(self, data: Data) -> _Model:
        """Return the content of stored `data` of any known version.

        Raises:
            ValueError: The data is damaged (`pydantic.ValidationError`), or was written by a newer coldwarm.
        """
        if (version := _version_of(data)) > self.version:
            raise _NewerError(
                f"written by a newer coldwarm with schema version {version}; this coldwarm ({__version__}) reads "
                f"versions up to {self.version}; to upgrade: pip install --upgrade coldwarm"
            )
        for older in range(version, self.version):
            data = {**self.migrations[older](data), _VERSION: older + 1}
        return self.model.model_validate(data, context=STORED)

    def read(self, path: Path) -> _Model | None:
        """Return the content of `path`; None if the file does not exist.

        Raises:
            UsageError: The file cannot be read, is damaged, or was written by a newer coldwarm.
        """
        try:
            data = from_json(path.read_bytes())
            if not isinstance(data, dict):
                raise ValueError("not a JSON object")
            return self.from_data(data)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}") from error
        except _NewerError as error:
            raise UsageError(f"cannot read {path}: {error}") from error
        except ValidationError as error:
            problem = error.errors()[0]
            where = ".".join(str(part) for part in problem["loc"])
            raise UsageError(f"{path} is damaged: {where}: {problem['msg']}") from error
        except (
            AttributeError,
            KeyError,
            TypeError,
            ValueError,
        ) as error:  # not JSON, or not migratable
            raise UsageError(f"{path} is damaged: {error}") from error


def _version_of(data: Data) -> int:
    version = data.get(_VERSION, _FIRST)
    if not isinstance(version, int) or version < _FIRST:
        raise ValueError(f"{_VERSION} is {version!r}, not an integer of at least {_FIRST}")
    return version


def _explanation_from_1(data: Data) -> Data:
    """Drop costs that version 1 counted in several findings; those of unshared subgraphs were already correct."""
    findings = [
        {**finding, "seconds": None}
        if finding.get("seconds") is not None and finding["kind"] != FindingKind.NOT_SHARED
        else finding
        for finding in data.get("findings", [])
    ]
    if findings == data.get("findings", []):
        return data
    note = (
        "costs of findings that were stored by an older version of coldwarm are omitted, because it counted the same "
        "cost in several findings; run again to measure them"
    )
    return {**data, "findings": findings, "notes": [*data.get("notes", []), note]}


_OF_RANK = ("counters", "layer_kinds", "layer_configurations", "main_model", "further_models")


def _record_from_1(data: Data) -> Data:
    """Move what was seen in processes to `processes`: version 1 had it in three places, in part several times."""
    whole: Data = {"messages": [], "outside": {}, "missing_bytecode": None, "peak_memory_bytes": None}
    whole |= {key: data[key] for key in whole if data.get(key) is not None}
    record = {key: value for key, value in data.items() if key not in whole}
    facts = data.get("facts")
    ranks: list[Data] = []
    if facts is not None:
        of_first = {key: facts[key] for key in (*_OF_RANK, "peak_device_memory_bytes") if key in facts}
        record["facts"] = {key: value for key, value in facts.items() if key not in {*of_first, "processes"}}
        # One process was the only rank, also before processes were recorded.
        ranks = facts.get("processes") or [{"rank": 0, **of_first}]
    if len(ranks) == 1:
        processes = [{**ranks[0], **whole}]
    else:
        rest = _rest_of(whole, ranks)
        is_known = rest["messages"] or any(rest["outside"].values()) or rest["missing_bytecode"]
        processes = [*([rest] if is_known or rest["peak_memory_bytes"] else []), *ranks]
    return {**record, "processes": processes}


def _rest_of(whole: Data, ranks: list[Data]) -> Data:
    """Return the report of the process that the start began with, from what is known of the `whole` start.

    If it ran no rank itself, version 1 stored only what it and the `ranks` saw together.
    """
    of_ranks = [message for rank in ranks for message in rank.get("messages", [])]
    own = [number for number, message in enumerate(whole["messages"]) if message not in of_ranks]
    memory = (whole["peak_memory_bytes"] or 0) - sum(rank.get("peak_memory_bytes") or 0 for rank in ranks)
    return {
        **whole,
        "role": "engine core" if ranks else "worker",
        # Its own came first.
        "messages": whole["messages"][: own[-1] + 1 if own else 0],
        "outside": {
            kind: [file for file in files if not any(file in rank.get("outside", {}).get(kind, ()) for rank in ranks)]
            for kind, files in whole["outside"].items()
        },
        "peak_memory_bytes": max(0, memory) or None,
    }


SUITE = Schema(SuiteRecord)
CASE = Schema(Case)
RECORD = Schema(record.StartRecord, record.SCHEMA_VERSION, {1: _record_from_1})
VERDICT = Schema(Verdict)
EXPLANATION = Schema(Explanation, 2, {1: _explanation_from_1})
ALL: tuple[Schema[Any], ...] = (SUITE, CASE, RECORD, VERDICT, EXPLANATION)
