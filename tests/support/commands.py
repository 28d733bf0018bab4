"""Runs `coldwarm` as a user does: in a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from coldwarm.cli.main import main
from coldwarm.engines import base as engine

ROOT = Path(__file__).parents[2]


class Commands:
    """Runs commands in one folder.

    Args:
        folder: Where they run.
        path: Additional folders for imports.
    """

    NOT_OF_THIS_TERMINAL = ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "VLLM_PLUGINS")
    """Variables that no command has."""

    def __init__(self, folder: Path, path: list[Path]) -> None:
        self.folder = folder
        self._path = os.pathsep.join([str(each) for each in path] + os.environ.get("PYTHONPATH", "").split(os.pathsep))

    def environment(self, **variables: str) -> dict[str, str]:
        """The environment of a command, without the colours and widths of this terminal."""
        inherited = {name: value for name, value in os.environ.items() if name not in self.NOT_OF_THIS_TERMINAL}
        return {**inherited, "PYTHONPATH": self._path.rstrip(os.pathsep), **variables}

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

    def run_in_process(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run ``coldwarm`` in this process, which saves the start of another; the engine ``fake`` is known."""
        line = self.line(*arguments)
        out, err = io.StringIO(), io.StringIO()
        with pytest.MonkeyPatch.context() as patch, chdir(self.folder), redirect_stdout(out), redirect_stderr(err):
            for name in self.NOT_OF_THIS_TERMINAL:
                patch.delenv(name, raising=False)
            patch.setitem(engine._MODULES, "fake", "tests.support.fake_engine")
            patch.setattr(sys, "argv", ["coldwarm", *line[3:]])
            with pytest.raises(SystemExit) as done:
                main()
        status = done.value.code or 0
        assert isinstance(status, int)
        return subprocess.CompletedProcess(line, status, out.getvalue(), err.getvalue())

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
