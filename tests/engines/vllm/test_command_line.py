from __future__ import annotations

import re
import shlex
from pathlib import Path
from urllib.parse import quote

import pytest

from coldwarm.core.errors import UsageError
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


@pytest.mark.parametrize(
    ("line", "name", "url"),
    [
        ("vllm serve --config c.yaml", "Model-7B", "http://10.0.0.1:81/health"),
        ("vllm serve other --config=c.yaml --port 82", "other", "http://10.0.0.1:82/health"),
        ("vllm serve --uds run/v.sock --config c.yaml", "Model-7B", "http+unix://{here}%2Frun%2Fv.sock/health"),
        ("vllm serve --config headless.yml", "m", None),
        ("vllm serve m --headless", "m", None),
        ("vllm serve m --api_server_count=0", "m", None),
    ],
)
def test_settings_in_the_file_of_config_count_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: str, name: str, url: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.yaml").write_text("model: org/Model-7B\nhost: 10.0.0.1\nport: 81\nheadless: false\n")
    (tmp_path / "headless.yml").write_text("model: m\nheadless: true\ncompilation-config: {mode: 3}\n")
    found = hints(shlex.split(line))
    assert found is not None
    expected = None if url is None else url.format(here=quote(str(tmp_path), safe=""))
    assert (found.name, found.ready_url) == (name, expected)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot read the file of --config, c.yaml: No such file or directory"),
        ("port: [", "cannot read the file of --config, c.yaml: while parsing"),
        ("8000", "the file of --config, c.yaml, has no settings, such as port: 8000"),
    ],
)
def test_a_file_of_config_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UsageError, match=re.escape(words)):
        hints(["vllm", "serve", "--config", "c.yaml"])


@pytest.mark.parametrize("line", ["python script.py", "vllm bench startup", "serve m", "python -m http.server 8000"])
def test_other_commands_start_no_server(line: str) -> None:
    assert hints(shlex.split(line)) is None
