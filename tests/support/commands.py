"""Runs `coldwarm` like a user, in a separate process or in this one."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path
from tempfile import TemporaryFile

import pytest

from coldwarm.cli.main import main
from coldwarm.engines import base as engine
from tests.support.forked_commands import ForkedCommand

ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 300.0


class Commands:
    """Runs commands in one folder.

    Args:
        folder: Where they run.
        path: Additional folders for imports.
    """

    NOT_OF_THIS_TERMINAL = ("FORCE_COLOR", "COLUMNS", "TTY_COMPATIBLE", "VLLM_PLUGINS")
    """Variables that are removed from the environment of commands."""

    def __init__(self, folder: Path, path: list[Path]) -> None:
        self.folder = folder
        self._path = os.pathsep.join([str(each) for each in path] + os.environ.get("PYTHONPATH", "").split(os.pathsep))

    def environment(self, **variables: str) -> dict[str, str]:
        """Return the environment of a command, without the colours and the width of this terminal."""
        inherited = {name: value for name, value in os.environ.items() if name not in self.NOT_OF_THIS_TERMINAL}
        return {**inherited, "PYTHONPATH": self._path.rstrip(os.pathsep), **variables}

    def run(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run ``coldwarm`` to its end."""
        line = self.line(*arguments)
        with TemporaryFile("w+") as out, TemporaryFile("w+") as err:
            running = ForkedCommand(line[3:], self.folder, self.environment(**variables), out.fileno(), err.fileno())
            try:
                status = running.wait(_PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                running.send_signal(signal.SIGKILL)
                running.wait(_PATIENCE_SECONDS)
                raise
            out.seek(0)
            err.seek(0)
            return subprocess.CompletedProcess(line, status, out.read(), err.read())

    def run_in_process(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run ``coldwarm`` in this process, which saves starting another one; the engine ``fake`` is registered."""
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

    def begin(self, *arguments: str | Path, **variables: str) -> ForkedCommand:
        """Start a ``coldwarm`` whose progress can be read line by line from stderr."""
        read, write = os.pipe()
        with Path(os.devnull).open("w") as nothing:
            words, environment = self.line(*arguments)[3:], self.environment(**variables)
            running = ForkedCommand(words, self.folder, environment, nothing.fileno(), write)
        os.close(write)
        running.stderr = os.fdopen(read)
        return running

    @staticmethod
    def line(*arguments: str | Path) -> list[str]:
        """The command line."""
        return [sys.executable, "-m", "coldwarm", *map(str, arguments)]
