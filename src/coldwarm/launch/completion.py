"""Sends one request to the completions API of OpenAI that a server may have, and reads what it generated."""

from __future__ import annotations

import json
import urllib.error
from dataclasses import dataclass
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from coldwarm.core.record import GeneratedToken
from coldwarm.launch.http import open_url

_PROMPT = [1 + 7 * i for i in range(16)]
"""Token ids that every vocabulary has; no tokenizer is needed for them."""
_TOKENS = 8
_LOGPROBS = 5
_SECONDS = 120.0
_NO_SUCH_API = (404, 405, 501)


@dataclass(frozen=True)
class Completion:
    """What a server generated greedily from one prompt."""

    prompt: list[int]
    generated: list[GeneratedToken]
    """Empty: the server did not say which tokens it generated."""


def request_completion(url: str) -> Completion | None:
    """Have the server of `url` generate a few tokens; None if it has no such API.

    Raises:
        OSError: The server refused the request, or did not answer it.
    """
    address = urlsplit(url)
    base = f"{address.scheme}://{address.netloc}"
    try:
        models = _answer(f"{base}/v1/models")
    except HTTPException:  # another protocol
        return None
    except urllib.error.HTTPError as error:
        if error.code in _NO_SUCH_API:
            return None
        raise
    except ValueError:  # not JSON
        return None
    match models:
        case {"data": [{"id": str(model)}, *_]}:
            pass
        case _:
            return None
    request = {
        "model": model,
        "prompt": _PROMPT,
        "max_tokens": _TOKENS,
        "temperature": 0,
        "logprobs": _LOGPROBS,
        # Not in OpenAI's API: generate all tokens, and return their ids.
        "ignore_eos": True,
        "return_tokens_as_token_ids": True,
    }
    try:
        return Completion(_PROMPT, _tokens(_answer(f"{base}/v1/completions", request)))
    except (ValueError, HTTPException) as error:
        raise OSError(f"its answer cannot be read: {type(error).__name__}: {error}") from error


def _answer(url: str, request: dict[str, Any] | None = None) -> Any:
    data = None if request is None else json.dumps(request).encode()
    try:
        with open_url(url, data, content_type="application/json", timeout=_SECONDS) as answer:
            return json.loads(answer.read())
    except urllib.error.HTTPError as error:
        # What the server says is wrong is in the body.
        error.msg = f"{error.msg}: {error.read(500).decode('utf-8', 'replace')}".strip()
        raise


def _tokens(answer: Any) -> list[GeneratedToken]:
    """Return the tokens of an answer with their log-probabilities; empty if it does not have their ids."""
    match answer:
        case {"choices": [{"logprobs": {"tokens": list(tokens), "top_logprobs": list(likeliest)}}, *_]}:
            pass
        case _:
            return []
    generated = []
    for token, logprobs in zip(tokens, likeliest, strict=False):
        if (token_id := _token_id(token)) is None:
            return []
        by_id = {_token_id(name): value for name, value in (logprobs or {}).items()}
        generated.append(
            GeneratedToken(token_id=token_id, logprobs={i: value for i, value in by_id.items() if i is not None})
        )
    return generated


def _token_id(text: str) -> int | None:
    name, _, number = text.partition(":")
    return int(number) if name == "token_id" and number.isdigit() else None
