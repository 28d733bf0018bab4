"""The public Python API, and the examples in docs/python-api.md."""

from __future__ import annotations

import inspect
import json
import re
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import typer
from junitparser import JUnitXml
from typer.core import TyperGroup

import coldwarm
from coldwarm.cli.main import app
from tests.support.commands import ROOT, Commands
from tests.support.processes import goes
from tests.support.records import tiny_config
from tests.support.runs import crashed, failed, known, passed, unsupported
from tests.support.stored import stored

PAGE = ROOT / "docs" / "python-api.md"


def model(folder: Path, name: str, behaves: str = "healthy") -> Path:
    """Write a config.json of a model for the fake engine."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**tiny_config(), "behaves": behaves}))
    return path


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_engine: None) -> None:
    monkeypatch.chdir(tmp_path)


def test_run_returns_the_runs_in_the_order_of_the_models(tmp_path: Path) -> None:
    models = [model(tmp_path, "b"), model(tmp_path, "a", "compiles too much"), model(tmp_path, "c", "raises")]
    result = coldwarm.run(*models, engine="fake", output="out", report={"junit": "junit.xml"})
    assert [(run.case.name, run.verdict.status) for run in result.runs] == [
        ("b", coldwarm.Status.PASSED),
        ("a", coldwarm.Status.FAILED),
        ("c", coldwarm.Status.ERROR),
    ]
    assert (result.ok, result.exit_code, result.folder) == (False, coldwarm.ExitCode.CRASHED, Path("out"))
    [cases] = JUnitXml.fromfile("junit.xml")
    assert [case.name for case in cases] == ["b", "a", "c"]
    again = coldwarm.judge("out")
    assert [run.verdict for run in again.runs] == [run.verdict for run in result.runs]


@pytest.mark.usefixtures("instant_launch")
def test_run_passes_options_and_warm_start_changes_on(tmp_path: Path) -> None:
    result = coldwarm.run(
        model(tmp_path, "a"),
        engine="fake",
        options={"additional_config.seed": 0, "dtype": "bfloat16"},
        warm_options={"additional_config": {"seed": 1}},
        warm_environment={"VLLM_FAKE_X": "a b"},
    )
    [run] = result.runs
    assert run.cold is not None
    assert run.warm is not None
    assert run.cold.options == {"additional_config": {"seed": 0}, "dtype": "bfloat16"}
    assert run.warm.options == {"additional_config": {"seed": 1}, "dtype": "bfloat16"}
    assert "VLLM_FAKE_X" not in run.cold.environment
    assert run.warm.environment["VLLM_FAKE_X"] == "a b"


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"depth": "ful"}, "no depth 'ful'; nearest: full"),
        ({"isolation": "none"}, "no isolation 'none'"),
        ({"compilation": "eager"}, "no compilation 'eager'"),
        ({"aot_artifact": "bundle"}, "no AOT artifact 'bundle'; nearest: bundled"),
        ({"device": "tpu"}, "no device 'tpu'"),
        ({"engine": "vlm"}, "vlm"),
        ({"jobs": 0}, "0 jobs"),
        ({"timeout": float("nan")}, "a timeout of nan s"),
        ({"catalog": "nowhere"}, "no such catalog folder: nowhere"),
        ({"options": {"x": {1}}}, "options: the value of 'x' cannot be written as JSON"),
        ({"report": {"htm": "x.html"}}, "unknown format 'htm'"),
        ({"report": {"json": "-"}}, "name a file"),
        ({"report": {"json": "folder"}}, "cannot write folder"),
    ],
    ids=repr,
)
def test_an_invalid_argument_is_a_usage_error_and_starts_nothing(
    tmp_path: Path, arguments: dict[str, Any], problem: str
) -> None:
    config = model(tmp_path, "a")
    (tmp_path / "folder").mkdir()
    with pytest.raises(coldwarm.UsageError, match=re.escape(problem)):
        coldwarm.run(config, **{"engine": "fake", **arguments})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "folder"]


def test_an_invalid_config_is_a_catalog_error(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(coldwarm.CatalogError, match=r"a\.json:1: "):
        coldwarm.run("a.json", engine="fake")


def test_judge_of_a_folder_without_runs_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(coldwarm.UsageError):
        coldwarm.judge(tmp_path)


def test_raise_for_status_raises_only_for_unhealthy_runs(tmp_path: Path) -> None:
    healthy = coldwarm.judge(stored(tmp_path / "healthy", passed("a"), known("b"), unsupported("c")))
    assert healthy.ok
    healthy.raise_for_status()
    mixed = coldwarm.judge(stored(tmp_path / "mixed", passed("a"), failed("b"), crashed("c")))
    assert [run.ok for run in mixed.runs] == [True, False, False]
    with pytest.raises(coldwarm.UnhealthyRunsError, match=r"^2 of 3 runs are not healthy") as raised:
        mixed.raise_for_status()
    assert "\n- b: failed\n  " in str(raised.value)
    assert "\n- c: error\n  " in str(raised.value)
    assert "- a" not in str(raised.value)


def test_a_suite_that_was_ended_early_is_not_ok(tmp_path: Path) -> None:
    folder = stored(tmp_path / "suite", passed("a"), passed("b"))
    for path in (folder / "b").iterdir():
        path.unlink()
    result = coldwarm.judge(folder)
    assert (result.not_started, result.ok, result.exit_code) == (["b"], False, coldwarm.ExitCode.CRASHED)
    with pytest.raises(coldwarm.UnhealthyRunsError, match="- b: not started"):
        result.raise_for_status()


INTERRUPTED = """
import json, sys
import coldwarm
try:
    coldwarm.run("a.json", "b.json", engine="fake", jobs=1, output="out", report={"json": "out.json"})
except KeyboardInterrupt:
    sys.exit(42)
"""


def test_ctrl_c_raises_keyboard_interrupt_after_storing_what_is_finished(commands: Commands) -> None:
    sleeper = commands.folder / "sleeper"
    model(commands.folder, "a")
    model(commands.folder, "b", "hangs")
    line = [sys.executable, "-c", INTERRUPTED]
    with subprocess.Popen(line, cwd=commands.folder, env=commands.environment(FAKE_SLEEPER=str(sleeper))) as running:
        while not sleeper.exists() or not sleeper.read_text():
            assert running.poll() is None
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
    assert running.returncode == 42
    assert goes(int(sleeper.read_text()))
    assert (commands.folder / "out" / "a" / "warm.json").is_file()
    [run] = json.loads((commands.folder / "out.json").read_bytes())["runs"]
    assert (run["model"], run["verdict"]["status"]) == ("a", "passed")


def test_run_has_each_option_of_the_command_with_the_same_default() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    names = {
        "set_": "options",
        "warm_set": "warm_options",
        "warm_env": "warm_environment",
        "all_": "whole_catalog",
    }
    # Commands of the user, and the history, have no function.
    of_commands = {"ready", "ready_log", "then", "store"}
    options = [option for option in group.commands["run"].params if not getattr(option, "hidden", False)]
    arguments = inspect.signature(coldwarm.run).parameters
    of_models = {names.get(option.name or "", option.name) for option in options} - of_commands
    assert of_models == arguments.keys() - {"observer"}
    for name in ("engine", "depth", "isolation", "timeout"):
        [option] = [option for option in options if option.name == name]
        assert option.default == arguments[name].default


def test_every_public_name_exists_and_is_in_the_documentation() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in coldwarm.__all__:
        assert getattr(coldwarm, name) is not None
        assert name == "__version__" or re.search(rf"`{name}\b", page), name
    assert set(coldwarm.__all__) <= set(dir(coldwarm))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        coldwarm.nothing  # noqa: B018


def test_the_examples_in_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # With the fake engine instead of vLLM.
    monkeypatch.setattr(coldwarm, "run", partial(coldwarm.run, engine="fake"), raising=False)
    code = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(code) == 3
    exec("\n".join(code), {})
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "llama-3.1-8b passed"
    assert "   3 artifacts saved" in lines
    assert (tmp_path / "out" / "llama-3.1-8b" / "verdict.json").is_file()
