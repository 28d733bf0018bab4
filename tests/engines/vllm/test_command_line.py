from __future__ import annotations

import shlex

import pytest

from coldwarm.engines.vllm.command_line import hints


@pytest.mark.parametrize(
    ("line", "name", "url"),
    [
        ("vllm serve org/Model-7B", "Model-7B", "http://127.0.0.1:8000/health"),
        ("/venv/bin/vllm serve m --port 81 --host 0.0.0.0", "m", "http://127.0.0.1:81/health"),
        (
            "python -m vllm.entrypoints.openai.api_server --model /a/llama --port=82",
            "llama",
            "http://127.0.0.1:82/health",
        ),
        ("env X=1 python3 -m vllm.entrypoints.cli.main serve m --host ::1", "m", "http://[::1]:8000/health"),
        ("vllm serve m --ssl-certfile c.pem --served_model_name mine", "mine", "https://127.0.0.1:8000/health"),
        ("vllm serve --model m --port 1 --port 2", "m", "http://127.0.0.1:2/health"),
    ],
)
def test_the_address_of_a_server_is_that_of_its_command_line(line: str, name: str, url: str) -> None:
    found = hints(shlex.split(line))
    assert found is not None
    assert (found.name, found.ready_url) == (name, url)


@pytest.mark.parametrize("line", ["python script.py", "vllm bench startup", "serve m", "python -m http.server 8000"])
def test_other_commands_start_no_server(line: str) -> None:
    assert hints(shlex.split(line)) is None
