"""`coldwarm history`, and --store of the commands that start something."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.diagnose.explanation import Explanation
from coldwarm.store.history import location
from coldwarm.store.history.history import History
from coldwarm.suite.result import RunResult
from tests.support.commands import ROOT, Commands
from tests.support.records import SAVED, cold_record, model_entry, warm_record
from tests.support.repeated import repeated
from tests.support.runs import case_of, failed, passed
from tests.support.stored import stored
from tests.test_cli import model
from tests.test_cli_commands import TORCH, TWO

CPU = ROOT / "records" / "cpu-2026-11-29-vllm-0.32"
GPU = ROOT / "records" / "h200-2026-11-29-vllm-0.33"
FULL = "CREATE TRIGGER full BEFORE INSERT ON coldwarm_start BEGIN SELECT RAISE(ABORT, 'no space left'); END"
"""Makes every insertion fail after the row of the run was inserted."""

Ask = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def history(commands: Commands) -> Ask:
    """Runs ``coldwarm history`` with the store ``history.db``."""

    def history(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return commands.run_in_process("history", *arguments, "--store", "history.db")

    return history


@pytest.fixture
def filled(history: Ask) -> Ask:
    assert history("add", CPU, GPU).returncode == 0
    return history


def points(history: Ask, name: str, *options: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = json.loads(history(name, *options, "--json").stdout)
    return found


class TestAdd:
    def test_reports_what_was_done_with_each_folder(self, history: Ask) -> None:
        assert history("add", CPU).stdout == f"{CPU}: 7 stored, 1 unsupported (deepseek-v3.2)\n"
        done = history("add", CPU / "glm-4.5", CPU)
        assert done.stdout.splitlines() == [
            f"{CPU / 'glm-4.5'}: 0 stored, 1 stored before",
            f"{CPU}: 0 stored, 7 stored before, 1 unsupported (deepseek-v3.2)",
        ]

    def test_takes_the_suite_of_the_run_in_the_working_directory(self, history: Ask, tmp_path: Path) -> None:
        shutil.copytree(GPU, tmp_path, dirs_exist_ok=True, ignore=lambda *_: ["cold.trace", "warm.trace"])
        done = Commands(tmp_path / "glm-4.5", []).run_in_process("history", "add", ".", "--store", "../history.db")
        assert done.stdout == ".: 1 stored\n"
        [point] = points(history, "glm-4.5")
        assert point["versions"]["coldwarm"] == "0.1.0"  # type: ignore[index]
        assert history("add", "glm-4.5").stdout == "glm-4.5: 0 stored, 1 stored before\n"

    def test_stores_the_others_if_one_cannot_be_read(self, history: Ask, tmp_path: Path) -> None:
        (tmp_path / "empty").mkdir()
        done = history("add", "empty", CPU)
        assert (done.returncode, done.stdout.split(":")[1]) == (
            ExitCode.USAGE,
            " 7 stored, 1 unsupported (deepseek-v3.2)\n",
        )
        assert "empty contains neither a suite (suite.json) nor a run" in done.stderr

    def test_names_the_program_before_each_problem(self, history: Ask, tmp_path: Path) -> None:
        (tmp_path / "a.txt").touch()
        (tmp_path / "empty").mkdir()
        assert history("add", "a.txt", "empty").stderr.splitlines() == [
            "coldwarm: a.txt is a file, not the folder of a suite or a run",
            "coldwarm: empty contains neither a suite (suite.json) nor a run (case.json)",
        ]

    def test_uses_the_file_of_the_user_if_no_store_is_named(
        self, commands: Commands, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        assert commands.run_in_process("history", "add", CPU / "glm-4.5").returncode == 0
        assert (tmp_path / "data" / "coldwarm" / "history.db").is_file()
        monkeypatch.setenv(location.VARIABLE, str(tmp_path / "other.db"))
        assert "there is no history at" in commands.run_in_process("history").stderr


class TestList:
    def test_has_all_models(self, filled: Ask) -> None:
        heading, *lines = filled().stdout.splitlines()
        assert heading.split() == ["model", "runs", "first", "last", "last", "verdict"]
        assert [line.split()[:2] for line in lines if line.startswith(("deepseek", "glm"))] == [
            ["deepseek-v3.2", "1"],
            ["glm-4.5", "2"],
        ]
        assert filled("list").stdout == filled().stdout

    def test_shows_what_differs_as_columns_and_the_rest_above(self, filled: Ask) -> None:
        first, heading, *lines = filled("glm-4.5").stdout.splitlines()
        assert first == "glm-4.5: compilation piecewise, artifacts bundled"
        assert re.split(r"\s{2,}|(?<=when) ", heading.strip())[0] == "when"
        assert [line.split()[2:4] for line in lines] == [["0.33.0", "2.14.0+cu130"], ["0.32.0", "2.13.0+cpu"]]
        assert "NVIDIA H200, 16 cores" in lines[0]
        assert re.search(r"4 / 0 +0 / 4 +59\.3 +24\.5 known issue 5d6f6a1d", lines[0])
        [line] = filled("glm-4.5", "--device", "cpu").stdout.splitlines()[2:]
        assert "cpu" not in line

    def test_is_limited_to_the_newest(self, filled: Ask) -> None:
        done = filled("glm-4.5", "--limit", "1").stdout.splitlines()
        assert "version 0.32.0" in done[0]
        assert done[-1] == "the newest 1 runs; --limit N shows more"
        assert [point["device"] for point in points(filled, "glm-4.5", "--limit", "1")] == ["cpu"]
        assert "--limit" not in filled("glm-4.5", "--limit", "2").stdout

    @pytest.mark.parametrize(
        ("options", "versions"),
        [
            (["--version", "0.33"], ["0.33.0"]),
            (["--torch", "2.13.0"], ["0.32.0"]),
            (["--depth", "full"], ["0.33.0"]),
            (["--machine", "epyc"], ["0.32.0"]),
            (["--since", "2026-11-29T12:00+00:00"], ["0.32.0"]),
            (["--since", "5000w"], ["0.33.0", "0.32.0"]),
            (["--verdict", "failed"], []),
            (["--commit", "0123"], []),
        ],
    )
    def test_takes_only_some_runs(self, filled: Ask, options: list[str], versions: list[str]) -> None:
        found = points(filled, "glm-4.5", *options)
        assert [point["versions"]["vllm"] for point in found] == versions  # type: ignore[index]

    def test_as_json_has_everything(self, filled: Ask) -> None:
        [point] = points(filled, "glm-4.5", "--device", "cuda")
        assert point["when"] == "2026-11-29T11:42:40.970894+00:00"
        starts: Any = point["starts"]
        cold, warm = starts
        assert (cold["counts"]["saved"], warm["counts"]["loaded"]) == (4, 4)
        assert warm["phases"]["JIT warm-up"] > 0
        assert {"model": "glm-4.5", "runs": 2}.items() <= points(filled, "list")[1].items()

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (["glm45"], "no run of 'glm45' in {store}; nearest: glm-4.5"),
            (
                ["glm-4.5", "--since", "yesterday"],
                "--since 'yesterday' is neither a time, such as 2026-11-29, nor an age",
            ),
            (["show", "0123"], "no run in {store} has an id that begins with '0123'"),
            (["export", "5d6f6a1d", "."], ". is not empty; choose another folder"),
        ],
    )
    def test_errors_say_what_to_do(self, filled: Ask, tmp_path: Path, arguments: list[str], message: str) -> None:
        done = filled(*arguments)
        assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
        assert message.format(store=tmp_path / "history.db") in done.stderr

    def test_of_a_store_that_does_not_exist_says_how_to_fill_it(self, history: Ask, tmp_path: Path) -> None:
        done = history("glm-4.5")
        assert done.returncode == ExitCode.USAGE
        assert "fill it with 'coldwarm history add DIR', or run models with --store" in done.stderr
        assert list(tmp_path.iterdir()) == []


def test_a_run_is_shown_and_judged_without_its_folder(filled: Ask, commands: Commands) -> None:
    both = [
        done.stdout.splitlines()
        for done in (filled("show", "5d6f6a1d"), commands.run_in_process("show", GPU / "glm-4.5"))
    ]
    # The checks and reasons of the stored verdict are not worded anew.
    shown, judged_again = (
        [line for line in lines if not line.startswith(("  ok", "  known", "  - "))] for lines in both
    )
    assert shown == judged_again
    assert filled("export", "5d6f6a1d", "old").returncode == 0
    judged = [commands.run_in_process("judge", folder) for folder in ("old", GPU / "glm-4.5")]
    assert judged[0].stdout == judged[1].stdout


def test_an_unknown_verdict_is_refused(filled: Ask) -> None:
    for options in ((), ("--json",), ("--trend",)):
        done = filled("glm-4.5", "--verdict", "fialed", *options)
        assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
        assert "--verdict fialed: no such verdict; nearest: failed" in done.stderr
        assert "(one of: passed, failed, known issue, " in done.stderr and "partly warm" in done.stderr
    assert filled("glm-4.5", "--verdict", "partly warm").returncode == 0


def test_of_a_repeated_run_the_repetition_with_the_verdict_is_shown(history: Ask, tmp_path: Path) -> None:
    case = case_of(model_entry(id="tiny"), repeat=3)
    pairs: list[tuple[StartRecord, StartRecord, Explanation]] = []
    for number in (1, 2, 3):
        counters = {SAVED: 4} if number == 2 else None
        found = Finding(kind=FindingKind.NOT_SHARED, start=StartKind.COLD, what=f"in repetition {number}")
        cold = cold_record(counters=counters, began=datetime(2026, 11, number, tzinfo=UTC), seconds=10.0 * number)
        pairs.append((cold, warm_record(), Explanation(findings=[found])))
    result = RunResult.of_repetitions(case, pairs)
    assert (result.number, result.verdict.status) == (2, "failed")
    stored(tmp_path / "suite", result)
    history("add", "suite")
    [point] = points(history, "tiny")
    findings: Any = point["findings"]
    assert (point["verdict"], [each["what"] for each in findings]) == ("failed", ["in repetition 2"])
    shown = history("show", str(point["id"])).stdout
    assert "in repetition 2 of 3: " in shown
    assert re.search(r"\b20\.0\b", shown) and not re.search(r"\b10\.0\b", shown)


def test_a_repeated_run_is_stored_once_all_repetitions_are_finished(history: Ask, tmp_path: Path) -> None:
    result = repeated([20.0, 21.0, 22.0])
    suite = stored(tmp_path / "suite", result)
    last = suite / "tiny" / "repeat-3"
    (last / "verdict.json").rename(tmp_path / "verdict.json")
    assert history("add", "suite").stdout == "suite: 0 stored, 1 not finished (tiny)\n"
    last.rename(tmp_path / "later")
    assert history("add", "suite").stdout == "suite: 0 stored, 1 not finished (tiny)\n"
    (tmp_path / "later").rename(last)
    (tmp_path / "verdict.json").rename(last / "verdict.json")
    assert history("add", "suite").stdout == "suite: 1 stored\n"


class TestRun:
    @pytest.mark.usefixtures("instant_launch")
    def test_stores_its_runs(self, commands: Commands, history: Ask, tmp_path: Path) -> None:
        model(tmp_path, "a")
        done = commands.run_in_process("run", "a.json", "--engine", "fake", "--output", "out", "--store", "history.db")
        assert f"stored: 1 run in {tmp_path / 'history.db'}" in done.stderr
        [point] = points(history, "a")
        assert (point["engine"], point["name"]) == ("fake", "a")
        assert f"\na: {point['verdict']}\n" in done.stdout
        assert history("add", "out").stdout == "out: 0 stored, 1 stored before\n"

    @pytest.mark.usefixtures("instant_launch")
    def test_records_the_commit_of_the_folder(self, commands: Commands, history: Ask, tmp_path: Path) -> None:
        model(tmp_path, "a")
        git = ["git", "-C", str(tmp_path), "-c", "user.name=x", "-c", "user.email=x@example.org"]
        for words in (["init", "-q"], ["add", "a.json"], ["commit", "-qm", "x"]):
            subprocess.run([*git, *words], check=True)
        commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
        for changes in (False, True):
            commands.run_in_process("run", "a.json", "--engine", "fake", "--store", "history.db")
            [*_, point] = points(history, "a")
            # The fake engine is part of coldwarm's own checkout, if the tests run in one.
            if point["commit_of"] == "folder":
                assert (point["commit"], point["has_local_changes"]) == (commit, changes)
            (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text() + "\n")

    @pytest.mark.usefixtures("instant_launch")
    def test_that_cannot_be_stored_is_complete_and_says_how_to_repeat_it(
        self, commands: Commands, history: Ask, tmp_path: Path
    ) -> None:
        model(tmp_path, "a")
        History.open(str(tmp_path / "history.db")).close()
        with sqlite3.connect(tmp_path / "history.db") as database:
            database.execute(FULL)
        run = ("run", "a.json", "--engine", "fake", "--output", "out", "--store", "history.db")
        done = commands.run_in_process(*run)
        assert done.returncode == ExitCode.INTERNAL_ERROR
        assert done.stdout.startswith("model ")
        assert f"coldwarm: cannot use the store {tmp_path / 'history.db'}: no space left" in done.stderr
        repeat = f"coldwarm history add out --store {tmp_path / 'history.db'}"
        assert f"{repeat}\n" in done.stderr
        assert history().stdout == f"no such run in {tmp_path / 'history.db'}\n"
        with sqlite3.connect(tmp_path / "history.db") as database:
            database.execute("DROP TRIGGER full")
        assert commands.run_in_process(*repeat.split()[1:]).stdout == "out: 1 stored\n"

    @pytest.mark.usefixtures("instant_launch")
    @pytest.mark.parametrize(
        ("store", "message"),
        [
            (
                "mysql://u:hidden@db/x",
                "'mysql://u:***@db/x' is not a store; give a file, sqlite:///FILE or postgresql://",
            ),
            (
                "postgresql://ci@host:abc/db",
                "postgresql://ci@host:abc/db is not a URL of a store; its form is postgresql://USER@HOST:PORT/DATABASE",
            ),
            ("~no-such-user/x.db", "~no-such-user/x.db: there is no such user, or one without a home folder"),
            ("folder", "folder is a folder; give a file for the store"),
            ("text", "file is not a database"),
            ("postgresql://u:hidden@127.0.0.1:1/x", "cannot use the store postgresql://u:***@127.0.0.1:1/x: "),
        ],
    )
    def test_finds_an_unusable_store_before_anything_is_started(
        self, commands: Commands, tmp_path: Path, store: str, message: str
    ) -> None:
        model(tmp_path, "a")
        (tmp_path / "folder").mkdir()
        (tmp_path / "text").write_text("no database\n" * 100)
        done = commands.run_in_process("run", "a.json", "--engine", "fake", "--output", "out", "--store", store)
        assert (done.returncode, done.stdout) == (ExitCode.USAGE, "")
        assert message in done.stderr
        assert "hidden" not in done.stderr
        assert not (tmp_path / "out").exists()


class TestWatch:
    @pytest.fixture
    def watch(self, commands: Commands, tmp_path: Path) -> Ask:
        """Runs ``coldwarm watch`` on a program that compiles two functions with a torch that takes no time."""
        folders = {name: str(tmp_path / name) for name in ("HOME", "TMPDIR", "TORCHINDUCTOR_CACHE_DIR")}
        for folder in folders.values():
            Path(folder).mkdir()
        (tmp_path / "program.py").write_text(TWO)
        path = os.pathsep.join(map(str, [TORCH, ROOT, ROOT / "src"]))

        def watch(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
            words = ["watch", *options, "--", sys.executable, "program.py", "--api-key=hidden-0a1b2c"]
            return commands.run(*words, PYTHONPATH=path, **folders, **variables)

        return watch

    def test_stores_each_start(self, watch: Ask, history: Ask, tmp_path: Path) -> None:
        for store in ({"--store": "history.db"}, {}):
            variables = {} if store else {location.VARIABLE: str(tmp_path / "history.db")}
            done = watch(*(word for pair in store.items() for word in pair), **variables)
            assert done.returncode == 0, done.stderr
        found = points(history, "program")
        assert [(point["source"], point["verdict"]) for point in found] == [("watch", "cold"), ("watch", "warm")]
        assert len({point["settings"] for point in found}) == 1
        lines = history("program").stdout.splitlines()
        assert [line.split()[-2] for line in lines[-2:]] == ["cold", "warm"]
        assert history("show", str(found[1]["id"])).stdout.startswith("coldwarm: warm after ")
        refused = history("export", str(found[1]["id"])[:8], "old")
        assert (refused.returncode, refused.stdout) == (ExitCode.USAGE, "")
        assert refused.stderr.endswith(f"to see it: coldwarm history show {str(found[1]['id'])[:8]}\n")
        assert not (tmp_path / "old").exists()
        assert "hidden" not in json.dumps(found)
        with History.open(str(tmp_path / "history.db")) as opened:
            content = opened.content(str(found[0]["id"]))
        assert content.warm is not None and content.warm.command[-1] == "--api-key=(set, not recorded)"

    def test_goes_on_if_the_start_cannot_be_stored(self, watch: Ask, tmp_path: Path) -> None:
        (tmp_path / "folder").mkdir()
        done = watch("--store", "folder")
        assert done.returncode == 0
        assert "coldwarm: cold after" in done.stderr
        assert (
            "folder is a folder; give a file for the store\ncoldwarm: the start is not in the history\n" in done.stderr
        )


@pytest.mark.parametrize(
    ("missing", "packages"), [("sqlalchemy", "sqlalchemy alembic"), ("psycopg", "'psycopg[binary]'")]
)
def test_without_an_extra_the_message_has_the_command_that_installs_it(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, missing: str, packages: str
) -> None:
    for name in list(sys.modules):
        if name.startswith(("coldwarm.store.history.", f"{missing}.")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    done = commands.run_in_process("history", "add", CPU, "--store", "postgresql://ci@db.example/coldwarm")
    assert done.returncode == ExitCode.USAGE
    assert f"needs the package {missing}; to install it: pip install {packages}" in done.stderr


def test_a_failed_run_is_in_the_history_with_its_reasons(history: Ask, tmp_path: Path) -> None:
    history("add", stored(tmp_path / "suite", passed("a"), failed("b")))
    [point] = points(history, "b")
    assert point["verdict"] == "failed"
    assert point["reasons"]
