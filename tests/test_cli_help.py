"""The help screens: what a user relies on, whatever their wording."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.core import TyperCommand, TyperGroup

from coldwarm.cli.main import app, main
from coldwarm.core.exit_codes import ExitCode
from tests.support.commands import Commands

GROUP = typer.main.get_command(app)
assert isinstance(GROUP, TyperGroup)
SCREENS: dict[str, TyperCommand | TyperGroup] = {"": GROUP, **GROUP.commands}  # type: ignore[dict-item]
SCREENS |= {
    f"{name} {each}": command
    for name, group in GROUP.commands.items()
    if isinstance(group, TyperGroup)
    for each, command in group.commands.items()
    if isinstance(command, TyperCommand)
}

Help = Callable[..., str]


@pytest.fixture
def here(tmp_path: Path) -> Commands:
    return Commands(tmp_path, [])


@pytest.fixture
def help_of(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Help:
    """Returns what ``coldwarm COMMAND --help`` prints on a terminal with so many columns."""

    def help_of(command: str, columns: int = 80) -> str:
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setattr(sys, "argv", ["coldwarm", *command.split(), "--help"])
        with pytest.raises(SystemExit) as done:
            main()
        assert not done.value.code
        return capsys.readouterr().out

    return help_of


def test_help_lists_the_commands(help_of: Help) -> None:
    commands = re.findall(r"^  ([a-z]+)  ", help_of(""), re.MULTILINE)
    assert set(commands) == {name for name in SCREENS if name and " " not in name}


@pytest.mark.parametrize("command", SCREENS)
def test_help_describes_each_option(help_of: Help, command: str) -> None:
    screen = help_of(command)
    for option in SCREENS[command].params:
        names = [option.metavar] if option.param_type_name == "argument" else sorted(option.opts, key=len)
        if not getattr(option, "hidden", False):
            name = ", ".join(map(str, names))
            # At the beginning of a line, and followed by its text there or in the next line.
            assert re.search(rf"^  {re.escape(name)}( \S+)?(  +|\n {{20,}})[A-Z]\w+ ", screen, re.MULTILINE), name


@pytest.mark.parametrize("command", ["list", "history list"])
def test_help_says_that_a_list_is_a_json_array(help_of: Help, command: str) -> None:
    assert "as a JSON array of objects" in " ".join(help_of(command).split())


def test_help_says_that_a_run_without_a_model_for_the_device_is_no_success(help_of: Help) -> None:
    # As it is tested in tests/suite/test_plan.py.
    assert re.search(r"^  2 +Usage .* no model can run here\.", help_of("run", 100), re.MULTILINE)
    assert "no model can run here" not in help_of("judge", 100)


def test_help_names_the_tags_that_buildkites_agents_need(help_of: Help) -> None:
    screen = " ".join(help_of("ci").split())
    assert "Require agents with the tag device=NAME" in screen and "with the tag device=cpu" in screen


def test_usage_names_the_options_that_are_required(help_of: Help) -> None:
    assert "coldwarm bisect [OPTIONS] --good VERSION --bad VERSION MODEL" in " ".join(help_of("bisect").split())


@pytest.mark.parametrize("command", SCREENS)
@pytest.mark.parametrize("columns", [64, 80, 120])
def test_help_fits_the_terminal(help_of: Help, command: str, columns: int) -> None:
    long = [line for line in help_of(command, columns).splitlines() if len(line) > min(columns, 100)]
    # A command line is not broken.
    assert [line for line in long if not re.search("  #|^  coldwarm ", line)] == []
    assert columns < 80 or long == []


@pytest.mark.parametrize("command", SCREENS)
@pytest.mark.parametrize("columns", [80, 120])
def test_examples_keep_their_lines(help_of: Help, command: str, columns: int) -> None:
    examples = [line for line in (SCREENS[command].help or "").splitlines() if line.startswith("  ")]
    assert len(examples) >= 2
    assert set(examples) <= set(help_of(command, columns).splitlines())


@pytest.mark.parametrize("command", SCREENS)
def test_examples_have_only_commands_and_options_that_exist(command: str) -> None:
    for example in re.findall(r"^ .*coldwarm (.*?)(?:  #|$)", SCREENS[command].help or "", re.MULTILINE):
        name, *words = example.split(" -- ")[0].split()
        if isinstance(SCREENS[name], TyperGroup):
            sub = f"{name} {next(iter(words), None)}"
            name = sub if sub in SCREENS else f"{name} list"
        options = {option for parameter in SCREENS[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options


@pytest.mark.parametrize("command", [name for name in SCREENS if name])
def test_exit_codes_in_help_are_those_of_commands(help_of: Help, command: str) -> None:
    _, listed = help_of(command).split("Exit codes:\n")
    codes = [int(code) for code in re.findall(r"^  (\d+) +[A-Z]", listed, re.MULTILINE)]
    without_verdict = [code for code in ExitCode if code not in (ExitCode.FAILED, ExitCode.CRASHED)]
    with_failure = [code for code in ExitCode if code is not ExitCode.CRASHED]
    expected = {
        "run": list(ExitCode),
        "judge": list(ExitCode),
        "compare": list(ExitCode),
        "add": list(ExitCode),
        "accept": with_failure,
        "bisect": with_failure,
    }
    # Signals go to the command that is watched.
    expected["watch"] = [code for code in ExitCode if code is not ExitCode.INTERRUPTED]
    assert codes == expected.get(command, without_verdict)


@pytest.mark.parametrize("command", SCREENS)
def test_help_has_no_markup_and_no_names_of_types(help_of: Help, command: str) -> None:
    screen = help_of(command)
    assert re.findall(r"`|\*\*|\x1b|<(?:list|str|int|bool|path)|default: \(|default: None", screen) == []


def test_no_command_is_answered_with_help_and_the_exit_code_of_a_usage_error(here: Commands) -> None:
    done = here.run()
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == here.run("--help").stdout


@pytest.mark.parametrize(
    ("variables", "bold"), [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"NO_COLOR": "1"}, False)]
)
def test_titles_are_bold_on_a_terminal_that_can_show_it(here: Commands, variables: dict[str, str], bold: bool) -> None:
    ours, theirs = pty.openpty()
    environment = {**here.environment(), "TERM": "xterm", **variables}
    subprocess.run(here.line("list", "--help"), env=environment, stdout=theirs, check=True, timeout=60)
    os.close(theirs)
    screen = os.read(ours, 100_000).decode()
    os.close(ours)
    assert ("\x1b[1mOptions:\x1b[0m" in screen) is bold
    assert ("\x1b" in screen) is bold
