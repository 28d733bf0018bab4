"""The half for the launcher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coldwarm.core.depth import Depth
from coldwarm.engines.base import Installation
from tests.support.fake_engine.release import installed


def find() -> Installation:
    """Return the fake engine, which is always installed."""
    found = FakeInstallation()
    if (release := installed()) is not None and release.__file__ is not None:
        found.version, found.package = release.VERSION, Path(release.__file__).parent
    return found


class FakeInstallation:
    """Runs anything, anywhere."""

    name = "fake"
    version = "1.0"
    distribution = "fake-engine"
    package = Path(__file__).parent

    def default_device(self) -> str:
        return "cpu"

    def check_device(self, device: str) -> None: ...

    def check_config(self, config: Mapping[str, Any], path: Path) -> None: ...

    def check_counters(self, names: list[str]) -> str | None:
        return None

    def environment(self, depth: Depth, cores: int | None, options: Mapping[str, Any]) -> dict[str, str]:
        share = {} if cores is None else {"OMP_NUM_THREADS": str(cores)}
        return {"FAKE_DEFAULT": "on", "FAKE_DEPTH": depth, **share}

    def check_options(self, options: Mapping[str, Any], depth: Depth) -> None: ...

    def aot_artifact_variables(self, aot_artifact: str) -> dict[str, str]:
        return {"VLLM_FAKE_AOT_ARTIFACT": aot_artifact}

    def versions(self) -> dict[str, str]:
        return {"vllm": "1.0", "fake": self.version, "torch": "1.0"}
