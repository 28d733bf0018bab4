"""`coldwarm bisect` as a user calls it, with releases of the fake engine."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import psutil
import pytest

from tests.support.commands import Commands
from tests.support.fake_engine.release import PACKAGE, write_release
from tests.support.forked_commands import ForkedCommand

CRASHES = "raise ValueError('no such kernel')"


def environments(folder: Path, *burned: bool, **first: str) -> list[str]:
    """Write environments ``r0``, ``r1``, ... and return the arguments that search them."""
    words = []
    for number, each in enumerate(burned):
        write_release(folder / f"r{number}", f"1.{number}", burned=each, first=first.get(f"r{number}", "pass"))
        words += ["--environment", f"r{number}"]
    return [*words, "--good", "r0", "--bad", f"r{len(burned) - 1}"]


def starts(stderr: str) -> list[str]:
    """Return which candidates were started, in order."""
    return [line.split()[0] for line in stderr.splitlines() if line.endswith("cold: process start")]


def test_the_first_bad_environment_is_found_with_the_line_that_changed(commands: Commands, config: Path) -> None:
    words = environments(commands.folder, False, False, True, True)
    done = commands.run("bisect", config, "--engine", "fake", *words)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:2] == ["first bad environment: r2 (last good: r1)", "check: unique, at depth trace"]
    assert starts(done.stderr) == ["r0", "r3", "r1", "r2"]
    assert f"  location: {commands.folder}/r2/{PACKAGE}/__init__.py:4: size = prod(x)" in lines
    start = lines.index("changed in forward:")
    assert lines[start + 3 : start + 8] == [
        "  @@ -3,3 +3,3 @@",
        "   def forward(x):",
        "  -    size = None",
        "  +    size = prod(x)",
        "       return x",
    ]
    diff = (commands.folder / "coldwarm-runs" / "bisect-model" / "changes.diff").read_text()
    assert "-VERSION = '1.1'\n+VERSION = '1.2'\n" in diff

    again = commands.run("bisect", config, "--engine", "fake", *words, "--json")
    assert starts(again.stderr) == []
    answer = json.loads(again.stdout)
    assert (answer["last_good"], answer["first_bad"], answer["check"]) == ("r1", "r2", "unique")
    assert [(each["name"], each["value"]) for each in answer["measured"]] == [
        ("r0", "3"),
        ("r1", "3"),
        ("r2", "4"),
        ("r3", "4"),
    ]

    other = commands.run("bisect", config, "--engine", "fake", *words, "--set", "x=1")
    assert other.returncode == 2
    assert "was measured with another options; choose another --output" in other.stderr


def test_what_cannot_be_judged_is_skipped_and_named(commands: Commands, config: Path) -> None:
    words = environments(commands.folder, False, False, True, r1=CRASHES)
    done = commands.run("bisect", config, "--engine", "fake", *words)
    assert done.returncode == 1, done.stderr
    assert "first bad environment: one of r1, r2 (last good: r0)" in done.stdout
    assert "r1 cannot be judged: the cold start crashed in phase 'compile': ValueError: no such kernel" in done.stdout


def test_a_crash_is_searched_for_if_the_bad_one_has_it(commands: Commands, config: Path) -> None:
    words = environments(commands.folder, False, False, True, r1=CRASHES, r2=CRASHES)
    done = commands.run("bisect", config, "--engine", "fake", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("first bad environment: r1 (last good: r0)\ncheck: starts, at depth trace\n")
    assert "ValueError: no such kernel" in done.stdout


def wheel(folder: Path, version: str, *, burned: bool) -> None:
    """Write a wheel of the fake engine's distribution."""
    source = write_release(folder / f"source-{version}", version, burned=burned) / PACKAGE / "__init__.py"
    info = f"fake_engine-{version}.dist-info"
    files = {
        f"{PACKAGE}/__init__.py": source.read_text(),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: fake-engine\nVersion: {version}\nRequires-Dist: torch\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"fake_engine-{version}-py3-none-any.whl", "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)


@pytest.fixture
def index(tmp_path: Path) -> dict[str, str]:
    """Variables with which pip finds six releases, the last three of them bad, and nothing else."""
    folder = tmp_path / "index"
    folder.mkdir()
    for number in range(7, 13):
        wheel(folder, f"1.{number}.0", burned=number >= 10)
    return {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": os.devnull}


def test_releases_are_listed_by_pip_and_only_those_needed_are_installed(
    commands: Commands, config: Path, index: dict[str, str]
) -> None:
    words: list[str | Path] = [
        "bisect",
        config,
        "--engine",
        "fake",
        "--good",
        "1.8.0",
        "--bad",
        "1.12",
        "--environments",
        "kept",
    ]
    done = commands.run(*words, **index)
    assert done.returncode == 0, done.stderr
    assert "5 releases: 1.8.0, 1.9.0, 1.10.0, 1.11.0, 1.12.0" in done.stderr
    assert done.stdout.startswith("first bad release: 1.10.0 (last good: 1.9.0)")
    kept = commands.folder / "kept"
    assert {path.name for path in kept.iterdir() if path.is_dir()} == {"1.8.0", "1.9.0", "1.10.0", "1.12.0"}
    assert (kept / "1.10.0" / "fake_engine-1.10.0.dist-info").is_dir()

    # What is installed needs no pip, and what is given no index.
    without = {**index, "PIP_FIND_LINKS": "/nowhere"}
    named = commands.run(*words, "--releases", "1.8.0,1.9.0,1.10.0,1.12.0", "--output", "other", **without)
    assert named.returncode == 0, named.stderr
    assert "first bad release: 1.10.0" in named.stdout
    missing = commands.run(*words, "--releases", "1.8.0,1.10.0,1.11.0,1.12.0", "--good", "1.11.0", **without)
    assert missing.returncode == 2
    assert "cannot install fake-engine 1.11.0: ERROR: No matching distribution found" in missing.stderr
    unlisted = commands.run(*words, **without)
    assert unlisted.returncode == 2
    assert "cannot list the releases of fake-engine: ERROR: No matching distribution found" in unlisted.stderr
    assert "give them with --releases" in unlisted.stderr


def test_a_release_that_cannot_be_installed_is_skipped_and_named(
    commands: Commands, config: Path, index: dict[str, str]
) -> None:
    words = ["--releases", "1.8.0,1.8.1,1.10.0", "--good", "1.8.0", "--bad", "1.10.0"]
    done = commands.run("bisect", config, "--engine", "fake", *words, **index)
    assert done.returncode == 1, done.stderr
    assert "first bad release: one of 1.8.1, 1.10.0 (last good: 1.8.0)" in done.stdout
    assert "1.8.1 cannot be judged: cannot install fake-engine 1.8.1: ERROR: No matching" in done.stdout
    end = commands.run("bisect", config, "--engine", "fake", *words[:-1], "1.8.1", "--output", "end", **index)
    assert end.returncode == 2
    assert "1.8.1 cannot be judged at depth trace: cannot install fake-engine 1.8.1" in end.stderr


def interrupt(running: ForkedCommand, when: str) -> str:
    """Interrupt a bisection when it prints `when`, check that no process is left, and return what it printed then."""
    assert running.stderr is not None
    with running.stderr as lines:
        for line in lines:
            if when in line:
                break
        processes = psutil.Process(running.pid).children(recursive=True)
        while not processes:
            time.sleep(0.01)
            processes = psutil.Process(running.pid).children(recursive=True)
        began = time.monotonic()
        running.send_signal(signal.SIGINT)
        rest = lines.read()
        # What it was waiting for takes a minute.
        assert time.monotonic() - began < 30
    assert running.wait(30) == 130
    assert [process for process in processes if process.is_running()] == []
    return rest


def test_ctrl_c_leaves_nothing_half_installed(commands: Commands, config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        index = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        pip = {"PIP_INDEX_URL": index, "PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": os.devnull}
        kept = commands.folder / "kept"
        # Of a process that was killed.
        write_release(kept / ".1.8.0.part", "1.8.0")
        words = ["--good", "1.8.0", "--bad", "1.9.0", "--releases", "1.8.0,1.9.0", "--environments", str(kept)]
        running = commands.begin("bisect", config, "--engine", "fake", *words, **pip)
        interrupt(running, "installing fake-engine 1.8.0")
    assert [path.name for path in kept.iterdir()] == [".1.8.0.lock"]


def test_ctrl_c_leaves_no_process_and_the_same_command_continues(commands: Commands, config: Path) -> None:
    words = environments(commands.folder, False, False, True, r1="import time; time.sleep(60)")
    running = commands.begin("bisect", config, "--engine", "fake", *words)
    rest = interrupt(running, "r1 at depth trace: model cold: compile")
    assert "interrupted; what was measured is in coldwarm-runs/bisect-model" in rest

    write_release(commands.folder / "r1", "1.1", burned=True)
    done = commands.run("bisect", config, "--engine", "fake", *words)
    assert starts(done.stderr) == ["r1"]
    assert "first bad environment: r1 (last good: r0)" in done.stdout


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", "-C", folder, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_commits_are_checked_out_beside_the_checkout(commands: Commands, config: Path) -> None:
    checkout = commands.folder / "checkout"
    checkout.mkdir()
    git(checkout, "init", "--quiet", "--initial-branch=main")
    git(checkout, "config", "user.email", "test@example.org")
    git(checkout, "config", "user.name", "test")
    commits = []
    for number in range(4):
        write_release(checkout, f"1.{number}", burned=number >= 2)
        git(checkout, "add", ".")
        git(checkout, "commit", "--quiet", "-m", f"{number}")
        commits.append(git(checkout, "rev-parse", "HEAD"))
    git(checkout, "tag", "v1.0", commits[0])
    before = git(checkout, "status", "--porcelain", "--branch"), (checkout / PACKAGE / "__init__.py").read_text()
    # The installed engine: a compiled extension beside its Python code.
    installed = write_release(commands.folder / "site", "0.9")
    (installed / PACKAGE / "_C.so").write_text("compiled")
    words: list[str | Path] = [
        "bisect",
        config,
        "--engine",
        "fake",
        "--checkout",
        "checkout",
        "--good",
        "v1.0",
        "--bad",
        "main",
    ]
    path = os.pathsep.join([str(installed), commands.environment()["PYTHONPATH"]])
    done = commands.run(*words, "--environments", "trees", PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"first bad commit: {commits[2]} (last good: {commits[1]})")
    assert "+    size = prod(x)" in done.stdout
    tree = commands.folder / "trees" / commits[2]
    assert (tree / PACKAGE / "_C.so").resolve() == installed / PACKAGE / "_C.so"
    assert before == (
        git(checkout, "status", "--porcelain", "--branch"),
        (checkout / PACKAGE / "__init__.py").read_text(),
    )
    unrelated = commands.run(*words, "--good", "v9")
    assert (unrelated.returncode, unrelated.stderr) == (2, "coldwarm: git in checkout: no commit 'v9'\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--good", "1.0", "--bad", "1.0"], "--good and --bad are the same release: 1.0"),
        (["--good", "x", "--bad", "1.0"], "'x' is not a version"),
        (["--good", "1.0", "--bad", "2.0", "--checkout", "."], "--releases and --checkout: give one of them"),
    ],
)
def test_arguments_are_checked_first(commands: Commands, config: Path, words: list[str], message: str) -> None:
    done = commands.run_in_process("bisect", config, "--engine", "fake", "--releases", "1.0,2.0", *words)
    assert done.returncode == 2
    assert message in done.stderr
    assert not (commands.folder / "coldwarm-runs").exists()


def test_an_environment_without_the_engine_is_refused(commands: Commands, config: Path) -> None:
    (commands.folder / "empty").mkdir()
    words = environments(commands.folder, False, False)
    done = commands.run_in_process("bisect", config, "--engine", "fake", "--environment", "empty", *words)
    assert done.returncode == 2
    assert f"empty is neither a virtual environment (it has no bin/python) nor a folder with the package {PACKAGE}" in (
        done.stderr
    )


def test_an_environment_whose_python_cannot_be_run_is_refused(commands: Commands, config: Path) -> None:
    words = environments(commands.folder, False, False)
    python = commands.folder / "r1" / "bin" / "python"
    python.parent.mkdir()
    python.touch(mode=0o644)
    done = commands.run_in_process("bisect", config, "--engine", "fake", *words)
    assert done.returncode == 2
    assert "r1/bin/python cannot be run: Permission denied" in done.stderr


def test_a_checkout_needs_git(commands: Commands, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(commands.folder))
    words = ["--checkout", ".", "--good", "a", "--bad", "b"]
    done = commands.run_in_process("bisect", config, "--engine", "fake", *words)
    assert (done.returncode, done.stderr) == (2, "coldwarm: --checkout needs git, which is not on PATH\n")


def test_a_virtual_environment_is_run_by_its_own_python(commands: Commands, config: Path) -> None:
    """The link to Python is what a virtual environment has; its packages are those of these tests."""
    words = environments(commands.folder, False, True)
    virtual = commands.folder / "r1" / "bin" / "python"
    virtual.parent.mkdir()
    virtual.write_text(f'#!/bin/sh\necho used >> {virtual}.log\nexec {sys.executable} "$@"\n')
    virtual.chmod(0o755)
    path = os.pathsep.join([str(commands.folder / "r1"), commands.environment()["PYTHONPATH"]])
    done = commands.run("bisect", config, "--engine", "fake", *words, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    assert "first bad environment: r1 (last good: r0)" in done.stdout
    assert Path(f"{virtual}.log").read_text().count("used") == 2
    shutil.rmtree(commands.folder / "r1" / "bin")
