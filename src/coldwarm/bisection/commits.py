"""Commits of a checkout of the engine, each in a work tree of its own."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from coldwarm.bisection.candidates import Candidate, Say, UnavailableError
from coldwarm.core.errors import UsageError
from coldwarm.engines.base import Installation


class Commits:
    """The commits of `checkout` from `good` to `bad`, along the first parents.

    Only Python code is taken from a commit. Files that git does not track, such as compiled extensions and generated
    modules, are those of the installed engine, so the commits must be close enough to it.

    Args:
        installation: The installed engine.
        checkout: A clone of the engine's repository. Neither its work tree nor its branches are changed.
        good: A commit, a tag or a branch.
        bad: A descendant of it, or an ancestor.
        folder: Where the work trees are created, each below its commit.

    Raises:
        UsageError: It is no checkout, or one of the commits is not an ancestor of the other.
    """

    noun = "commit"

    def __init__(self, installation: Installation, checkout: Path, good: str, bad: str, folder: Path) -> None:
        self._package = installation.package
        self._checkout = checkout
        self._folder = folder
        ends = [self._git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}", of=name) for name in (good, bad)]
        if ends[0] == ends[1]:
            raise UsageError(f"--good and --bad are the same commit: {ends[0]}")
        self.names: Sequence[str] = self._path(*ends) or self._path(*reversed(ends))[::-1]
        if not self.names:
            raise UsageError(f"neither {good} nor {bad} is an ancestor of the other in {checkout}")

    def prepare(self, name: str, say: Say) -> Candidate:
        """Create the work tree of the commit, unless it exists.

        Raises:
            UnavailableError: It has no package of the engine.
            UsageError: git cannot create it.
        """
        path = (self._folder / name).absolute()
        unfinished = path.with_name(f".{name}.part")
        if not path.is_dir():
            self._folder.mkdir(parents=True, exist_ok=True)
            with path.with_name(f".{name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                if not path.is_dir():
                    say(f"checking out {name} into {path}")
                    try:
                        self._remove(unfinished)
                        self._git("worktree", "add", "--detach", "--quiet", str(unfinished), name, of=name)
                        self._complete(unfinished)
                        self._git("worktree", "move", str(unfinished), str(path), of=name)
                    finally:
                        self._remove(unfinished)
        return Candidate(name, Path(sys.executable), path, path)

    def _remove(self, tree: Path) -> None:
        shutil.rmtree(tree, ignore_errors=True)
        self._git("worktree", "prune", of="")

    def _complete(self, tree: Path) -> None:
        """Link what the installed package has and git does not track: compiled extensions, generated modules."""
        package = tree / self._package.name
        if not package.is_dir():
            raise UnavailableError(f"{tree.name} of {self._checkout} has no package {self._package.name}")
        for path in self._package.rglob("*"):
            wanted = package / path.relative_to(self._package)
            is_untracked = path.suffix == ".so" or path.name == "_version.py"
            if is_untracked and path.is_file() and not wanted.exists():
                wanted.parent.mkdir(parents=True, exist_ok=True)
                wanted.symlink_to(path)

    def _path(self, older: str, newer: str) -> list[str]:
        """Return the commits from `older` to `newer`; empty if there is no such path."""
        between = self._git("rev-list", "--first-parent", "--reverse", f"{older}..{newer}", of=newer).split()
        parents = self._git("rev-list", "--first-parent", newer, of=newer).split()
        return [older, *between] if older in parents and older != newer else []

    def _git(self, *arguments: str, of: str) -> str:
        try:
            done = subprocess.run(
                ["git", "-C", str(self._checkout), *arguments],
                capture_output=True,
                text=True,
                check=False,
                stdin=subprocess.DEVNULL,
            )
        except FileNotFoundError as error:
            raise UsageError("--checkout needs git, which is not on PATH") from error
        if done.returncode != 0:
            problem = done.stderr.strip().removeprefix("fatal: ") or f"no commit {of!r}"
            raise UsageError(f"git in {self._checkout}: {problem}")
        return done.stdout.strip()
