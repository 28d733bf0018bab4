"""Conditions under which an expectation or a known issue applies: device, compilation, versions, settings."""

from __future__ import annotations

import json
from functools import lru_cache
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
``VLLM_USE_MEGA_AOT_ARTIFACT=1``), or stores each as a separate artifact (0)."""
DEVICES: tuple[str, ...] = get_args(Device)
VERSIONED = ("torch", "vllm")
"""The distributions whose versions are conditions."""
AOT_ARTIFACTS: tuple[str, ...] = get_args(AotArtifact)


def _valid_specifier(text: str) -> str:
    try:
        SpecifierSet(text)
    except InvalidSpecifier as error:
        raise ValueError(
            f"{text!r} is not a version specifier; write it as for pip, for example '>=2.13,<2.14' or '~=0.32.0'"
        ) from error
    if SpecifierSet(text).is_unsatisfiable():
        raise ValueError(f"{text!r} is a version specifier that no version satisfies")
    return text


VersionSpecifier = Annotated[str, AfterValidator(_valid_specifier)]
"""A PEP 440 version specifier set, as for pip."""


def _flat_options(tree: object) -> object:
    """Turn nested tables of options into flat dotted names."""
    if not isinstance(tree, dict):
        return tree
    try:
        return {name: json.loads(text) for name, text in flatten(tree).items()}
    except TypeError as error:  # TOML's dates and times
        raise ValueError(f"an option's value must be representable in JSON: {error}") from error


Options = Annotated[dict[str, Any], BeforeValidator(_flat_options)]
"""Options of the engine by flat dotted name, for example ``{"hf_overrides.num_hidden_layers": 4}``."""


class RunContext(BaseModel):
    """Platform and settings of a start, to be matched with `Conditions`."""

    model_config = ConfigDict(frozen=True)

    device: str
    compilation: str
    aot_artifact: str | None = None
    """None: unknown."""
    versions: dict[str, str]
    """Versions by distribution name; at least ``torch`` and ``vllm``."""
    options: dict[str, str] = Field(default_factory=dict)
    """The user's options of the engine: JSON text by flat dotted name."""
    environment: dict[str, str] = Field(default_factory=dict)
    """The user's variables that can change what is compiled."""


class Platform(StrictModel):
    """A platform to which something applies, with any settings. A field that is None matches everything."""

    device: Device | None = None
    compilation: Compilation | None = None
    aot_artifact: AotArtifact | None = None
    torch: VersionSpecifier | None = None
    vllm: VersionSpecifier | None = None

    def matches(self, context: RunContext) -> bool:
        """Return whether `context` meets all conditions; development versions are treated like others."""
        return self.matches_platform(context)

    def matches_platform(self, context: RunContext) -> bool:
        """Return whether the device, the compilation, the AOT artifact and the versions match."""
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
    """A platform and the settings with which something was measured, and to which it therefore applies."""

    options: Options = Field(default_factory=dict)
    """The user's options of the engine; no others may be set."""
    environment: dict[str, str] = Field(default_factory=dict)
    """The user's variables; no others that can change what is compiled may be set."""

    def matches(self, context: RunContext) -> bool:
        """Return whether `context` meets all conditions, and has exactly these settings."""
        return super().matches(context) and not self.other_settings(context)

    @classmethod
    def of(cls, context: RunContext) -> Conditions:
        """Return the conditions under which what was measured in `context` holds: any patch release of its versions."""
        ranges = {name: _patch_releases(context.versions[name]) for name in VERSIONED if name in context.versions}
        platform = {"device": context.device, "compilation": context.compilation, "aot_artifact": context.aot_artifact}
        options = {name: json.loads(text) for name, text in context.options.items()}
        return cls.model_validate({**platform, **ranges, "options": options, "environment": context.environment})

    def other_settings(self, context: RunContext) -> list[str]:
        """Return how the settings of `context` differ from these, each as ``without`` or ``with NAME=VALUE``."""
        measured = {**flatten(self.options), **self.environment}
        return differences(measured, {**context.options, **context.environment})

    def __str__(self) -> str:
        settings = {**flatten(self.options), **self.environment}
        return ", ".join([super().__str__(), *(f"{name}={value}" for name, value in settings.items())])


def differences(measured: dict[str, str], seen: dict[str, str]) -> list[str]:
    """Return how the settings `seen` differ from those `measured`, each as ``without`` or ``with NAME=VALUE``."""
    added = [f"without {name}={value}" for name, value in seen.items() if name not in measured]
    others = [f"with {name}={value}" for name, value in measured.items() if seen.get(name) != value]
    return added + others


def _patch_releases(version: str) -> str | None:
    """Return the specifier of all patch releases like `version`; None if it is not a version."""
    try:
        parsed = Version(version)
    except InvalidVersion:
        return None
    usual = f"~={parsed.major}.{parsed.minor}.0"
    # "~=0.33.0" does not admit 0.33.0rc1.
    return usual if SpecifierSet(usual).contains(parsed, prereleases=True) else f"=={parsed.major}.{parsed.minor}.*"


@lru_cache(maxsize=1024)  # the same for all runs that are judged
def _admits(specifier: str | None, version: str | None) -> bool:
    if specifier is None:
        return True
    if version is None:
        return False
    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
