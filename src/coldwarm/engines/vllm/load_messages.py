"""Reads the messages that vLLM logs when it finds a saved function and cannot load it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import Message

# vllm/compilation/decorators.py, `_try_load_aot_compiled_fn` (0.26 to 0.33).
_MESSAGE = re.compile(r"load failure from (?P<path>.+?), reason: (?P<reason>.*)", re.DOTALL)
_IN_ALL_VERSIONS = "load failure"
_LOGGED = "Compiling model again due to a load failure"
_SOURCE_CHANGED = "Source code has changed"


def load_messages(messages: Iterable[Message]) -> list[Message]:
    """Return those of `messages` that report a load failure, including those that `load_failures` cannot parse."""
    return [message for message in messages if _IN_ALL_VERSIONS in message.text]


def load_failures(messages: Iterable[Message]) -> list[LoadFailure]:
    """Return the load failures that `messages` report, in their order."""
    found = (_MESSAGE.search(message.text) for message in messages)
    return [
        LoadFailure(each["path"], each["reason"].strip(), _LOGGED, by_source=_SOURCE_CHANGED in each["reason"])
        for each in found
        if each
    ]
