from __future__ import annotations

import importlib.metadata
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from junitparser import JUnitXml

from coldwarm.catalog.catalog import Catalog
from coldwarm.cli.main import app, main
from coldwarm.core.record import Failure, StartKind
from coldwarm.report.exporters import formats
from coldwarm.store.suite_folder import Store, read_runs
from coldwarm.suite.plan import plan
from coldwarm.suite.result import RunResult
from tests.support.commands import Commands
from tests.support.processes import goes
from tests.support.records import SAVED, cold_record, expectation, model_entry, warm_record
from tests.support.runs import case_of, crashed, failed, known, passed, unsupported

FORMATS = ", ".join(formats())


@pytest.fixture
def here(tmp_path: Path) -> Commands:
    return Commands(tmp_path, [])


class Answered:
    """What a command answered in this process, which saves the start of another."""

    def __init__(self, code: object, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr


Ask = Callable[..., Answered]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fake_engine: None) -> Ask:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)

    def ask(*arguments: str | Path) -> Answered:
        monkeypatch.setattr(sys, "argv", ["coldwarm", *map(str, arguments)])
        with pytest.raises(SystemExit) as done:
            main()
        return Answered(done.value.code or 0, *capsys.readouterr())

    return ask


def stored(folder: Path, *results: RunResult) -> Path:
    store = Store.create(folder, [result.case.model_id for result in results])
    for result in results:
        store.write_case(result.case)
        for record in (result.cold, result.warm):
            if record is not None:
                store.write_start(result.case, record)
        store.write_verdict(result.case, result.verdict)
    return folder


def test_an_unknown_option_is_a_usage_error(ask: Ask) -> None:
    assert ask("judge", "--no-such-option").code == 2


def test_list_has_every_model(ask: Ask) -> None:
    done = ask("list")
    assert (done.code, done.stderr) == (0, "")
    ids = [model.entry.id for model in Catalog.read().models()]
    _, *lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines[: len(ids)]] == ids
    assert "first-moe-layer-on-cpu" in " ".join(lines[len(ids) :])


def test_list_as_json(ask: Ask) -> None:
    assert len(json.loads(ask("list", "--json").stdout)) == len(Catalog.read().models())


def test_a_reader_that_has_seen_enough_is_no_error(here: Commands) -> None:
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(
        here.line("list"), stdout=write_end, stderr=subprocess.PIPE, env=here.environment(), check=False, timeout=60
    )
    os.close(write_end)
    assert (done.returncode, done.stderr) == (0, b"")


def test_show_tells_all_of_a_model(ask: Ask) -> None:
    done = ask("show", "glm-4.5")
    assert done.code == 0
    assert done.stdout.startswith("glm-4.5: GLM-4.5 (Glm4MoeForCausalLM)\n")
    assert "known issue of the engine if cpu" in done.stdout


def test_show_of_an_unknown_model_names_the_nearest(ask: Ask) -> None:
    done = ask("show", "glm45")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("coldwarm: no model 'glm45' in the catalog; nearest: glm-4.5")


def test_show_of_an_unknown_word_names_the_nearest_known_issue(ask: Ask) -> None:
    done = ask("show", "kernels-tuned")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("coldwarm: no model 'kernels-tuned' in the catalog; nearest: kernels-tuned-again")


def test_show_of_a_run_tells_its_checks(ask: Ask, tmp_path: Path) -> None:
    suite = stored(tmp_path / "suite", failed("a"), passed("b"))
    assert "expected 3, got 4" in ask("show", suite / "a").stdout
    assert "b on vllm, cpu, piecewise: passed" in ask("show", suite).stdout


@pytest.mark.parametrize(
    ("results", "code"),
    [
        ([passed("a"), known("b"), unsupported("c")], 0),
        ([passed("a"), failed("b")], 1),
        ([failed("a"), crashed("b"), passed("c")], 3),
    ],
)
def test_judge_exits_with_the_worst(ask: Ask, tmp_path: Path, results: list[RunResult], code: int) -> None:
    done = ask("judge", stored(tmp_path / "suite", *results))
    assert (done.code, done.stderr) == (code, "")
    rows = done.stdout.splitlines()[1 : 1 + len(results)]
    assert [row.split()[0] for row in rows] == [result.case.model_id for result in results]
    for row, result in zip(rows, results, strict=True):
        assert row.rstrip().endswith(result.verdict.status)


def test_judge_of_one_run_with_all_reports(ask: Ask, tmp_path: Path) -> None:
    suite = stored(tmp_path / "suite", passed("a"), failed("b"))
    done = ask("judge", suite / "b", "--report", "json=-", "--report", "junit=out/junit.xml")
    assert done.code == 1
    report = json.loads(done.stdout)
    assert (report["exit_code"], [run["model"] for run in report["runs"]]) == (1, ["b"])
    [cases] = JUnitXml.fromfile(str(tmp_path / "out" / "junit.xml"))
    assert [case.name for case in cases] == ["b"]


def test_the_older_flags_for_one_format_each_still_work(ask: Ask, tmp_path: Path) -> None:
    suite = stored(tmp_path / "suite", failed("b"))
    old = ask("judge", suite, "--json", "--junit", "a.xml", "--markdown", "a.md")
    new = ask("judge", suite, *(word for at in ("json=-", "junit=b.xml", "markdown=b.md") for word in ("--report", at)))
    assert (old.code, old.stdout) == (new.code, new.stdout)
    assert json.loads(old.stdout)["exit_code"] == 1
    for name in ("xml", "md"):
        assert (tmp_path / f"a.{name}").read_text() == (tmp_path / f"b.{name}").read_text() != ""


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        ("htlm=x.html", f"unknown format 'htlm'; nearest: html; formats: {FORMATS}"),
        ("jnuit=x.xml", f"unknown format 'jnuit'; nearest: junit; formats: {FORMATS}"),
        ("junit", f"the file is missing; write --report junit=FILE, or junit=- for stdout (formats: {FORMATS})"),
        ("junit=", "the file is missing; write --report junit=FILE"),
        ("", f"unknown format ''; formats: {FORMATS}"),
    ],
)
def test_a_report_that_cannot_be_is_refused_in_one_line_before_anything_starts(
    ask: Ask, tmp_path: Path, report: str, problem: str
) -> None:
    model(tmp_path, "a")
    stored(tmp_path / "suite", passed("a"))
    for command in (("run", "a.json", "--engine", "fake"), ("judge", "suite")):
        done = ask(*command, "--report", report)
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr.startswith(f"coldwarm: --report {report}: {problem}")
        assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "suite"]


def test_two_reports_in_one_place_are_refused(ask: Ask, tmp_path: Path) -> None:
    stored(tmp_path / "suite", passed("a"))
    done = ask("judge", "suite", "--report", "junit=x", "--report", "json=./x")
    assert (done.code, done.stderr) == (2, "coldwarm: --report json=./x: same target as --report junit=x\n")


def test_reports_are_written_also_where_nobody_reads_the_table(tmp_path: Path) -> None:
    suite = stored(tmp_path / "suite", *(passed(f"model-{number}") for number in range(3)))
    reports = ["--report", f"junit={tmp_path / 'junit.xml'}", "--report", f"markdown={tmp_path / 'summary.md'}"]
    command = shlex.join([sys.executable, "-m", "coldwarm", "judge", str(suite), *reports])
    # The reader is gone before anything is written.
    subprocess.run(["bash", "-c", f"{{ sleep 0.1; {command}; }} | true"], check=True, capture_output=True)
    assert (tmp_path / "junit.xml").is_file()
    assert "| model-2 |" in (tmp_path / "summary.md").read_text()


def test_a_report_that_could_not_be_written_is_refused_before_anything_starts(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"architectures": ["A"]}')
    (tmp_path / "folder").mkdir()
    done = ask("run", "a.json", "--engine", "fake", "--output", "out", "--report", "markdown=folder")
    assert (done.code, done.stdout) == (2, "")
    assert "cannot write folder" in done.stderr
    assert not (tmp_path / "out").exists()


MINE = 'id = "mine"\nname = "Mine"\nconfig = "mine.json"\nsource = "here"\nlayer_kinds = ["dense"]\n'
EXPECTS_TWO = f'[[expect]]\nwhen = {{ device = "cpu" }}\nmeasured = "then"\ncold."{SAVED}" = 2\n'


@pytest.fixture
def my_catalog(tmp_path: Path) -> Path:
    """A user's catalog with the model ``mine``, whose expectation healthy records do not meet."""
    folder = tmp_path / "my catalog"
    folder.mkdir()
    (folder / "mine.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    (folder / "mine.toml").write_text(MINE + EXPECTS_TWO)
    return folder


def run_of_mine(folder: Path, catalog: Path, word: str, **fields: object) -> Path:
    """Store a healthy run of the model that `word` names, as `plan` makes its case; `fields` are put over those."""
    [case] = plan(Catalog.read([catalog]), [word], device="cpu")
    return stored(folder, RunResult.of(case.model_copy(update=fields), cold_record(), warm_record()))


def test_judge_goes_by_the_catalog_as_it_is_now(ask: Ask, tmp_path: Path, my_catalog: Path) -> None:
    suite = run_of_mine(tmp_path / "suite", my_catalog, "mine")
    for catalog in ((), ("--catalog", my_catalog)):
        assert ask("judge", suite, *catalog).code == 1
    (my_catalog / "mine.toml").write_text(MINE)
    assert ask("judge", suite, "--catalog", my_catalog).code == 0
    assert ask("explain", suite, "--catalog", my_catalog).stdout.startswith("mine on vllm, cpu, piecewise: passed\n")
    assert ask("judge", suite).code == 1, "without the catalog, the stored entry decides"


def test_judge_of_a_model_named_by_a_path_goes_by_the_stored_entry(ask: Ask, tmp_path: Path, my_catalog: Path) -> None:
    suite = run_of_mine(tmp_path / "suite", my_catalog, str(my_catalog / "mine.toml"))
    (my_catalog / "mine.toml").write_text(MINE)
    assert ask("judge", suite, "--catalog", my_catalog).code == 1


@pytest.mark.parametrize("named", ["mine.toml", "moved.toml"])
def test_judge_of_an_older_run_goes_by_the_catalog_that_is_given(
    ask: Ask, tmp_path: Path, my_catalog: Path, named: str
) -> None:
    # Such a run has the TOML file's path, whether the model was named by that or by its id.
    suite = run_of_mine(tmp_path / "suite", my_catalog, "mine", argument=str(my_catalog / named))
    path = suite / "mine" / "case.json"
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps({name: content[name] for name in content if name not in ("named_by_id", "catalog")}))
    (my_catalog / "mine.toml").write_text(MINE)
    assert ask("judge", suite, "--catalog", my_catalog).code == 0
    assert ask("judge", suite).code == 1


def test_judge_of_an_older_run_follows_its_file_to_another_id(ask: Ask, tmp_path: Path, my_catalog: Path) -> None:
    case = case_of(model_entry(id="before", expect=[expectation(cold={SAVED: 2})]), argument=f"{my_catalog}/mine.toml")
    suite = stored(tmp_path / "suite", RunResult.of(case, cold_record(), warm_record()))
    (my_catalog / "mine.toml").write_text(MINE)
    assert ask("judge", suite, "--catalog", my_catalog).code == 0


def test_judge_of_a_users_config_does_not_take_a_users_model_of_that_name_for_it(
    ask: Ask, tmp_path: Path, my_catalog: Path
) -> None:
    case = case_of(model_entry(id="mine"), argument="mine/config.json")
    suite = stored(tmp_path / "suite", RunResult.of(case, cold_record(), warm_record()))
    assert ask("judge", suite, "--catalog", my_catalog).code == 0


def test_judge_does_not_take_a_packaged_model_for_one_of_a_users_catalog(
    ask: Ask, tmp_path: Path, my_catalog: Path
) -> None:
    (my_catalog / "mine.toml").write_text(MINE)
    entry = model_entry(id="glm-4.5")
    for name, fields in (("a", {"named_by_id": True}), ("b", {"argument": f"{my_catalog}/glm-4.5.toml"})):
        case = case_of(entry, **{"catalog": str(my_catalog) if name == "a" else None, **fields})
        result = RunResult.of(case, cold_record(), warm_record())
        assert ask("judge", stored(tmp_path / name, result), "--catalog", my_catalog).code == 0


@pytest.mark.usefixtures("instant_launch")
def test_the_command_that_runs_a_model_of_a_users_catalog_again_works(
    ask: Ask, tmp_path: Path, my_catalog: Path
) -> None:
    ask("run", "mine", "--catalog", my_catalog, "--engine", "fake", "--output", "out")
    [run] = read_runs(tmp_path / "out")
    variables = [word for word in shlex.split(run.case.reproduce({})) if "=" in word]
    words = shlex.split(run.case.reproduce({}))[2:]
    assert variables == []
    assert words[:3] == ["mine", "--catalog", str(my_catalog)]
    ask("run", *words, "--output", "again")
    [again] = read_runs(tmp_path / "again")
    assert again.case == run.case


@pytest.mark.usefixtures("instant_launch")
def test_a_run_is_repeated(ask: Ask, tmp_path: Path, my_catalog: Path) -> None:
    done = ask("run", "mine", "--catalog", my_catalog, "--engine", "fake", "--repeat", "2", "--output", "out")
    [run] = read_runs(tmp_path / "out")
    assert len(run.all_repetitions) == run.case.repeat == 2
    assert "mine cold 2/2: done in 1.0 s" in done.stderr
    refused = ask("run", "mine", "--catalog", my_catalog, "--repeat", "0")
    assert refused.code == 2 and "--repeat" in refused.stderr


def test_judge_of_a_users_config_does_not_take_a_packaged_model_of_that_name_for_it(ask: Ask, tmp_path: Path) -> None:
    # `coldwarm run my/llama-3.1-8b/config.json`: a model of another shape, whose kinds of layers were derived.
    entry = model_entry(id="llama-3.1-8b", layer_kinds=None, source="my/llama-3.1-8b/config.json")
    case = case_of(entry, argument="my/llama-3.1-8b/config.json")
    result = RunResult.of(case, cold_record(), warm_record())
    assert result.verdict.status == "passed"
    done = ask("judge", stored(tmp_path / "suite", result))
    assert done.code == 0, done.stdout


@pytest.mark.parametrize("content", [None, "", "{", '{"case": 1}', "\x00"])
def test_judge_of_nonsense_is_a_usage_error_in_one_line(ask: Ask, tmp_path: Path, content: str | None) -> None:
    folder = tmp_path / "nonsense"
    folder.mkdir()
    if content is not None:
        (folder / "case.json").write_text(content)
    done = ask("judge", folder)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("coldwarm: ")
    assert str(folder) in done.stderr
    assert done.stderr.count("\n") == 1


def test_judge_of_a_suite_that_started_nothing_is_a_usage_error(ask: Ask, tmp_path: Path) -> None:
    Store.create(tmp_path / "suite", ["a"])
    done = ask("judge", "suite")
    assert (done.code, done.stderr) == (2, "coldwarm: suite contains no run, because nothing was started\n")


BAD_TOML = 'id = "a"\nname = \n'
UNKNOWN_CLASS = '{"architectures": ["NoSuchLM"], "num_hidden_layers": 32}'


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("bad.toml", BAD_TOML, "bad.toml:2: not valid TOML"),
        ("bad.toml", 'id = "a"\nnme = "A"\n', "bad.toml:2: nme: unknown key; nearest: name"),
        ("config.json", "{", "config.json:1: not valid JSON"),
        ("config.json", "[]", "config.json: a config.json must contain an object"),
        ("config.json", UNKNOWN_CLASS, "architectures: 'NoSuchLM'"),
        ("no-such-model", None, "no model 'no-such-model' in the catalog"),
        ("missing.toml", None, "missing.toml: No such file"),
    ],
)
def test_run_of_what_cannot_be_run_starts_and_leaves_nothing(
    ask: Ask, tmp_path: Path, name: str, content: str | None, problem: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    before = sorted(tmp_path.iterdir())
    done = ask("run", name)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("coldwarm: ")
    assert problem in done.stderr
    assert sorted(tmp_path.iterdir()) == before


def test_a_process_of_its_own_that_cannot_run_exits_with_2(here: Commands) -> None:
    (here.folder / "config.json").write_text(UNKNOWN_CLASS)
    done = here.run("run", "config.json")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("coldwarm: ")
    assert "Traceback" not in done.stderr
    assert [path.name for path in here.folder.iterdir()] == ["config.json"]


@pytest.mark.parametrize(
    "options",
    [
        ["--device", "tpu"],
        ["--timeout", "0"],
        ["--timeout", "nan"],
        ["--engine", "vlm"],
        ["--catalog", "nowhere"],
        ["--output", "file"],
        ["--compilation", "eager"],
    ],
    ids=" ".join,
)
def test_run_with_an_option_that_cannot_be_starts_nothing(ask: Ask, tmp_path: Path, options: list[str]) -> None:
    (tmp_path / "file").touch()
    done = ask("run", "glm-4.5", *options)
    assert (done.code, done.stdout) == (2, "")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def model(folder: Path, name: str, behaves: str = "healthy") -> Path:
    """Write a config.json of a model for the fake engine."""
    path = folder / f"{name}.json"
    path.write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32, "behaves": behaves}))
    return path


@pytest.mark.usefixtures("instant_launch")
def test_run_finds_an_unwritable_report_before_anything_is_started(ask: Ask, tmp_path: Path) -> None:
    model(tmp_path, "a")
    (tmp_path / "folder").mkdir()
    done = ask("run", "a.json", "--engine", "fake", "--output", "out", "--report", "junit=folder")
    assert done.code == 2
    assert "cold: process start" not in done.stderr


def test_run_of_a_healthy_model(commands: Commands) -> None:
    model(commands.folder, "a")
    done = commands.run("run", "a.json", "--engine", "fake", "--output", "out", "--report", "junit=junit.xml")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[1].split()[-1] == "passed"
    assert done.stderr.splitlines()[-2:] == ["records: out", "report: out/report.html"]
    assert (commands.folder / "out" / "a" / "verdict.json").is_file()
    assert JUnitXml.fromfile(str(commands.folder / "junit.xml")).failures == 0


@pytest.mark.usefixtures("instant_launch")
@pytest.mark.parametrize(
    "settings",
    [
        ["--set", "seed"],
        ["--set", "a=1", "--set", "a.b=2"],
        ["--warm-set", "=1"],
        ["--warm-env", "VLLM_X"],
    ],
    ids=" ".join,
)
def test_a_setting_that_cannot_be_is_refused_in_one_line_and_starts_nothing(
    ask: Ask, tmp_path: Path, settings: list[str]
) -> None:
    model(tmp_path, "a")
    done = ask("run", "a.json", "--engine", "fake", *settings)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"coldwarm: {' '.join(settings[-2:])}: ")
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.usefixtures("instant_launch")
def test_run_sets_options_and_changes_those_of_the_warm_start(ask: Ask, tmp_path: Path) -> None:
    model(tmp_path, "a")
    settings = ["--set", "additional_config.seed=0", "--set", "dtype=bfloat16"]
    settings += [
        "--warm-set",
        "additional_config.seed=1",
        "--warm-env",
        "VLLM_FAKE_X=1",
        "--warm-env",
        "VLLM_FAKE_Y=a b",
    ]
    ask("run", "a.json", "--engine", "fake", "--output", "out", *settings)
    cold, warm = (json.loads((tmp_path / "out" / "a" / f"{kind}.json").read_bytes()) for kind in ("cold", "warm"))
    assert cold["options"] == {"additional_config": {"seed": 0}, "dtype": "bfloat16"}
    assert warm["options"] == {"additional_config": {"seed": 1}, "dtype": "bfloat16"}
    assert not [name for name in cold["environment"] if name.startswith("VLLM_FAKE_")]
    assert (warm["environment"]["VLLM_FAKE_X"], warm["environment"]["VLLM_FAKE_Y"]) == ("1", "a b")
    [run] = read_runs(tmp_path / "out")
    words = shlex.split(RunResult.of(run.case, run.cold, run.warm).reproduce)
    assert words[-len(settings) :] == [word.replace("=bfloat16", '="bfloat16"') for word in settings]


# Each option of `coldwarm run` that changes what is started, with a value that is not its default.
REPRODUCED = {
    "models": ["a.json"],
    "engine": ["--engine", "fake"],
    "device": ["--device", "cuda"],
    "compilation": ["--compilation", "shipped"],
    "aot_artifact": ["--aot-artifact", "bundled"],
    "depth": ["--depth", "count"],
    "isolation": ["--isolation", "spawn"],
    "set_": ["--set", "a=1"],
    "warm_set": ["--warm-set", "b=1"],
    "warm_env": ["--warm-env", "VLLM_FAKE_X=1"],
    "catalog": ["--catalog", "catalog"],
    "repeat": ["--repeat", "2"],
}
# Which models are started, where results go, and when and how many starts are made at a time; what that changes is in
# their environment.
OF_COMMANDS = {"ready", "ready_log", "then"}
"""Options for a command of the user (test_cli_commands.py)."""
CHANGES_NO_START = {"all_", "jobs", "timeout", "output", "report", "store", "json", "junit", "markdown"}


def test_every_option_of_run_is_reproduced_or_changes_no_start() -> None:
    command = typer.main.get_command(app)
    options = {parameter.name for parameter in command.commands["run"].params}  # type: ignore[attr-defined]
    assert options == REPRODUCED.keys() | CHANGES_NO_START | OF_COMMANDS


@pytest.mark.usefixtures("instant_launch")
@pytest.mark.parametrize("option", REPRODUCED)
def test_the_command_that_runs_a_case_again_has_every_option(ask: Ask, tmp_path: Path, option: str) -> None:
    model(tmp_path, "a")
    (tmp_path / "catalog").mkdir()
    model(tmp_path / "catalog", "mine")
    (tmp_path / "catalog" / "mine.toml").write_text(MINE)
    chosen = [] if option in ("models", "engine") else REPRODUCED[option]
    ask("run", "mine" if option == "catalog" else "a.json", "--engine", "fake", *chosen, "--output", "out", "--json")
    [run] = read_runs(tmp_path / "out")
    words = shlex.split(RunResult.of(run.case, run.cold, run.warm).reproduce)
    asked = REPRODUCED[option]
    assert any(words[at : at + len(asked)] == asked for at in range(len(words))), words


@pytest.mark.usefixtures("instant_launch")
@pytest.mark.parametrize("name", ["out[b]", "out[/b]", "out:100:"])
def test_run_names_the_folder_of_its_records_as_it_is(ask: Ask, tmp_path: Path, name: str) -> None:
    model(tmp_path, "a")
    done = ask("run", "a.json", "--engine", "fake", "--output", name)
    assert done.stderr.splitlines()[-2:] == [f"records: {name}", f"report: {name}/report.html"]


def test_run_tells_failures_and_crashes_and_goes_on(ask: Ask, tmp_path: Path) -> None:
    models = [model(tmp_path, "a", "is killed"), model(tmp_path, "b", "compiles too much")]
    done = ask("run", *models, "--engine", "fake", "--json")
    assert done.code == 3
    statuses = [run["verdict"]["status"] for run in json.loads(done.stdout)["runs"]]
    assert statuses == ["error", "failed"]
    [folder] = (tmp_path / "coldwarm-runs").iterdir()
    assert ask("judge", folder / "b").code == 1


def test_judge_of_a_model_that_printed_colours_and_crashed_writes_its_report(ask: Ask, tmp_path: Path) -> None:
    failure = Failure(what="ValueError: no \x1b[31msuch\x1b[0m weights", log_tail=["\x1b[31mERROR\x1b[0m \x00"])
    suite = stored(tmp_path / "suite", crashed(failure=failure))
    done = ask("judge", suite, "--report", "junit=junit.xml")
    assert done.code == 3
    assert JUnitXml.fromfile(str(tmp_path / "junit.xml")).errors == 1


def test_run_past_its_time_limit_is_a_crash(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_SLEEPER", str(tmp_path / "sleeper"))
    model(tmp_path, "a", "hangs")
    done = ask("run", "a.json", "--engine", "fake", "--timeout", "3")
    assert done.code == 3
    assert "still running after 3 s, killed" in done.stdout
    assert goes(int((tmp_path / "sleeper").read_text()))


def test_an_interrupted_run_reports_what_is_finished(commands: Commands) -> None:
    sleeper = commands.folder / "sleeper"
    models = [model(commands.folder, "a", "raises"), model(commands.folder, "b", "hangs")]
    arguments = ("--engine", "fake", "--jobs", "1", "--output", "out", "--report", "json=results.json")
    running = commands.begin("run", *models, *arguments, FAKE_SLEEPER=str(sleeper))
    assert running.stderr is not None
    with running:
        for line in running.stderr:
            if "b cold: compile" in line:
                break
        while not sleeper.exists() or not sleeper.read_text():
            assert running.poll() is None
            time.sleep(0.01)
        running.send_signal(signal.SIGTERM)
        rest = running.stderr.read()
    assert running.returncode == 130
    assert "interrupted: 1 of 2 models finished" in rest
    assert goes(int(sleeper.read_text()))
    assert (commands.folder / "out" / "a" / f"{StartKind.COLD}.json").is_file()
    runs = json.loads((commands.folder / "results.json").read_bytes())["runs"]
    assert [run["verdict"]["status"] for run in runs] == ["error"]


# What takes the time of an answer is importing; counted, because a busy machine has no time to measure.
CHECK = """
import runpy, sys
modules = int(sys.argv[1])
sys.argv = ["coldwarm", *sys.argv[2:]]
try:
    runpy.run_module("coldwarm", run_name="__main__")
except SystemExit as done:
    assert not done.code, done.code
heavy = {"torch", "vllm", "transformers", "numpy"} & sys.modules.keys()
assert not heavy, heavy
assert len(sys.modules) < modules, len(sys.modules)
"""


@pytest.mark.parametrize(
    ("modules", "arguments"), [(400, ["--help"]), (520, ["judge", "suite"])], ids=["--help", "judge"]
)
def test_answers_without_an_engine_import_none_and_little_else(
    here: Commands, modules: int, arguments: list[str]
) -> None:
    stored(here.folder / "suite", passed("a"))
    line = [sys.executable, "-c", CHECK, str(modules), *arguments]
    subprocess.run(line, cwd=here.folder, stdout=subprocess.DEVNULL, check=True, timeout=60)


def test_the_version_is_that_of_the_package_and_needs_no_command(here: Commands) -> None:
    answer = here.run("--version")
    assert (answer.returncode, answer.stdout) == (0, f"coldwarm {importlib.metadata.version('coldwarm')}\n")


def test_the_package_imports_nothing_heavy() -> None:
    code = (
        "import sys, coldwarm; assert coldwarm.__version__; assert callable(coldwarm.expect)\n"
        "assert callable(coldwarm.run) and callable(coldwarm.judge)\n"
        "assert not {'torch', 'vllm', 'pydantic', 'typer', 'rich'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# Where unprivileged namespaces are allowed.
AS_PROCESS_1 = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]


def test_run_works_as_process_1_of_a_container(commands: Commands) -> None:
    allowed = shutil.which("unshare") and not subprocess.run([*AS_PROCESS_1, "true"], capture_output=True).returncode
    if not allowed:
        pytest.skip("no unprivileged namespaces here")
    model(commands.folder, "a")
    line = [*AS_PROCESS_1, *commands.line("run", "a.json", "--engine", "fake", "--json")]
    done = subprocess.run(
        line, cwd=commands.folder, env=commands.environment(), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout[-2000:]
