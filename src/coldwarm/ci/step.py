"""One step of a pipeline: runs models of the catalog on one device."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from coldwarm.core.depth import Depth

OUTPUT = "coldwarm-out"
SUMMARY = f"{OUTPUT}/summary.md"
CHANGES = f"{OUTPUT}/changes.md"
ACCEPTED = "coldwarm-accepted"
"""Where the last accepted run of a device is kept, below this name."""
ARTIFACTS = (f"{OUTPUT}/**/*.json", f"{OUTPUT}/**/*.log", f"{OUTPUT}/junit.xml", f"{OUTPUT}/*.md", f"{OUTPUT}/*.html")
"""Records, logs and reports; traces are left out for their size."""


@dataclass(frozen=True)
class Step:
    """Cold and warm starts of the catalog's models on one device."""

    device: str
    label: str
    """The kind of machine, as the CI system's agents call it: ``h100``."""
    queue: str
    minutes: int
    """The time limit after which the CI system aborts the step."""
    paths: tuple[str, ...]
    """Globs of source files; the step runs if one of them changed. Empty: it runs on every pull request."""
    setup: tuple[str, ...]
    """Shell commands to execute first."""
    jobs: int | None = None
    """The number of parallel runs; None: chosen on the machine that executes the step."""
    depth: Depth = Depth.FULL
    aot_artifacts: tuple[str, ...] = ()
    catalogs: tuple[str, ...] = ()
    whole_catalog: bool = False
    """Whether every model of the catalog runs, instead of the representative ones."""
    accepted: str | None = None
    """The folder with the last accepted run, for a nightly step, which shows first what changed since then; None: the
    step is for pull requests."""
    store: str | None = None
    """The history to which the results are added; None: the one of the machine's COLDWARM_STORE, if it is set."""

    @property
    def key(self) -> str:
        """The id of the step."""
        return f"coldwarm-{self.device}"

    @property
    def title(self) -> str:
        """The displayed name of the step."""
        return f"coldwarm: cold and warm starts ({self.label})"

    def comparison(self) -> str:
        """Return the command that writes what changed to `CHANGES`, and keeps the run if it can be accepted.

        Raises:
            ValueError: The step is not nightly.
        """
        if self.accepted is None:
            raise ValueError("only a nightly step is compared")
        words = ["coldwarm", "compare", self.accepted, OUTPUT, "--update", "--fail-on", "none"]
        words += _each("--catalog", self.catalogs)
        return f"{shlex.join(words)} > {CHANGES}"

    def command(self) -> str:
        """Return the command that runs the suite and writes the reports."""
        words = ["coldwarm", "run", *(["--all"] if self.whole_catalog else []), "--device", self.device]
        words += ["--depth", self.depth] if self.depth is not Depth.FULL else []
        words += ["--jobs", str(self.jobs)] if self.jobs is not None else []
        words += _each("--aot-artifact", self.aot_artifacts) + _each("--catalog", self.catalogs)
        words += ["--store", self.store] if self.store is not None else []
        words += ["--output", OUTPUT, "--report", f"junit={OUTPUT}/junit.xml", "--report", f"markdown={SUMMARY}"]
        return shlex.join(words)


def _each(flag: str, values: Sequence[str]) -> list[str]:
    return [word for value in values for word in (flag, value)]
