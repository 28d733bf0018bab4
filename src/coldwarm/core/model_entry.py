"""A model's entry in the catalog, as its TOML file has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from coldwarm.core.conditions import Compilation, Conditions, Device
from coldwarm.core.errors import CatalogError
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.strict_model import StrictModel

_Told = TypeVar("_Told")


def flatten_counters(tree: object) -> object:
    """Turn TOML's nested tables (``cold.vllm.num_graphs_seen = 1``) into flat counter names."""
    if not isinstance(tree, dict):
        return tree
    flat: dict[str, object] = {}
    for key, value in tree.items():
        inner = flatten_counters(value)
        more = {f"{key}.{name}": number for name, number in inner.items()} if isinstance(inner, dict) else {key: inner}
        if twice := flat.keys() & more.keys():
            raise ValueError(f"{min(twice)} is given twice")
        flat.update(more)
    return flat


CounterValues = Annotated[dict[str, Annotated[int, Field(strict=True, ge=0)]], BeforeValidator(flatten_counters)]
"""Counts by flat counter name, for example ``{"vllm.num_compiled_artifacts_saved": 3}``."""


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Words = Annotated[str, Field(min_length=1)]
"""Something said; an empty string says nothing."""


class _ForDevices(StrictModel):
    devices: tuple[Device, ...] = ()
    """The devices that this is for; empty: every device."""

    def applies_to(self, device: str) -> bool:
        """Whether this is for `device`."""
        return not self.devices or device in self.devices


class Shrink(_ForDevices):
    """Values that make the model small, handed to the engine as its overrides of the published config."""

    reason: Words
    overrides: dict[str, Any] = Field(min_length=1)


class Deviation(_ForDevices):
    """An edit of the published config, because a device cannot run it as published."""

    reason: Words
    use: str | None = None
    """Go on with this sub-config instead of the whole (``text_config``)."""
    remove: tuple[str, ...] = ()
    set: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.use is None and not self.remove and not self.set:
            raise ValueError("a deviation needs use, remove or set")
        return self


class Unsupported(StrictModel):
    """Where the model cannot run at all."""

    reason: Words
    devices: tuple[Device, ...] = Field(min_length=1)
    compilation: Compilation | None = None


class Seconds(StrictModel):
    """Wall time of the two starts of a run, as measured; for planning, never for a verdict."""

    cold: Annotated[float, Field(gt=0)]
    warm: Annotated[float, Field(gt=0)]


class Memory(StrictModel):
    """The most memory that a start of the run took, in GiB, as measured; for planning, never for a verdict."""

    host: Annotated[float, Field(gt=0)]
    """Resident, of the worker's process."""
    device: Annotated[float, Field(gt=0)] | None = None
    """Reserved on the GPU by PyTorch; None: on a CPU."""


class Expectation(StrictModel):
    """The exact counters that the model must show where `when` holds."""

    when: Conditions
    measured: Words
    """When, on what, and with which versions these numbers were seen."""
    seconds: Seconds | None = None
    """How long the run took when it was last timed."""
    memory: Memory | None = None
    """How much memory it took when that was last measured."""
    shows: tuple[Words, ...] = ()
    """The known issues of the engine (``catalog/known_issues.toml``) that these numbers were measured with, by id. A
    run that this expectation applies to, and that does not show one of them, is unexpectedly fixed."""
    cold: CounterValues = Field(default_factory=dict)
    warm: CounterValues = Field(default_factory=dict)

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if not self.cold and not self.warm:
            raise ValueError("an expectation needs a counter, for example cold.vllm.num_compiled_artifacts_saved = 3")
        return self


class KnownIssue(StrictModel):
    """A failure that is tracked elsewhere: where, under which conditions, and what it looks like."""

    id: str
    title: str
    link: str
    """An issue's address, or a page of this repository."""
    when: Conditions
    breaks: Annotated[tuple[InvariantId, ...], BeforeValidator(_as_list), Field(min_length=1)]
    """The invariants that this issue breaks, all of them, and that it alone excuses."""
    cold: CounterValues = Field(default_factory=dict)
    """What it looks like: counters of the cold start, exactly. Any other values are not this issue."""
    warm: CounterValues = Field(default_factory=dict)
    rewrites: str | None = None
    """What it looks like: a pattern of paths below the caches (``*.x``); the warm start wrote one of the files that the
    cold start had written anew."""
    intermittent: bool = False
    """Whether it shows in some runs only, so that a run without it does not mean that it is fixed."""


class ModelEntry(StrictModel):
    """One model of the catalog."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    name: str
    config: str
    """The published config.json, relative to the TOML file."""
    source: Words
    """Where the config was published."""
    source_note: str = ""
    """How far the packaged facts were checked against the published file."""
    layer_kinds: Annotated[tuple[Words, ...], Field(min_length=1)] | None = None
    """The kinds of layers of the main model, by name (dense, MoE); None: derived from the layers of the model that was
    started. A model that is compiled beside it (a drafter, an encoder) has the limit that its own layers give."""
    shrink: tuple[Shrink, ...] = ()
    deviation: tuple[Deviation, ...] = ()
    unsupported: tuple[Unsupported, ...] = ()
    expect: tuple[Expectation, ...] = ()
    known_issue: tuple[KnownIssue, ...] = ()

    @field_validator("id")
    @classmethod
    def _is_no_file_of_a_suite(cls, model_id: str) -> str:
        if model_id.endswith(".json"):
            raise ValueError(f"{model_id!r} would collide with the files of a suite; an id does not end with .json")
        return model_id

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for what, names in (
            ("layer_kinds", self.layer_kinds or ()),
            ("known_issue ids", tuple(issue.id for issue in self.known_issue)),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"{what} must be unique: {', '.join(names)}")
        return self

    def unsupported_on(self, device: str, compilation: str) -> Unsupported | None:
        """Why the model cannot run on `device` with `compilation`; None where it can."""
        return next(
            (u for u in self.unsupported if device in u.devices and u.compilation in (None, compilation)),
            None,
        )

    def measured(self, device: str, aot_artifact: str | None) -> list[Expectation]:
        """The expectations that were measured on `device`, with artifacts kept so (None: in whichever way)."""
        return [
            row
            for row in self.expect
            if row.when.device == device and (aot_artifact is None or row.when.aot_artifact in (None, aot_artifact))
        ]

    def seconds_of_run(self, device: str, aot_artifact: str | None) -> float | None:
        """How long a run took, cold and warm together, the longest that was measured; None: never measured."""
        rows = self._measured_or_alike(device, aot_artifact, lambda row: row.seconds)
        return max((row.cold + row.warm for row in rows), default=None)

    def memory_of_run(self, device: str, aot_artifact: str | None) -> Memory | None:
        """How much memory a run took, the most that was measured; None: never measured."""
        rows = self._measured_or_alike(device, aot_artifact, lambda row: row.memory)
        if not rows:
            return None
        return Memory(host=max(row.host for row in rows), device=max(row.device or 0 for row in rows) or None)

    def _measured_or_alike(
        self, device: str, aot_artifact: str | None, told: Callable[[Expectation], _Told | None]
    ) -> list[_Told]:
        """What was measured with artifacts kept so; where nothing was, with them kept otherwise: much alike."""
        for rows in (self.measured(device, aot_artifact), self.measured(device, None)):
            if found := [value for value in map(told, rows) if value is not None]:
                return found
        return []


def architectures_of(config: Mapping[str, Any], path: Path) -> list[str]:
    """Return the names of the model's class in a `config` that was read from `path`.

    Raises:
        CatalogError: It names none.
    """
    names = config.get("architectures")
    if not (isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)):
        raise CatalogError(path, 'must name the model\'s class, for example ["LlamaForCausalLM"]', key="architectures")
    return names
