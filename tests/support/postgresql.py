"""Starts a PostgreSQL server for the tests, which listens on a socket of its own only."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_USER = "coldwarm"
_PATIENCE = 60.0
"""Seconds in which the server must be ready."""


def programs() -> Path | None:
    """Return the folder of PostgreSQL's programs; None: they are not installed."""
    # Debian does not add them to PATH.
    found = [Path(each) for each in (shutil.which("initdb"), shutil.which("postgres")) if each is not None]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return next((path.resolve().parent for path in found if (path.resolve().parent / "postgres").exists()), None)


@contextmanager
def server(programs: Path) -> Iterator[str]:
    """Run a server with an empty data folder, and provide the URL of a database that it has; its end ends the server.

    Args:
        programs: The folder of PostgreSQL's programs.
    """
    folder = Path(tempfile.mkdtemp(prefix="coldwarm-postgresql-"))
    as_user = _not_as_root(folder)
    data = folder / "data"
    try:
        subprocess.run(
            [*as_user, programs / "initdb", "-D", data, "-U", _USER, "-A", "trust", "-E", "UTF8", "--no-sync"],
            check=True,
            capture_output=True,
            cwd=folder,
        )
        # It ends with the tests, also if they are killed.
        words = ["setpriv", "--pdeathsig", "QUIT", *as_user[1:], str(programs / "postgres"), "-D", str(data)]
        settings = ["-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=50"]
        with (folder / "log").open("wb") as log:
            running = subprocess.Popen([*words, *settings], stdout=log, stderr=log, cwd=folder)
        try:
            _wait(running, [*as_user, programs / "pg_isready", "-h", folder, "-d", "postgres", "-U", _USER], folder)
            yield f"postgresql://{_USER}@/postgres?host={folder}"
        finally:
            running.terminate()
            running.wait()
    finally:
        shutil.rmtree(folder)


def _not_as_root(folder: Path) -> list[str]:
    """Return how to run a program of PostgreSQL, which refuses to run as root, and give `folder` to its user."""
    if os.getuid() != 0:
        return ["setpriv"]
    names = {each.pw_name: each for each in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _wait(running: subprocess.Popen[bytes], is_ready: list[str | Path], folder: Path) -> None:
    until = time.monotonic() + _PATIENCE
    while subprocess.run(is_ready, capture_output=True, check=False, cwd=folder).returncode != 0:
        if running.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"PostgreSQL did not become ready: {(folder / 'log').read_text()}")
        time.sleep(0.05)
