"""Releases of the engine's distribution: listed from the package index, each installed into a folder of its own."""

from __future__ import annotations

import fcntl
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from packaging.version import InvalidVersion, Version

from coldwarm.bisection.candidates import Candidate, Say, UnavailableError, between
from coldwarm.bisection.child import child
from coldwarm.core.errors import UsageError
from coldwarm.engines.base import Installation

# Retries with long pauses are of no use to someone without a network.
_PIP = ("-m", "pip", "--disable-pip-version-check", "--retries", "1", "--timeout", "30", "--no-input")

_NO_VERSIONS = "(from versions: none)"


class Releases:
    """The releases of the installed engine's distribution from `good` to `bad`.

    Each is installed without its requirements, so that everything else stays as it is in this environment.

    Args:
        installation: The installed engine; a release of the same version is not installed again.
        good: A release.
        bad: A later or an earlier one.
        folder: Where releases are installed, each below its version. One that is there already is used.
        releases: All releases to choose from; None: asks the package index.

    Raises:
        UsageError: The releases cannot be listed, or one of them is no version.
    """

    noun = "release"

    def __init__(
        self, installation: Installation, good: str, bad: str, folder: Path, releases: Sequence[str] | None = None
    ) -> None:
        self._installation = installation
        self._folder = folder
        versions = {_version(name): name for name in (releases or listed(installation.distribution))}
        for end in (good, bad):
            # An end may be older than what the index still lists.
            versions.setdefault(_version(end), end)
        names = [versions[version] for version in sorted(versions)]
        self.names: Sequence[str] = between(names, versions[_version(good)], versions[_version(bad)], self.noun)

    def prepare(self, name: str, say: Say) -> Candidate:
        """Install the release, unless it is installed already.

        Raises:
            UnavailableError: pip cannot install it: it was withdrawn, or has no wheel for this Python.
            UsageError: The package index cannot be reached, or the folder cannot be written.
        """
        installed = self._installation
        if _is(installed.version, name):
            return Candidate(name, Path(sys.executable), None, installed.package.parent)
        path = (self._folder / name).absolute()
        install(installed.distribution, name, path, say)
        return Candidate(name, Path(sys.executable), path, path)


def listed(distribution: str) -> list[str]:
    """Return the releases of `distribution` that pip can install here, without pre-releases.

    Raises:
        UsageError: pip cannot list them, for example without a network.
    """
    done = subprocess.run(
        [sys.executable, *_PIP, "index", "versions", distribution],
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    found = re.search(r"^Available versions: (.*)$", done.stdout, re.MULTILINE)
    if found is None:
        raise UsageError(
            f"cannot list the releases of {distribution}: {_reason(done.stderr)}; give them with "
            "--releases 0.28.0,0.29.0,0.30.0"
        )
    return [name.strip() for name in found[1].split(",")]


def install(distribution: str, release: str, path: Path, say: Say) -> None:
    """Install a release into the folder `path`, unless that exists.

    The folder appears when the installation is complete: whatever ends this process leaves no half of one there.
    Several processes may install the same release; one does, and the others wait for it.

    Raises:
        UnavailableError: pip cannot install it, but others.
        UsageError: The package index cannot be reached, or the folder cannot be written.
    """
    if path.is_dir():
        return
    unfinished = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.with_name(f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if path.is_dir():
                return
            # Of a process that was killed.
            shutil.rmtree(unfinished, ignore_errors=True)
            say(f"installing {distribution} {release} into {path}")
            try:
                _pip_install(distribution, release, unfinished)
                unfinished.rename(path)
            finally:
                shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise UsageError(f"cannot write to {error.filename}: {error.strerror}") from error


def _pip_install(distribution: str, release: str, folder: Path) -> None:
    line = [sys.executable, *_PIP, "install", "--quiet", "--no-deps", "--target", str(folder)]
    with child([*line, f"{distribution}=={release}"], orderly=False) as pip:
        _, errors = pip.communicate()
    if pip.returncode != 0:
        # Without an index, pip knows no version at all.
        error = UsageError if _NO_VERSIONS in errors else UnavailableError
        raise error(f"cannot install {distribution} {release}: {_reason(errors)}")


def _reason(errors: str) -> str:
    """Return the last error that pip printed."""
    lines = [line.strip() for line in errors.splitlines() if line.strip()]
    return next((line for line in reversed(lines) if line.startswith("ERROR")), (lines or ["pip failed"])[-1])


def _version(name: str) -> Version:
    try:
        return Version(name)
    except InvalidVersion as error:
        raise UsageError(f"{name!r} is not a version, such as 0.30.0") from error


def _is(version: str, release: str) -> bool:
    try:
        return Version(version).public == Version(release).public
    except InvalidVersion:
        return False
