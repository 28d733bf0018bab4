"""One step of a pipeline: the catalog on one device."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from coldwarm.core.depth import Depth

OUTPUT = "coldwarm-out"
SUMMARY = f"{OUTPUT}/summary.md"
ARTIFACTS = (f"{OUTPUT}/**/*.json", f"{OUTPUT}/**/*.log", f"{OUTPUT}/junit.xml", SUMMARY)
"""Records, logs and reports; traces are left out for their size."""


@dataclass(frozen=True)
class Step:
    """Cold and warm starts of the catalog's models on one device."""

    device: str
    label: str
    """What kind of machine it needs, in the words of the CI system's agents: ``h100``."""
    queue: str
    minutes: int
    """After which the CI system ends it."""
    paths: tuple[str, ...]
    """Globs of source files; the step runs where one of them changed. Empty: on every pull request."""
    setup: tuple[str, ...]
    """Shell commands that come first."""
    jobs: int | None = None
    """Models side by side; None: as many as help on the machine that the step runs on."""
    depth: Depth = Depth.FULL
    aot_artifacts: tuple[str, ...] = ()
    catalogs: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The name by which others refer to the step."""
        return f"coldwarm-{self.device}"

    @property
    def title(self) -> str:
        """What people read."""
        return f"coldwarm: cold and warm starts ({self.label})"

    def command(self) -> str:
        """The command that runs the suite and writes every report."""
        words = ["coldwarm", "run", "--device", self.device]
        words += ["--depth", self.depth] if self.depth is not Depth.FULL else []
        words += ["--jobs", str(self.jobs)] if self.jobs is not None else []
        words += _each("--aot-artifact", self.aot_artifacts) + _each("--catalog", self.catalogs)
        words += ["--output", OUTPUT, "--report", f"junit={OUTPUT}/junit.xml", "--report", f"markdown={SUMMARY}"]
        return shlex.join(words)


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]
