"""A model's catalog entry, as in its TOML file."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self, TypeVar

from pydantic import BeforeValidator, Field, field_validator, model_validator

from coldwarm.core.conditions import Compilation, Conditions, Device
from coldwarm.core.errors import CatalogError
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.strict_model import StrictModel

_Value = TypeVar("_Value")


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


NonEmptyStr = Annotated[str, Field(min_length=1)]
"""A non-empty string."""


class _ForDevices(StrictModel):
    devices: tuple[Device, ...] = ()
    """The devices to which this applies; empty: every device."""

    def applies_to(self, device: str) -> bool:
        """Return whether this applies to `device`."""
        return not self.devices or device in self.devices


class Shrink(_ForDevices):
    """Values that shrink the model."""

    reason: NonEmptyStr
    overrides: dict[str, Any] = Field(min_length=1)
    edits_config: bool = False
    """Whether the values are written to the config that the engine reads, so that the engine derives everything else
    from them. Otherwise they are passed to the engine as overrides, after it has derived that from the published
    values."""


class Deviation(_ForDevices):
    """An edit of the published config, for a device that cannot run it as published."""

    reason: NonEmptyStr
    use: str | None = None
    """Use this sub-config instead of the whole config (``text_config``)."""
    remove: tuple[str, ...] = ()
    set: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _does_something(self) -> Self:
        if self.use is None and not self.remove and not self.set:
            raise ValueError("a deviation needs use, remove or set")
        return self


class Unsupported(StrictModel):
    """Devices on which the model cannot run at all."""

    reason: NonEmptyStr
    devices: tuple[Device, ...] = Field(min_length=1)
    compilation: Compilation | None = None


class Drafter(StrictModel):
    """A separate model that proposes tokens for the main one (EAGLE). Layers that propose tokens and are part of the
    main model's config (MTP) need no drafter."""

    config: NonEmptyStr
    """The drafter's published config.json, relative to the TOML file."""
    source: NonEmptyStr
    """Where the config was published."""
    source_note: str = ""
    """How the packaged config was compared with the published one."""
    shrink: tuple[Shrink, ...] = ()
    """Values that replace those of its config. Its width must match that of the shrunk main model."""
    deviation: tuple[Deviation, ...] = ()


class Seconds(StrictModel):
    """Measured wall times of the two starts of a run; used for planning, never for a verdict."""

    cold: Annotated[float, Field(gt=0)]
    warm: Annotated[float, Field(gt=0)]


class Memory(StrictModel):
    """Measured peak memory of the starts of a run, in GiB; used for planning, never for a verdict."""

    host: Annotated[float, Field(gt=0)]
    """Resident memory of the worker process."""
    device: Annotated[float, Field(gt=0)] | None = None
    """GPU memory reserved by PyTorch; None: on a CPU."""


class Expectation(StrictModel):
    """The exact counters of the model under the conditions `when`."""

    when: Conditions
    measured: NonEmptyStr
    """The date, the machine and the versions of the measurement."""
    seconds: Seconds | None = None
    """The latest measured times."""
    memory: Memory | None = None
    """The latest measured memory."""
    shows: tuple[NonEmptyStr, ...] = ()
    """The ids of the known issues of the engine (``catalog/known_issues.toml``) that occurred in the measurement. A run
    to which this expectation applies is unexpectedly fixed if one of them does not occur."""
    cold: CounterValues = Field(default_factory=dict)
    warm: CounterValues = Field(default_factory=dict)

    @model_validator(mode="after")
    def _expects_something(self) -> Self:
        if not self.cold and not self.warm:
            raise ValueError("an expectation needs a counter, for example cold.vllm.num_compiled_artifacts_saved = 3")
        return self


class KnownIssue(StrictModel):
    """A failure that is tracked elsewhere, with its conditions and its symptoms."""

    id: str
    title: str
    link: str
    """The URL of an issue, or a page: in this repository, or for a user's model relative to its file."""
    when: Conditions
    breaks: Annotated[tuple[InvariantId, ...], BeforeValidator(_as_list), Field(min_length=1)]
    """The invariants that this issue breaks. It accepts only these, and only if all of them fail."""
    cold: CounterValues = Field(default_factory=dict)
    """Symptoms: exact counters of the cold start. With any other values, it is not this issue."""
    warm: CounterValues = Field(default_factory=dict)
    rewrites: str | None = None
    """Symptom: the warm start rewrote a file whose path in the caches matches this pattern (``*.x``)."""
    intermittent: bool = False
    """Whether it does not occur in every run, so a run without it does not mean that it is fixed."""

    @field_validator("breaks")
    @classmethod
    def _counters_can_identify_it(cls, breaks: tuple[InvariantId, ...]) -> tuple[InvariantId, ...]:
        if InvariantId.READY_NO_COMPILER in breaks:
            raise ValueError(
                f"{InvariantId.READY_NO_COMPILER} is broken by kernels and functions, which no counter identifies; "
                "declare an issue of the engine"
            )
        return breaks


def id_of_name(name: str) -> str:
    """Return an id that is like `name`; empty if it has no letters and digits."""
    return re.sub(r"[^a-z0-9._-]+", "-", name.lower()).removesuffix(".json").strip("-._")


class ModelEntry(StrictModel):
    """One model of the catalog."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    name: str
    config: str
    """The published config.json, relative to the TOML file."""
    source: NonEmptyStr
    """Where the config was published."""
    source_note: str = ""
    """How the packaged config was compared with the published one."""
    files: tuple[NonEmptyStr, ...] = ()
    """Other files that the engine reads beside the config.json, such as those of a processor; relative to the TOML
    file."""
    representative: bool = False
    """Whether a run that names no models includes this one of the packaged catalog."""
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the engine with which the model is started; the user's options take precedence."""
    drafter: Drafter | None = None
    layer_kinds: Annotated[tuple[NonEmptyStr, ...], Field(min_length=1)] | None = None
    """The layer kinds of the main model, by name (dense, MoE); None: derived from the layers of the started model.
    Further compiled models (a drafter, an encoder) have limits derived from their own layers."""
    shrink: tuple[Shrink, ...] = ()
    deviation: tuple[Deviation, ...] = ()
    unsupported: tuple[Unsupported, ...] = ()
    expect: tuple[Expectation, ...] = ()
    known_issue: tuple[KnownIssue, ...] = ()

    @field_validator("id")
    @classmethod
    def _is_not_a_suite_file(cls, model_id: str) -> str:
        if model_id.endswith(".json"):
            raise ValueError(f"{model_id!r} would collide with the files of a suite; an id must not end with .json")
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
        """Return why the model cannot run on `device` with `compilation`; None if it can."""
        return next(
            (u for u in self.unsupported if device in u.devices and u.compilation in (None, compilation)),
            None,
        )

    def measured(self, device: str, aot_artifact: str | None) -> list[Expectation]:
        """Return the expectations that were measured on `device` with this kind of AOT artifact (None: any kind)."""
        return [
            row
            for row in self.expect
            if row.when.device == device and (aot_artifact is None or row.when.aot_artifact in (None, aot_artifact))
        ]

    def seconds_of_run(self, device: str, aot_artifact: str | None) -> float | None:
        """Return the longest measured time of a run, cold and warm together, in seconds; None: never measured."""
        rows = self._measured_or_alike(device, aot_artifact, lambda row: row.seconds)
        return max((row.cold + row.warm for row in rows), default=None)

    def memory_of_run(self, device: str, aot_artifact: str | None) -> Memory | None:
        """Return the largest measured memory of a run; None: never measured."""
        rows = self._measured_or_alike(device, aot_artifact, lambda row: row.memory)
        if not rows:
            return None
        return Memory(host=max(row.host for row in rows), device=max(row.device or 0 for row in rows) or None)

    def _measured_or_alike(
        self, device: str, aot_artifact: str | None, measurement: Callable[[Expectation], _Value | None]
    ) -> list[_Value]:
        """Return measurements with this kind of AOT artifact, or else with any kind, which are similar."""
        for rows in (self.measured(device, aot_artifact), self.measured(device, None)):
            if found := [value for value in map(measurement, rows) if value is not None]:
                return found
        return []


def architectures_of(config: Mapping[str, Any], path: Path) -> list[str]:
    """Return the model class names in a `config` that was read from `path`.

    Raises:
        CatalogError: The config names no class.
    """
    names = config.get("architectures")
    if not (isinstance(names, list) and names and all(isinstance(name, str) and name for name in names)):
        raise CatalogError(path, 'must name the model class, for example ["LlamaForCausalLM"]', key="architectures")
    return names
