"""What a build with ninja compiles, from the growth of its log, and why, from ninja itself."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

_EXPLAINED = "ninja explain: "
_EXPLAIN_SECONDS = 10.0
_MOST_REASONS = 3


class Builds:
    """The log of what ninja built, as it was before another build.

    Args:
        folders: Folders that may have the log ``.ninja_log``.
    """

    def __init__(self, *folders: Path) -> None:
        self._logs = [folder / ".ninja_log" for folder in folders]
        self._before = self._lines()

    @property
    def is_first(self) -> bool:
        """Whether nothing was built there before."""
        return not self._before

    def outputs(self) -> list[str]:
        """Return the names of the outputs that were built since, in order."""
        # Not what is behind the former end: ninja rewrites a log that has become too long.
        lines = [line.split("\t") for line in self._lines() - self._before]
        return sorted({fields[3] for fields in lines if len(fields) >= 4})

    def _lines(self) -> set[str]:
        found: set[str] = set()
        for log in self._logs:
            if log.is_file():
                found.update(line for line in log.read_text(errors="replace").splitlines() if not line.startswith("#"))
        return found


def reasons(folder: Path, build_file: Path) -> list[str]:
    """Return why ninja would build something in `folder` now, in ninja's words; it builds nothing.

    Raises:
        OSError: There is no ninja.
        subprocess.TimeoutExpired: It takes ten seconds.
    """
    answer = subprocess.run(
        ["ninja", "-d", "explain", "-n", "-f", str(build_file)],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
        timeout=_EXPLAIN_SECONDS,
    )
    lines = (answer.stderr + answer.stdout).splitlines()
    return [line.removeprefix(_EXPLAINED) for line in lines if line.startswith(_EXPLAINED)]


def rebuilt_because(found: Iterable[str]) -> str | None:
    """Return the first of ninja's reasons, without those that follow from others; None: there is none."""
    causes = [reason for reason in found if not reason.endswith(" is dirty")]
    return f"rebuilt: {'; '.join(causes[:_MOST_REASONS])}" if causes else None


def variables(build_file: str) -> dict[str, str]:
    """Return the variables of a ``build.ninja``, and as ``sources`` the inputs of its rules."""
    build_file = re.sub(r"\$\n\s*", "", build_file)
    found = dict(re.findall(r"^(\w+) = (.*)$", build_file, re.MULTILINE))
    sources = re.findall(r"^build [^:]+: \w+ (.*)$", build_file, re.MULTILINE)
    return {name: value for name, value in found.items() if value.strip()} | {"sources": " ".join(sources)}
