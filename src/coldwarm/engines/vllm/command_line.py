"""Recognizes the command line of a vLLM server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

import yaml

from coldwarm.core.errors import UsageError
from coldwarm.core.unix_url import unix_url
from coldwarm.engines.vocabulary import CommandHints

_SERVERS = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server", "vllm.entrypoints.cli.main")
_ALL_ADDRESSES = ("0.0.0.0", "::", "")


def hints(words: Sequence[str]) -> CommandHints | None:
    """Return what the `words` of a command say about the vLLM server that it starts; None if it starts none.

    Raises:
        UsageError: The file of ``--config`` cannot be read.
    """
    start = next((n for n, word in enumerate(words) if _is_server(words, n)), None)
    if start is None:
        return None
    arguments = words[start + 1 :]
    positional = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if (file := _value(arguments, "--config")) is not None:
        # The command line takes precedence.
        arguments = [*_arguments_in(Path(file)), *arguments]
    model = _value(arguments, "--served-model-name") or positional or _value(arguments, "--model")
    return CommandHints(name=PurePath(model).name if model else "server", ready_url=_ready_url(arguments))


def _ready_url(arguments: Sequence[str]) -> str | None:
    """Return the URL of the server's health; None if it has no API, as on all nodes but the first."""
    api_servers = _value(arguments, "--api-server-count")
    if _has(arguments, "--headless") or api_servers == "0":
        return None
    if (socket := _value(arguments, "--uds")) is not None:
        return unix_url(str(Path(socket).absolute()), "/health")
    host = _value(arguments, "--host") or ""
    host = "127.0.0.1" if host in _ALL_ADDRESSES else host
    # vLLM needs both files.
    scheme = "https" if _value(arguments, "--ssl-certfile") else "http"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{_value(arguments, '--port') or '8000'}/health"


def _arguments_in(file: Path) -> list[str]:
    """Return the settings in the file of ``--config`` as arguments (`FlexibleArgumentParser.load_config_file`)."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise UsageError(f"cannot read the file of --config, {file}: {why}") from error
    if not isinstance(content, dict):
        raise UsageError(f"the file of --config, {file}, has no settings, such as port: 8000")
    settings = [(f"--{key}", value) for key, value in content.items() if value is not False]
    return [flag if value is True else f"{flag}={value}" for flag, value in settings]


def _is_server(words: Sequence[str], n: int) -> bool:
    if words[n] in _SERVERS[:2]:
        return True
    # ``vllm serve``, by whatever path, or as a module.
    follows_vllm = n > 0 and (PurePath(words[n - 1]).name == "vllm" or words[n - 1] == _SERVERS[2])
    return words[n] == "serve" and follows_vllm


def _has(arguments: Sequence[str], flag: str) -> bool:
    return any(word.replace("_", "-") == flag for word in arguments)


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """Return the value of `flag`, given as ``--flag value`` or ``--flag=value``, with underscores or hyphens."""
    found = None
    for n, word in enumerate(arguments):
        name, separator, value = word.partition("=")
        if name.replace("_", "-") == flag:
            found = value if separator else next(iter(arguments[n + 1 :]), None)
    return found
