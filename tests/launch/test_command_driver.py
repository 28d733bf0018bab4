from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from coldwarm.launch.command_driver import UrlAnswers
from coldwarm.launch.completion import request_completion


@pytest.fixture
def url() -> Iterator[str]:
    """The address of a server that speaks another protocol than HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"\x15\x03\x03\x00\x02\x02\x46\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


def test_a_server_that_speaks_no_http_is_asked_again(url: str) -> None:
    before = set(threading.enumerate())
    asking = UrlAnswers(url)
    [thread] = set(threading.enumerate()) - before
    thread.join(0.5)
    assert thread.is_alive()
    assert not asking.answered
    asking.give_up()
    thread.join(10)
    assert not thread.is_alive()


def test_a_server_that_speaks_no_http_has_no_completions(url: str) -> None:
    assert request_completion(url) is None
