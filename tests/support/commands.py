"""Runs `coldwarm` as a user does: in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Commands:
    """Runs commands in one folder.

    Args:
        folder: Where they run.
        path: What they can import beside what is installed.
    """

    def __init__(self, folder: Path, path: list[Path]) -> None:
        self.folder = folder
        self._path = os.pathsep.join([str(each) for each in path] + os.environ.get("PYTHONPATH", "").split(os.pathsep))

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of a command, without the colours and widths of this terminal."""
        shed = ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "VLLM_PLUGINS")
        kept = {name: value for name, value in os.environ.items() if name not in shed}
        return {**kept, "PYTHONPATH": self._path.rstrip(os.pathsep), **variables}

    def run(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``coldwarm`` to its end."""
        return subprocess.run(
            self.line(*arguments),
            cwd=self.folder,
            env=self.environment(**variables),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def begin(self, *arguments: str | Path, **variables: str) -> subprocess.Popen[str]:
        """Begin a ``coldwarm`` whose progress can be read line by line from stderr."""
        return subprocess.Popen(
            self.line(*arguments),
            cwd=self.folder,
            env=self.environment(**variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    @staticmethod
    def line(*arguments: str | Path) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "coldwarm", *map(str, arguments)]
