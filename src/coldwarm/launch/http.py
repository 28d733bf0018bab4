"""Opens URLs of a server on this machine, also of one that listens at a Unix socket."""

from __future__ import annotations

import socket
import urllib.request
from http.client import HTTPConnection, HTTPResponse
from typing import Any

from coldwarm.core.unix_url import UNIX_SCHEME


def open_url(url: str, data: bytes | None = None, *, content_type: str | None = None, timeout: float) -> Any:
    """Return the response of a server to a request, as `urllib.request.urlopen` does.

    Args:
        url: The URL.
        data: The body of the request, which makes it a POST; None: a GET.
        content_type: The type of `data`.
        timeout: Seconds.

    Raises:
        OSError: The server cannot be reached, or answers with an error.
        ValueError: The URL is invalid.
        http.client.HTTPException: The answer is not HTTP.
    """
    headers = {} if content_type is None else {"Content-Type": content_type}
    # urllib derives the names of a handler's methods from the scheme.
    request = urllib.request.Request(url.replace(f"{UNIX_SCHEME}:", "unix:", 1), data, headers)
    # Without the proxy of the environment: the server runs on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _UnixHandler, _UnixErrors)
    return opener.open(request, timeout=timeout)


class _UnixConnection(HTTPConnection):
    def __init__(self, host: str, **options: Any) -> None:
        # The path of a socket may have characters that a host cannot have.
        super().__init__("localhost", **options)
        self._path = host

    def connect(self) -> None:
        """Connect to the socket."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _UnixHandler(urllib.request.AbstractHTTPHandler):
    def unix_request(self, request: urllib.request.Request) -> urllib.request.Request:
        """Complete the headers of a request."""
        request.add_unredirected_header("Host", "localhost")
        return self.do_request_(request)

    def unix_open(self, request: urllib.request.Request) -> HTTPResponse:
        """Send a request."""
        return self.do_open(_UnixConnection, request)


class _UnixErrors(urllib.request.HTTPErrorProcessor):
    unix_response = urllib.request.HTTPErrorProcessor.http_response
