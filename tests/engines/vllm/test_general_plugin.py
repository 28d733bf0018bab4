from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from coldwarm.core.variables import OBSERVATION_VARIABLE, REQUEST_VARIABLE, TOKEN_VARIABLE
from coldwarm.engines import observed
from coldwarm.engines.vllm import rank
from coldwarm.engines.vllm.general_plugin import install


@pytest.mark.parametrize("variables", [(), (TOKEN_VARIABLE,), (REQUEST_VARIABLE,)])
def test_a_process_that_belongs_to_no_start_is_not_changed(
    monkeypatch: pytest.MonkeyPatch, variables: tuple[str, ...]
) -> None:
    for name in (TOKEN_VARIABLE, REQUEST_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    for name in variables:
        monkeypatch.setenv(name, "/nowhere")
    install()
    assert rank._of_this_process is None


def test_a_process_of_a_start_is_observed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setenv(TOKEN_VARIABLE, "token")
    monkeypatch.setenv(REQUEST_VARIABLE, "/the/request")
    monkeypatch.setattr(rank, "set_up_from_environment", lambda: seen.append("set up"))
    install()
    assert seen == ["set up"]


def test_a_process_of_a_command_is_observed_like_any_other(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setenv(OBSERVATION_VARIABLE, "/the/request")
    monkeypatch.setattr(observed, "begin", lambda: seen.append("observed"))
    install()
    assert seen == []
    monkeypatch.setenv(TOKEN_VARIABLE, "token")
    install()
    assert seen == ["observed"]


def test_a_rank_that_is_not_observed_is_an_error() -> None:
    with pytest.raises(RuntimeError, match="vLLM did not load the plugin 'coldwarm'"):
        rank.write_report(None)


def test_the_plugin_is_an_entry_point_and_imports_nothing_heavy() -> None:
    [plugin] = entry_points(group="vllm.general_plugins", name="coldwarm")
    code = (
        f"import sys; from {plugin.module} import {plugin.attr} as install\n"
        "install()\n"
        "assert not {'torch', 'vllm', 'pydantic', 'typer'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("trace", ["there", "gone"])
def test_a_process_that_cannot_read_the_files_of_its_start_runs_as_if_it_had_none(tmp_path: Path, trace: str) -> None:
    (tmp_path / "there").mkdir()
    code = (
        "import os; from coldwarm.engines.vllm.general_plugin import install\n"
        "install()\n"
        "print(os.environ.get('TORCH_TRACE', 'none'))"
    )
    variables = {
        TOKEN_VARIABLE: str(tmp_path),
        OBSERVATION_VARIABLE: "/nowhere/o.json",
        "TORCH_TRACE": str(tmp_path / trace),
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **variables}, check=True, timeout=60, capture_output=True
    )
    assert done.stdout.decode().strip() == (str(tmp_path / trace) if trace == "there" else "none")
