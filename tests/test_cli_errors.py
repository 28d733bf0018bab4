"""No command ends with a verdict's exit code because of anything but a verdict."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from junitparser import JUnitXml

from coldwarm.catalog.catalog import Catalog
from coldwarm.cli import results as cli_results
from coldwarm.cli.main import main
from coldwarm.store.suite_folder import read_runs
from tests.support.commands import Commands
from tests.support.records import tiny_config
from tests.support.runs import failed, passed
from tests.support.stored import stored

Ask = Callable[..., tuple[object, str, str]]
COMMANDS = [
    ("run", "glm-4.5"),
    ("list",),
    ("show", "glm-4.5"),
    ("show", "suite"),
    ("explain", "suite"),
    ("judge", "suite"),
    ("ci", "github"),
]
LONG = "x" * 300


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fake_engine: None) -> Ask:
    """Runs a command in this process, in a folder with a stored suite; returns its exit code and what it printed."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    stored(tmp_path / "suite", passed("a"))

    def ask(*arguments: str | Path) -> tuple[object, str, str]:
        monkeypatch.setattr(sys, "argv", ["coldwarm", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return (done.value.code or 0, *capsys.readouterr())

    return ask


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["run", "--repeat", "0"], "Invalid value for '--repeat': must be at least 1"),
        (["run", "--timeout", "0"], "Invalid value for '--timeout': must be at least 1"),
        (["run", "--repeat", "two"], "Invalid value for '--repeat': must be a valid integer"),
        (["run", "--depth", "foo"], "Invalid value for '--depth': 'foo' is not one of 'trace', 'count', 'full'."),
        (
            ["watch", "--expect", "cold", "--", "true"],
            "Invalid value for '--expect': 'cold' is not one of 'warm', 'cached'.",
        ),
        (["history", "list", "--limit", "0"], "Invalid value for '--limit': must be at least 1"),
        (["watch", "--"], "no command after --; for example: coldwarm watch -- python script.py"),
    ],
)
def test_wrong_values_are_refused_in_plain_words(ask: Ask, words: list[str], message: str) -> None:
    exit_code, out, err = ask(*words)
    assert (exit_code, out) == (2, "")
    assert err.splitlines()[-1].removeprefix("Error: ").removeprefix("coldwarm: ") == message


def fails_with(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Has every command fail where it reads the catalog."""

    def read(*_: object) -> Catalog:
        raise error

    monkeypatch.setattr(Catalog, "read", read)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
@pytest.mark.parametrize("error", [AssertionError("a defect"), EOFError("a defect"), MemoryError("a defect")], ids=repr)
def test_an_internal_error_has_an_exit_code_of_its_own(
    ask: Ask, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], error: Exception
) -> None:
    fails_with(monkeypatch, error)
    code, stdout, stderr = ask(*command)
    assert (code, stdout) == (4, "")
    assert stderr.startswith("Traceback (most recent call last):\n")
    assert f"\ncoldwarm: internal error: {type(error).__name__}: a defect\n" in stderr
    assert "Please report it" in stderr


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_full_disk_is_told_in_one_line(ask: Ask, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    fails_with(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "out/cold.json"))
    assert ask(*command) == (4, "", "coldwarm: out/cold.json: No space left on device\n")


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_interrupt_is_no_verdict(ask: Ask, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]) -> None:
    fails_with(monkeypatch, KeyboardInterrupt())
    assert ask(*command)[0] == 130


def test_the_message_of_an_internal_error_holds_no_secret(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hunter2-0a1b2c")
    fails_with(monkeypatch, ValueError("no such token: hunter2-0a1b2c or hunter3-0a1b2c"))
    code, _, stderr = ask("run", "glm-4.5", "--set", "additional_config.api_key=hunter3-0a1b2c")
    assert code == 4
    assert "ValueError: no such token: (secret) or (secret)\n" in stderr


def test_the_message_of_a_usage_error_holds_no_secret(ask: Ask) -> None:
    code, _, stderr = ask("run", "glm-4.5", "--set", "hf_token=hunter2-0a1b2c", "--set", "hf_token.x=hunter3-0a1b2c")
    assert (code, stderr.count("hunter")) == (2, 0)


@pytest.mark.parametrize(
    ("command", "named"),
    [
        (("show", LONG), LONG),
        (("show", f"{LONG}.toml"), LONG),
        (("show", f"{LONG}.json"), LONG),
        (("judge", LONG), LONG),
        (("explain", LONG), LONG),
        (("run", LONG), LONG),
        (("run", "glm-4.5", "--output", LONG), LONG),
        (("run", "glm-4.5", "--junit", LONG), LONG),
        (("run", "glm-4.5", "--markdown", f"{LONG}/x"), LONG),
        (("run", "glm-4.5", "--catalog", LONG), LONG),
        (("list", "--catalog", LONG), LONG),
        (("judge", "suite", "--junit", LONG), LONG),
        (("judge", "suite", "--markdown", LONG), LONG),
        (("explain", "suite", "--perfetto", LONG), LONG),
        (("ci", "github", "--records", LONG), LONG),
        (("ci", "github", "--catalog", LONG), LONG),
        (("list", "--catalog", "loop"), "loop"),
        (("judge", "loop"), "loop"),
        (("judge", "suite", "--junit", "loop/x"), "loop"),
        (("show", "loop.toml"), "loop.toml"),
    ],
    ids=lambda value: " ".join(value).replace(LONG, "LONG") if isinstance(value, tuple) else "",
)
def test_a_file_that_cannot_be_is_a_usage_error_that_names_it(
    ask: Ask, tmp_path: Path, command: tuple[str, ...], named: str
) -> None:
    for name in ("loop", "loop.toml"):
        (tmp_path / name).symlink_to(name)
    before = sorted(tmp_path.iterdir())
    code, _, stderr = ask(*command)
    assert code == 2, stderr
    assert stderr.startswith("coldwarm: ")
    assert named in stderr
    assert "Traceback" not in stderr
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("start", ["cold", "warm"])
@pytest.mark.parametrize("options", [(), ("--perfetto", "out.json"), ("--json",)], ids=" ".join)
def test_a_trace_that_cannot_be_read_is_a_usage_error_that_names_it(
    ask: Ask, tmp_path: Path, start: str, options: tuple[str, ...]
) -> None:
    # Opening a folder fails for everybody, root too.
    (tmp_path / "suite" / "a" / f"{start}.trace" / "x.log").mkdir(parents=True)
    code, stdout, stderr = ask("explain", "suite", *options)
    assert (code, stdout) == (2, "")
    assert stderr == f"coldwarm: cannot read suite/a/{start}.trace/x.log: Is a directory\n"
    assert not (tmp_path / "out.json").exists()


def model(folder: Path, name: str) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(tiny_config()))
    return path


@pytest.fixture
def disk_that_is_full_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Has no file be written from one on whose path ends so."""

    def full_at(end: str) -> None:
        write = Path.write_bytes

        def write_bytes(self: Path, content: bytes) -> int:
            if str(self).endswith(end):
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(self, content)

        monkeypatch.setattr(Path, "write_bytes", write_bytes)

    return full_at


@pytest.mark.usefixtures("instant_launch")
@pytest.mark.parametrize(("file", "errors"), [("cold", 1), ("warm", 0), ("explanation", 0), ("verdict", 0)])
def test_what_was_measured_is_reported_although_the_disk_is_full(
    ask: Ask, tmp_path: Path, disk_that_is_full_at: Callable[[str], None], file: str, errors: int
) -> None:
    models = [model(tmp_path, "first"), model(tmp_path, "second")]
    disk_that_is_full_at(f"second/{file}.part")
    reports = ("--report", "junit=junit.xml", "--report", "markdown=summary.md")
    code, stdout, stderr = ask("run", *models, "--engine", "fake", "--output", "out", "--jobs", "1", *reports)
    assert code == 4
    ending = f"records: out\nreport: out/report.html\ncoldwarm: out/second/{file}.json: No space left on device\n"
    assert stderr.endswith(ending)
    assert [line.split()[0] for line in stdout.splitlines()[1:3]] == ["first", "second"]
    assert "| second |" in (tmp_path / "summary.md").read_text()
    [suite] = JUnitXml.fromfile(str(tmp_path / "junit.xml"))
    assert [case.name for case in suite] == ["first", "second"]
    assert suite.errors == errors
    assert read_runs(tmp_path / "out" / "first")[0].warm is not None


@pytest.mark.usefixtures("instant_launch")
def test_the_table_is_printed_although_a_report_could_not_be_written(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = Path.write_text

    def write_text(self: Path, content: str, **options: str) -> int:
        if content.startswith("### coldwarm") and self.parent == tmp_path:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, content, **options)

    monkeypatch.setattr(Path, "write_text", write_text)
    reports = ("--report", "junit=junit.xml", "--report", "markdown=summary.md")
    code, stdout, stderr = ask("run", model(tmp_path, "a"), "--engine", "fake", "--output", "out", *reports)
    assert code == 4, "exit code 2 says that nothing was started"
    assert stdout.splitlines()[1].startswith("a ")
    assert "coldwarm: cannot write summary.md: No space left on device\n" in stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "junit.xml", "out", "suite"]


def with_stdout(folder: Path, command: tuple[str, ...], stdout: int) -> tuple[int, str]:
    """Run a command in a process of its own with this file as its stdout; return its exit code and its stderr."""
    here = Commands(folder, [])
    # Buffered, as Python's stdout is by default.
    environment = here.environment(PYTHONUNBUFFERED="")
    line = here.line(*command)
    done = subprocess.run(
        line, cwd=folder, env=environment, stdout=stdout, stderr=subprocess.PIPE, text=True, timeout=60
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    "command",
    [("list",), ("list", "--json"), ("ci", "github"), ("judge", "suite", "--json"), ("--help",)],
    ids=" ".join,
)
def test_a_stdout_that_cannot_be_written_is_no_verdict(tmp_path: Path, command: tuple[str, ...]) -> None:
    stored(tmp_path / "suite", failed("a"))
    with Path("/dev/full").open("w") as full:
        assert with_stdout(tmp_path, command, full.fileno()) == (4, "coldwarm: No space left on device\n")


@pytest.mark.parametrize(
    "command",
    [
        ("list", "--json"),
        ("ci", "github"),
        ("judge", "suite", "--json"),
        ("--help",),
        ("run", "--help"),
        ("--version",),
    ],
    ids=" ".join,
)
def test_a_reader_that_is_gone_is_no_verdict(tmp_path: Path, command: tuple[str, ...]) -> None:
    stored(tmp_path / "suite", *(passed(f"model-{number}") for number in range(20)))
    read_end, write_end = os.pipe()
    os.close(read_end)
    answer = with_stdout(tmp_path, command, write_end)
    os.close(write_end)
    assert answer == (0, "")


@pytest.mark.parametrize("command", ["list", "list --json", "ci github", "judge suite --json", "--help"])
def test_a_process_without_a_stdout_is_no_verdict(tmp_path: Path, command: str) -> None:
    stored(tmp_path / "suite", passed("a"))
    here = Commands(tmp_path, [])
    line = ["bash", "-c", f"{sys.executable} -m coldwarm {command} >&-"]
    done = subprocess.run(
        line, cwd=tmp_path, env=here.environment(), stderr=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")


OLD = "the report of an earlier run"


@pytest.mark.usefixtures("instant_launch")
def test_a_run_that_is_refused_leaves_reports_as_they_were(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "summary.md").write_text(OLD)
    reports = ("--junit", "new/junit.xml", "--markdown", "summary.md")
    code, _, stderr = ask("run", model(tmp_path, "a"), "--engine", "fake", "--output", "suite", *reports)
    assert code == 2
    assert "output directory already contains a suite" in stderr
    assert (tmp_path / "summary.md").read_text() == OLD
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "suite", "summary.md"]


@pytest.mark.usefixtures("instant_launch")
@pytest.mark.parametrize("command", ["run", "judge"])
def test_a_report_of_an_earlier_run_does_not_stay_after_a_crash(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    def crash(*_: object) -> str:
        raise AssertionError("a defect")

    monkeypatch.setattr("coldwarm.report.exporters.markdown.render", crash)
    for name in ("junit.xml", "summary.md"):
        (tmp_path / name).write_text(OLD)
    what = ("run", model(tmp_path, "a"), "--engine", "fake") if command == "run" else ("judge", "suite")
    assert ask(*what, "--report", "junit=junit.xml", "--report", "markdown=summary.md")[0] == 4
    assert not (tmp_path / "summary.md").exists()
    assert OLD not in (tmp_path / "junit.xml").read_text()


@pytest.mark.usefixtures("instant_launch")
def test_a_report_of_an_earlier_run_does_not_stay_where_this_one_is_killed(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("junit.xml", "summary.md"):
        (tmp_path / name).write_text(OLD)
    left: list[Path] = []

    def killed(*_: object, **__: object) -> None:
        left.extend(path for path in tmp_path.iterdir() if path.suffix in (".xml", ".md"))

    monkeypatch.setattr(cli_results, "write_results", killed)
    monkeypatch.setattr("coldwarm.cli.commands.run.write_results", killed)
    reports = ("--report", "junit=junit.xml", "--report", "markdown=summary.md")
    ask("run", model(tmp_path, "a"), "--engine", "fake", *reports)
    assert left == []
