"""URLs of servers that listen at a Unix socket.

Their host is the path of the socket, percent-encoded, for example ``http+unix://%2Frun%2Fvllm.sock/health``.
"""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit

UNIX_SCHEME = "http+unix"


def unix_url(socket: str, path: str) -> str:
    """Return the URL of `path`, with its slash, of the server that listens at the path `socket`."""
    return f"{UNIX_SCHEME}://{quote(socket, safe='')}{path}"


def socket_of(url: str) -> str | None:
    """Return the path of the Unix socket in `url`; None: it has a host and a port."""
    address = urlsplit(url)
    return unquote(address.netloc) if address.scheme == UNIX_SCHEME else None
