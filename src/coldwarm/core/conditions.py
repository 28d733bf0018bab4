"""Under which conditions an expectation or a known issue holds: device, compilation, versions, settings."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, get_args

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from coldwarm.core.options import flatten
from coldwarm.core.strict_model import StrictModel

Device = Literal["cpu", "cuda"]
Compilation = Literal["piecewise", "shipped"]
AotArtifact = Literal["bundled", "separate"]
"""Whether the engine bundles the compiled subgraphs in one artifact with the whole AOT-compiled function (vLLM's
``VLLM_USE_MEGA_AOT_ARTIFACT=1``), or keeps each as an artifact of its own (0)."""
DEVICES: tuple[str, ...] = get_args(Device)
AOT_ARTIFACTS: tuple[str, ...] = get_args(AotArtifact)


def _valid_specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(
            f"{text!r} is no version specifier; write it as pip does, for example '>=2.13,<2.14' or '~=0.32.0'"
        ) from error
    if SpecifierSet(text).is_unsatisfiable():
        raise ValueError(f"{text!r} is a version specifier that no version can satisfy")
    return text


VersionSpecifier = Annotated[str, AfterValidator(_valid_specifier)]
"""A PEP 440 version specifier set, as pip writes it."""


def _flat_options(tree: object) -> object:
    """Turn nested tables of options into flat dotted names."""
    if not isinstance(tree, dict):
        return tree
    try:
        return {name: json.loads(text) for name, text in flatten(tree).items()}
    except TypeError as error:  # TOML's dates and times
        raise ValueError(f"an option's value must be one that JSON has: {error}") from error


Options = Annotated[dict[str, Any], BeforeValidator(_flat_options)]
"""Options of the engine by flat dotted name, for example ``{"hf_overrides.num_hidden_layers": 4}``."""


class RunContext(BaseModel):
    """What a start ran on: the other side of `Conditions`."""

    model_config = ConfigDict(frozen=True)

    device: str
    compilation: str
    aot_artifact: str | None = None
    """None: not known."""
    versions: dict[str, str]
    """Versions by distribution name; at least ``torch`` and ``vllm``."""
    options: dict[str, str] = Field(default_factory=dict)
    """The user's options of the engine: JSON text by flat dotted name."""
    environment: dict[str, str] = Field(default_factory=dict)
    """The user's variables with which a model may be compiled differently."""


class Platform(StrictModel):
    """Where something holds, whatever the settings; what is not given does not matter."""

    device: Device | None = None
    compilation: Compilation | None = None
    aot_artifact: AotArtifact | None = None
    torch: VersionSpecifier | None = None
    vllm: VersionSpecifier | None = None

    def hold(self, context: RunContext) -> bool:
        """Whether all conditions hold under `context`; development versions are versions like others."""
        return self.hold_on_platform(context)

    def hold_on_platform(self, context: RunContext) -> bool:
        """Whether the device, the compilation, the AOT artifact and the versions are as given."""
        if self.device is not None and self.device != context.device:
            return False
        if self.compilation is not None and self.compilation != context.compilation:
            return False
        if self.aot_artifact is not None and self.aot_artifact != context.aot_artifact:
            return False
        return _admits(self.torch, context.versions.get("torch")) and _admits(self.vllm, context.versions.get("vllm"))

    def __str__(self) -> str:
        parts: list[str] = [part for part in (self.device, self.compilation) if part]
        parts += [f"{self.aot_artifact} AOT artifact"] if self.aot_artifact else []
        parts += [f"{name} {spec}" for name, spec in (("torch", self.torch), ("vllm", self.vllm)) if spec]
        return ", ".join(parts) or "everywhere"


class Conditions(Platform):
    """Where something that was measured holds: on a platform, and with the settings that it was measured with."""

    options: Options = Field(default_factory=dict)
    """The user's options of the engine that it was measured with; no others may be set."""
    environment: dict[str, str] = Field(default_factory=dict)
    """The user's variables that it was measured with; no others with which a model may be compiled differently may be
    set."""

    def hold(self, context: RunContext) -> bool:
        """Whether all conditions hold under `context`, and the settings are exactly those given."""
        return super().hold(context) and not self.other_settings(context)

    def other_settings(self, context: RunContext) -> list[str]:
        """Return how the settings differ from those it was measured with, as ``without NAME=VALUE``."""
        measured = {**flatten(self.options), **self.environment}
        return differences(measured, {**context.options, **context.environment})

    def __str__(self) -> str:
        settings = {**flatten(self.options), **self.environment}
        return ", ".join([super().__str__(), *(f"{name}={value}" for name, value in settings.items())])


def differences(measured: dict[str, str], seen: dict[str, str]) -> list[str]:
    """Return how the settings that were `seen` differ from the `measured` ones, as ``without NAME=VALUE``."""
    added = [f"without {name}={value}" for name, value in seen.items() if name not in measured]
    others = [f"with {name}={value}" for name, value in measured.items() if seen.get(name) != value]
    return added + others


def _admits(specifier: str | None, version: str | None) -> bool:
    if specifier is None:
        return True
    if version is None:
        return False
    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
