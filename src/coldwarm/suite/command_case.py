"""Makes the case of a user's command."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from coldwarm.core.case import Case, Changes
from coldwarm.core.command import Command, shown
from coldwarm.core.engine import TORCH
from coldwarm.core.errors import UsageError
from coldwarm.core.model_entry import ModelEntry, id_of_name
from coldwarm.engines.base import command_hints
from coldwarm.launch.readiness import user_of_address

_SCRIPT = re.compile(r".+\.py")
_URL = re.compile(r"(https?|http\+unix)://[^/]+(/.*)?")


def command_case(
    words: Sequence[str],
    *,
    ready_url: str | None = None,
    ready_log: str | None = None,
    then: Sequence[str] = (),
    compilation: str = "shipped",
    warm_environment: Mapping[str, str] | None = None,
    repeat: int = 1,
) -> Case:
    """Return the case of a user's command.

    Args:
        words: The program and its arguments.
        ready_url: The URL that answers once it is ready; None: that of the engine's server, if it is one.
        ready_log: A regular expression that matches a line of its output once it is ready.
        then: A command to run once it is ready.
        compilation: ``shipped``, or ``piecewise`` for the engine's piecewise compilation on a CPU.
        warm_environment: Environment variables for the warm start only.
        repeat: How many times it is started cold, then warm.

    Raises:
        UsageError: The command does not exist, an argument is invalid, or its port is in use.
    """
    hints = command_hints(words)
    if ready_url is None and ready_log is None and hints is not None:
        ready_url = hints.ready_url
    check_command(words, ready_url=ready_url, ready_log=ready_log, then=then)
    command = Command(
        words=list(words),
        folder=str(Path.cwd()),
        ready_url=ready_url,
        ready_log=ready_log,
        ready_ranks=hints is not None and ready_url is None and ready_log is None,
        then=list(then),
    )
    name = hints.name if hints is not None else name_of(words)
    entry = ModelEntry(id=id_of(words), name=name, config="-", source=shlex.join(shown(list(words))))
    return Case(
        entry=entry,
        argument=shlex.join(shown(list(words))),
        named_by_id=False,
        engine=TORCH,
        device="cpu",
        compilation=compilation,
        config={},
        overrides={},
        repeat=repeat,
        warm_changes=Changes(environment=dict(warm_environment or {})),
        command=command,
    )


def id_of(words: Sequence[str]) -> str:
    """Return the id of a command: that of its model if it is a server of an engine, or else of its `name_of`."""
    hints = command_hints(words)
    return id_of_name(hints.name if hints is not None else name_of(words)) or "command"


def name_of(words: Sequence[str]) -> str:
    """Return a name for a command: that of its script or module, or else of its program."""
    for number, word in enumerate(words):
        if number and words[number - 1] == "-m":
            return word.rpartition(".")[2]
        if _SCRIPT.fullmatch(word):
            return PurePath(word).stem
    return PurePath(words[0]).name


def check_command(
    words: Sequence[str], *, ready_url: str | None = None, ready_log: str | None = None, then: Sequence[str] = ()
) -> None:
    """Raise `UsageError` if the command does not exist, an argument is invalid, or its port is in use."""
    if ready_url is not None and ready_log is not None:
        raise UsageError("--ready and --ready-log exclude each other")
    if then and ready_url is None and ready_log is None:
        raise UsageError("--then runs once the command is ready, so it needs --ready or --ready-log")
    for word in (words[0], *then[:1]):
        if shutil.which(word) is None:
            raise UsageError(f"no command {word!r}: it is not a file that can be executed, and not on PATH")
    if ready_log is not None:
        try:
            re.compile(ready_log)
        except re.error as error:
            raise UsageError(f"--ready-log {ready_log!r} is not a regular expression: {error}") from error
    if ready_url is not None:
        if not _is_url(ready_url):
            raise UsageError(f"--ready {ready_url!r} is not a URL, such as http://127.0.0.1:8000/health")
        if (user := user_of_address(ready_url)) is not None:
            raise UsageError(user)


def _is_url(text: str) -> bool:
    try:
        port = urlsplit(text).port
    except ValueError:
        return False
    return port != 0 and _URL.fullmatch(text) is not None
