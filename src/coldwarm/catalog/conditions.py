"""Under which conditions an expectation or a known issue holds: device, compilation, versions."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version
from pydantic import AfterValidator, BaseModel, ConfigDict

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


class Circumstances(BaseModel):
    """What a run ran on: the other side of `Conditions`."""

    model_config = ConfigDict(frozen=True)

    device: str
    compilation: str
    aot_artifact: str | None = None
    """None: not known."""
    versions: dict[str, str]
    """Versions by distribution name; at least ``torch`` and ``vllm``."""


class Conditions(BaseModel):
    """Where something holds; what is not given does not matter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    device: Device | None = None
    compilation: Compilation | None = None
    aot_artifact: AotArtifact | None = None
    torch: VersionSpecifier | None = None
    vllm: VersionSpecifier | None = None

    def hold(self, circumstances: Circumstances) -> bool:
        """Whether all conditions hold under `circumstances`; development versions are versions like others."""
        if self.device is not None and self.device != circumstances.device:
            return False
        if self.compilation is not None and self.compilation != circumstances.compilation:
            return False
        if self.aot_artifact is not None and self.aot_artifact != circumstances.aot_artifact:
            return False
        return _admits(self.torch, circumstances.versions.get("torch")) and _admits(
            self.vllm, circumstances.versions.get("vllm")
        )

    def __str__(self) -> str:
        parts: list[str] = [part for part in (self.device, self.compilation) if part]
        parts += [f"{self.aot_artifact} AOT artifact"] if self.aot_artifact else []
        parts += [f"{name} {spec}" for name, spec in (("torch", self.torch), ("vllm", self.vllm)) if spec]
        return ", ".join(parts) or "everywhere"


def _admits(specifier: str | None, version: str | None) -> bool:
    if specifier is None:
        return True
    if version is None:
        return False
    try:
        return SpecifierSet(specifier).contains(Version(version), prereleases=True)
    except InvalidVersion:
        return False
