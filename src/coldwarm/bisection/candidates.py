"""The versions between which a bisection searches: environments that exist, and the protocol of all sources."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from coldwarm.core.errors import UsageError, nearest

Say = Callable[[str], None]
"""Receives a line about what is being done."""


class UnavailableError(UsageError):
    """One candidate cannot be made ready; others may be."""


@dataclass(frozen=True)
class Candidate:
    """One version of the engine, ready to be started."""

    name: str
    """What the user calls it: a release, the path of an environment, a commit."""
    python: Path
    """The interpreter that runs coldwarm with it."""
    path: Path | None
    """The folder to put first on PYTHONPATH; None: the interpreter finds this version by itself."""
    root: Path
    """The folder that contains the engine's package."""

    def environment(self) -> dict[str, str]:
        """Return the variables of a command that uses this version."""
        if self.path is None:
            return dict(os.environ)
        before = os.environ.get("PYTHONPATH")
        return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(self.path), before]))}


class Source(Protocol):
    """Where candidates come from."""

    noun: str
    """What they are called: ``release``, ``environment``, ``commit``."""
    names: Sequence[str]
    """All of them, from the good one to the bad one."""

    def prepare(self, name: str, say: Say) -> Candidate:
        """Make a candidate ready, for example install it.

        Raises:
            UnavailableError: It cannot be made ready, and others may be.
            UsageError: No candidate can.
        """


def file_name(name: str) -> str:
    """Return a name for a file or folder of the candidate `name`, different for each."""
    safe = re.sub(r"[^\w.+-]+", "-", name).strip("-.")
    return safe if safe == name else f"{safe[-40:]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def between(names: Sequence[str], good: str, bad: str, noun: str) -> list[str]:
    """Return the part of `names` from `good` to `bad`, in this order.

    Raises:
        UsageError: One of them is not in `names`, or both are the same.
    """
    for name in (good, bad):
        if name not in names:
            raise UsageError(f"no {noun} {name!r}{nearest(name, names)} ({noun}s: {', '.join(names) or 'none'})")
    if good == bad:
        raise UsageError(f"--good and --bad are the same {noun}: {good}")
    start, end = names.index(good), names.index(bad)
    return list(names[start : end + 1] if start < end else names[end : start + 1][::-1])


class Environments:
    """Environments that exist: virtual environments, and folders of `pip install --target`.

    Args:
        paths: The environments, in the order of their versions.
        good: One of them.
        bad: Another one.
        package: The name of the engine's package.

    Raises:
        UsageError: One of them does not exist or has no such package, or `good` or `bad` is not one of them.
    """

    noun = "environment"

    def __init__(self, paths: Sequence[Path], good: str, bad: str, package: str) -> None:
        self._candidates = {str(path): _environment(path, package) for path in paths}
        self.names: Sequence[str] = between(list(self._candidates), str(Path(good)), str(Path(bad)), f"{self.noun}")

    def prepare(self, name: str, say: Say) -> Candidate:
        """Return the environment, which is ready."""
        return self._candidates[name]


def _environment(path: Path, package: str) -> Candidate:
    python = path / "bin" / "python"
    if not python.is_file():
        if not (path / package).is_dir():
            raise UsageError(
                f"{path} is neither a virtual environment (it has no bin/python) nor a folder with the package "
                f"{package}; install into it with `pip install --no-deps --target {path}`"
            )
        return Candidate(str(path), Path(sys.executable), path.absolute(), path.absolute())
    # Not resolved: the link decides which environment Python uses.
    python = python.absolute()
    code = (
        "import json; import importlib.util as u; print(json.dumps([[*(s.submodule_search_locations or ''), ''][0] "
        f"if s else '' for s in map(u.find_spec, ({package!r}, 'coldwarm'))]))"
    )
    try:
        done = subprocess.run([python, "-P", "-c", code], capture_output=True, text=True, check=False)
    except OSError as error:
        raise UsageError(f"{python} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit code {done.returncode}"]
        raise UsageError(f"{python} cannot be run: {reason[0]}")
    # What sitecustomize and .pth files print comes first.
    engine, coldwarm = json.loads(done.stdout.splitlines()[-1])
    for name, found in ((package, engine), ("coldwarm", coldwarm)):
        if not found:
            raise UsageError(f"{name} is not installed in the environment {path}; use `{python} -m pip install`")
    return Candidate(str(path), python, None, Path(engine).parent)
