"""Recognizes the command line of a vLLM server."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePath

from coldwarm.engines.vocabulary import CommandHints

_SERVERS = ("vllm.entrypoints.openai.api_server", "vllm.entrypoints.api_server", "vllm.entrypoints.cli.main")
_ALL_ADDRESSES = ("0.0.0.0", "::", "")


def hints(words: Sequence[str]) -> CommandHints | None:
    """Return what the `words` of a command say about the vLLM server that it starts; None if it starts none."""
    start = next((n for n, word in enumerate(words) if _is_server(words, n)), None)
    if start is None:
        return None
    arguments = words[start + 1 :]
    host = _value(arguments, "--host") or ""
    host = "127.0.0.1" if host in _ALL_ADDRESSES else host
    scheme = "https" if _value(arguments, "--ssl-certfile") else "http"
    positional = arguments[0] if arguments and not arguments[0].startswith("-") else None
    model = _value(arguments, "--served-model-name") or _value(arguments, "--model") or positional
    return CommandHints(
        name=PurePath(model).name if model else "server",
        ready_url=f"{scheme}://{f'[{host}]' if ':' in host else host}:{_value(arguments, '--port') or '8000'}/health",
    )


def _is_server(words: Sequence[str], n: int) -> bool:
    if words[n] in _SERVERS[:2]:
        return True
    # ``vllm serve``, by whatever path, or as a module.
    follows_vllm = n > 0 and (PurePath(words[n - 1]).name == "vllm" or words[n - 1] == _SERVERS[2])
    return words[n] == "serve" and follows_vllm


def _value(arguments: Sequence[str], flag: str) -> str | None:
    """Return the value of `flag`, given as ``--flag value`` or ``--flag=value``, with underscores or hyphens."""
    found = None
    for n, word in enumerate(arguments):
        name, separator, value = word.partition("=")
        if name.replace("_", "-") == flag:
            found = value if separator else next(iter(arguments[n + 1 :]), None)
    return found
