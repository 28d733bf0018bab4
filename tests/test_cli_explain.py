from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from coldwarm.cli.main import main
from coldwarm.core.phases import Step
from coldwarm.core.record import Failure, Message
from coldwarm.diagnose.explanation import Explanation
from coldwarm.store.suite_folder import read_runs
from tests.support.explanations import (
    BEGAN,
    SOURCE_CHANGED,
    compiled_again,
    finding,
    keys,
    load_failure,
    span,
    write_keys,
    write_trace,
)
from tests.support.records import SAVED, cold_record, model_entry, warm_record
from tests.support.runs import crashed, passed, result_of, unsupported
from tests.support.stored import stored
from tests.test_kept_records import SUITES


class Answered(NamedTuple):
    code: object
    stdout: str
    stderr: str


Ask = Callable[..., Answered]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Ask:
    """Asks `coldwarm explain` in this process, which saves the start of another."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def ask(*arguments: str | Path) -> Answered:
        monkeypatch.setattr(sys, "argv", ["coldwarm", "explain", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return Answered(done.value.code or 0, *capsys.readouterr())

    return ask


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """A run whose warm start compiled since a variable changed, and a healthy one."""
    steps = [Step(name="compile", begin=BEGAN, end=BEGAN + 12.5)]
    bad = result_of(model_entry(id="bad"), cold_record(steps=steps), compiled_again(steps=steps))
    folder = stored(tmp_path / "suite", bad, passed("good"))
    for kind in ("cold", "warm"):
        write_trace(folder / "bad" / f"{kind}.trace", span("dynamo", "B", 1.0), span("dynamo", "E", 2.0))
    write_keys(folder / "bad", keys(), keys(environment={"VLLM_USE_V1": "[bold][/x] :warning:"}))
    return folder


def test_every_run_of_a_suite_is_explained(ask: Ask, suite: Path) -> None:
    done = ask("suite")
    assert (done.code, done.stderr) == (0, "")
    bad, good = done.stdout.split("good on vllm")
    assert bad.startswith("bad on vllm, cpu, piecewise: ")
    assert "1 finding\n" in bad
    assert "No findings\n" in good


def test_values_are_printed_as_they_are(ask: Ask, suite: Path) -> None:
    assert "changed: True cold, [bold][/x] :warning: warm (13.5 s per warm start)" in ask("suite", "bad").stdout


@pytest.mark.parametrize("arguments", [("suite/good",), ("suite", "good"), ("suite/good", "good"), ("suite/good/",)])
def test_one_run_is_explained_alone(ask: Ask, suite: Path, arguments: tuple[str, ...]) -> None:
    done = ask(*arguments)
    assert done.code == 0
    assert done.stdout.startswith("good on vllm")
    assert "bad on" not in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("suite", "goodd"), "no run of 'goodd' in suite; nearest: good (runs: bad, good)"),
        (("suite", "zzz"), "no run of 'zzz' in suite (runs: bad, good)"),
        (("suite/bad", "good"), "no run of 'good' in suite/bad (runs: bad)"),
        (("empty",), "empty contains neither a suite (suite.json) nor a run (case.json)"),
        (("nowhere",), "nowhere contains neither a suite"),
        (("suite/bad/cold.json",), "suite/bad/cold.json"),
        (("skipped",), "skipped contains no run that was started"),
        (("suite", "--perfetto", "out.json"), "--perfetto writes one run; name a model: bad, good"),
        (("suite", "bad", "--perfetto", "empty"), "cannot write empty: "),
        (("suite", "bad", "--perfetto", "suite/suite.json/x"), "cannot write suite/suite.json/x: "),
        (("suite", "--catalog", "nowhere"), "nowhere"),
    ],
)
def test_what_cannot_be_explained_is_a_usage_error(
    ask: Ask, suite: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    stored(tmp_path / "skipped", unsupported())
    done = ask(*arguments)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("coldwarm: ")
    assert words in done.stderr
    assert not (tmp_path / "out.json").exists()


def test_without_a_folder_it_is_a_usage_error(ask: Ask) -> None:
    done = ask()
    assert done.code == 2
    assert "Missing argument 'RUN'" in done.stderr


def test_a_damaged_explanation_is_named(ask: Ask, suite: Path) -> None:
    (suite / "good" / "explanation.json").write_text("{")
    done = ask("suite")
    assert done.code == 2
    assert "good/explanation.json is damaged: " in done.stderr


def test_everything_is_one_json_object(ask: Ask, suite: Path) -> None:
    done = ask("suite", "--json")
    runs = json.loads(done.stdout)["runs"]
    assert (done.code, done.stderr) == (0, "")
    assert [(run["model"], len(run["explanation"]["findings"])) for run in runs] == [("bad", 1), ("good", 0)]
    assert runs[0]["explanation"]["findings"][0]["kind"] == "key changed"
    Explanation.model_validate(runs[0]["explanation"])


def test_a_run_is_written_for_perfetto(ask: Ask, suite: Path, tmp_path: Path) -> None:
    done = ask("suite", "bad", "--perfetto", "below/out.json")
    assert done.code == 0
    assert "1 finding" in done.stdout
    events = json.loads((tmp_path / "below" / "out.json").read_bytes())["traceEvents"]
    assert {event["args"]["name"] for event in events if event["name"] == "process_name"} == {
        "cold start",
        "warm start",
    }
    assert [event["name"] for event in events if event["ph"] == "X"] == ["compile", "dynamo"] * 2


def test_json_and_perfetto_go_together(ask: Ask, suite: Path, tmp_path: Path) -> None:
    done = ask("suite/bad", "--perfetto", "out.json", "--json")
    assert json.loads(done.stdout)["runs"][0]["model"] == "bad"
    assert json.loads((tmp_path / "out.json").read_bytes())["traceEvents"]


def test_a_crash_is_explained_as_far_as_it_came_and_is_no_error(ask: Ask, tmp_path: Path) -> None:
    stored(tmp_path / "suite", crashed(failure=Failure(what="ValueError: [/x]")))
    done = ask("suite", "--perfetto", "out.json")
    assert done.code == 0
    assert "No findings" in done.stdout
    assert "note: cold.trace contains no trace" in done.stdout
    assert len(json.loads((tmp_path / "out.json").read_bytes())["traceEvents"]) == 2


def test_a_garbled_trace_is_no_crash(ask: Ask, suite: Path) -> None:
    [trace] = (suite / "bad" / "warm.trace").iterdir()
    trace.write_bytes(b"\xff\x00\x1b[31m[/x]\n" * 3)
    done = ask("suite", "bad")
    assert done.code == 0
    assert "note: warm.trace: 3 malformed lines; the first: " in done.stdout
    assert "\x1b" not in done.stdout


def test_colours_of_a_warning_do_not_reach_the_terminal(ask: Ask, tmp_path: Path) -> None:
    cold = cold_record(
        counters={SAVED: 0}, messages=[Message(logger="t", level="WARNING", text="\x1b[31mbypass\x1b[0m")]
    )
    stored(tmp_path / "suite", result_of(model_entry(), cold, compiled_again()))
    assert "\x1b" not in ask("suite").stdout


def test_a_source_that_vllm_refused_is_told_with_its_file(ask: Ask, tmp_path: Path) -> None:
    warm = compiled_again(messages=[load_failure(SOURCE_CHANGED)])
    suite = stored(tmp_path / "suite", result_of(model_entry(), cold_record(), warm))
    write_keys(suite / "tiny", keys(source={"/v/[llama].py": "sha256 a"}), keys(source={"/v/[llama].py": "sha256 b"}))
    done = ask("suite")
    assert "1 finding\n" in done.stdout
    assert "   location: /v/[llama].py\n" in done.stdout
    assert f"evidence: warm.log: Compiling model again due to a load failure: {SOURCE_CHANGED}" in done.stdout


def test_what_was_explained_then_is_shown_where_the_traces_are_gone(ask: Ask, tmp_path: Path) -> None:
    then = replace(passed(), explanation=Explanation(findings=[finding(what="as it was")], notes=["so it was"]))
    stored(tmp_path / "suite", then)
    done = ask("suite")
    assert "1. key changed, warm: as it was (18.9 s per warm start)\n" in done.stdout
    assert "note: so it was\n" in done.stdout


def test_the_verdict_is_that_of_now(ask: Ask, tmp_path: Path) -> None:
    suite = stored(tmp_path / "suite", result_of(model_entry(), cold_record(counters={SAVED: 9}), warm_record()))
    (suite / "tiny" / "verdict.json").write_text("{}")
    assert ask("suite").stdout.splitlines()[0].endswith(" failed")


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.name)
def test_kept_records_can_be_explained(ask: Ask, suite: Path) -> None:
    done = ask(suite)
    assert (done.code, done.stderr) == (0, "")
    runs = [run for run in read_runs(suite) if run.cold]
    # "No findings", or a number of them.
    assert done.stdout.count(" finding") >= len(runs) > 0
    # A start that crashed before it compiled left no trace either, and its stored explanation says so.
    without = [run for run in runs if run.explanation is None or (run.cold and run.cold.facts is None)]
    assert done.stdout.count("note: cold.trace contains no trace") == len(without)


def test_help_names_it(ask: Ask) -> None:
    text = " ".join(ask("--help").stdout.replace("│", " ").split())
    assert "0 Explained, whatever was found. 2 Usage or catalog error." in text


CHECK = """
import runpy, sys
sys.argv = ["coldwarm", "explain", *sys.argv[1:]]
try:
    runpy.run_module("coldwarm", run_name="__main__")
except SystemExit as done:
    assert not done.code, done.code
heavy = {"torch", "vllm", "transformers", "numpy"} & sys.modules.keys()
assert not heavy, heavy
assert "coldwarm.diagnose.misses" in sys.modules
"""


def test_it_imports_no_engine(suite: Path, tmp_path: Path) -> None:
    line = [sys.executable, "-c", CHECK, "suite", "bad", "--perfetto", "out.json"]
    subprocess.run(line, cwd=tmp_path, stdout=subprocess.DEVNULL, check=True, timeout=60)
    assert (tmp_path / "out.json").is_file()
