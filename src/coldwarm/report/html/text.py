"""Makes text of models, logs and traces safe to show: what cannot be seen is spelled out."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

# Terminal colours, control characters, surrogates, and characters that change the direction of the text after them.
_COLOUR = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

_PACKAGES = re.compile(r"^.*/(site|dist)-packages/")


def visible(value: Any) -> Any:
    """Return text with unseen characters spelled out, such as ``\\x07``; markup and other values as they are."""
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return _UNSEEN.sub(lambda found: ascii(found[0])[1:-1], _COLOUR.sub("", value.replace("\r\n", "\n")))


def short_place(where: str) -> str:
    """Return a line of code, ``file:line``, relative to ``site-packages``."""
    return _PACKAGES.sub("", where)


def is_web_link(link: str) -> bool:
    """Return whether a link may be followed: other schemes could run code, and paths lead nowhere."""
    try:
        parts = urlsplit(link)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.netloc)
