from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.verdict import Verdict
from coldwarm.core.case import Case
from coldwarm.core.depth import Depth
from coldwarm.launch.fork.client import ForkServers
from coldwarm.launch.spawn import NewProcesses
from coldwarm.pytest_plugin import fork_servers as pytest_fork_servers
from coldwarm.pytest_plugin import plugin as pytest_plugin
from coldwarm.pytest_plugin import suite as pytest_suite
from coldwarm.store.suite_folder import Store, read_runs
from coldwarm.suite import capacity
from coldwarm.suite.result import RunResult
from tests.support.records import model_entry, tiny_config
from tests.support.runs import case_of, crashed, failed, fixed, known, passed, refused, unsupported

IDS = [model.entry.id for model in Catalog.read().representative()]
# Plugins that take longer to load than these tests.
WITHOUT = ("-p", "no:hypothesispytest", "-p", "no:anyio")
ON_CPU = ("--coldwarm", "--coldwarm-device", "cpu", "--strict-markers")


# Found by its entry point in tests that start a process; here, looking for entry points would take most of the time.
ALONE = ("--disable-plugin-autoload", "-p", "coldwarm.pytest_plugin.plugin")


def run(pytester: pytest.Pytester, *options: str, plugins: Sequence[object] = ()) -> pytest.RunResult:
    return pytester.runpytest_inprocess(*ALONE, *options, plugins=plugins)


def collected(pytester: pytest.Pytester, *options: str) -> list[str]:
    result = run(pytester, *ON_CPU, "--collect-only", "-q", *options)
    return [line for line in result.outlines if "::" in line]


def test_representative_models_are_collected_or_the_whole_catalog(pytester: pytest.Pytester) -> None:
    assert collected(pytester) == [f"coldwarm::{model_id}" for model_id in IDS]
    assert collected(pytester, "--coldwarm-all") == [f"coldwarm::{each.entry.id}" for each in Catalog.read().models()]


@pytest.mark.parametrize(
    ("options", "ids"),
    [
        (["-k", "gpt-oss or llama"], [each for each in IDS if "gpt-oss" in each or "llama" in each]),
        (["-m", "coldwarm_cpu"], IDS),
        (["-m", "coldwarm and not coldwarm_cpu"], []),
        (["-m", "coldwarm_cuda"], []),
        (["--deselect", "coldwarm::glm-4.5"], [model_id for model_id in IDS if model_id != "glm-4.5"]),
    ],
)
def test_tests_can_be_selected(pytester: pytest.Pytester, options: list[str], ids: list[str]) -> None:
    assert collected(pytester, *options) == [f"coldwarm::{model_id}" for model_id in ids]


def test_each_kind_of_aot_artifact_is_a_separate_test(pytester: pytest.Pytester) -> None:
    options = ["--coldwarm-aot-artifact=separate", "--coldwarm-aot-artifact=bundled", "-k", "glm"]
    assert collected(pytester, *options) == ["coldwarm::glm-4.5+separate", "coldwarm::glm-4.5+bundled"]


def test_pytest_counts_them_as_collected(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_mine(): pass")
    result = pytester.runpytest_subprocess(*WITHOUT, "--coldwarm", "--collect-only", "-k", "glm")
    result.stdout.fnmatch_lines(["*collected 9 items / 8 deselected / 1 selected*"])


def test_the_users_own_tests_are_collected_too(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_mine(): pass")
    names = collected(pytester)
    assert len(names) == 9
    assert any(name.endswith("::test_mine") for name in names)


def test_without_the_option_no_tests_are_added(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_mine(): pass")
    run(pytester, "--strict-markers").assert_outcomes(passed=1)


def test_an_unsupported_model_is_skipped_with_its_reason(pytester: pytest.Pytester) -> None:
    # If another model were selected, its start would end at once.
    options = ("--coldwarm-all", "-k", "deepseek-v3.2", "-rs", "--coldwarm-timeout", "0.01")
    result = run(pytester, *ON_CPU, *options)
    result.assert_outcomes(skipped=1, deselected=len(Catalog.read().models()) - 1)
    result.stdout.fnmatch_lines(["SKIPPED*unsupported on cpu: sparse MLA attention needs a Hopper GPU*"])
    assert not (pytester.path / "coldwarm-runs").exists()


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--coldwarm", "--coldwarm-catalog", "nowhere"], "no such catalog folder: nowhere"),
        (["--coldwarm", "--coldwarm-device", "gpu"], "gpu"),
    ],
)
def test_an_impossible_request_is_a_usage_error(pytester: pytest.Pytester, options: list[str], problem: str) -> None:
    result = run(pytester, *options, "--collect-only")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: coldwarm: *{problem}*"])


@pytest.fixture
def suite(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalog with one model for each verdict, whose results are fixed."""
    results = {
        result.case.model_id: result
        for result in (passed(), failed(), fixed(), known(), crashed(), unsupported(), refused())
    }

    class FakeRunner:
        def __init__(self, *_: object, **__: object) -> None:
            self.results: list[RunResult] = []

        def run(self, cases: list[Case]) -> None:
            self.results += [results[case.model_id] for case in cases]

    monkeypatch.setattr(pytest_suite, "Runner", FakeRunner)
    monkeypatch.setattr(pytest_suite, "plan", lambda *_, **__: [result.case for result in results.values()])


@pytest.mark.usefixtures("suite")
def test_each_verdict_has_its_pytest_outcome(pytester: pytest.Pytester) -> None:
    result = run(pytester, "--coldwarm", "-rA")
    result.assert_outcomes(passed=1, failed=3, xfailed=1, skipped=2)
    result.stdout.fnmatch_lines(
        [
            "fails: failed",
            "*vllm.num_compiled_artifacts_saved expected 3, got 4",
            "reproduce: coldwarm run fails --device cpu",
            "SKIPPED*: unsupported on cpu: Sparse Attention is not supported on CPU. (vllm/platforms/cpu.py:150)",
            "XFAIL coldwarm::known - one unique subgraph too many (https://example.org/issues/1)",
        ]
    )
    result.stdout.no_fnmatch_line("*def runtest*")


def test_a_second_pytest_run_replaces_the_output_of_the_first(
    pytester: pytest.Pytester, fake_suite: list[dict[str, object]]
) -> None:
    options = ("--coldwarm", "--coldwarm-output", "out")
    run(pytester, *options).assert_outcomes(passed=2)
    [first] = read_runs(pytester.path / "out" / "a")
    (pytester.path / "out" / "a" / "left.log").touch()
    (pytester.path / "out" / "mine.txt").write_text("kept")
    run(pytester, *options, "--deselect", "coldwarm::b").assert_outcomes(passed=1, deselected=1)
    [second] = read_runs(pytester.path / "out" / "a")
    assert first.cold is not None and second.cold is not None
    assert second.cold.began > first.cold.began
    assert not (pytester.path / "out" / "a" / "left.log").exists()
    assert (pytester.path / "out" / "mine.txt").read_text() == "kept"
    assert read_runs(pytester.path / "out" / "b"), "results of a test that was not repeated are not removed"


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("of", ["coldwarm run", "a suite of coldwarm run", "something else"])
def test_an_output_folder_that_pytest_did_not_write_is_never_replaced(pytester: pytest.Pytester, of: str) -> None:
    folder = pytester.path / "out" / "passes"
    match of:
        case "coldwarm run":
            Store.create(folder, ["passes"])
        case "a suite of coldwarm run":
            # `coldwarm run --output out` also creates a folder of that name.
            Store.create(pytester.path / "out", ["passes"]).write_case(passed().case)
        case _:
            folder.mkdir(parents=True)
            (folder / "mine.txt").touch()
    before = sorted(folder.rglob("*"))
    again = run(pytester, "--coldwarm", "--coldwarm-output", "out", "-k", "passes")
    again.assert_outcomes(failed=1, deselected=6)
    again.stdout.fnmatch_lines(["*/out/passes was not written by pytest; choose another --coldwarm-output*"])
    again.stdout.no_fnmatch_line("*def runtest*")
    assert sorted(folder.rglob("*")) == before


@pytest.mark.usefixtures("suite")
@pytest.mark.parametrize("kind", ["file", "damaged", "link"])
def test_an_output_folder_that_cannot_be_replaced_is_named(pytester: pytest.Pytester, kind: str) -> None:
    folder = pytester.path / "out" / "passes"
    folder.parent.mkdir()
    if kind == "file":
        folder.touch()
    elif kind == "damaged":
        folder.mkdir()
        (folder / "suite.json").write_text("{")
    else:
        Store.create(pytester.path / "elsewhere", ["passes"], written_by="pytest")
        folder.symlink_to(pytester.path / "elsewhere")
    again = run(pytester, "--coldwarm", "--coldwarm-output", "out", "-k", "passes")
    again.assert_outcomes(failed=1, deselected=6)
    again.stdout.fnmatch_lines(["*out/passes*"])
    again.stdout.no_fnmatch_line("*def runtest*")
    assert folder.exists()
    assert kind != "link" or (pytester.path / "elsewhere" / "suite.json").is_file()


@pytest.mark.usefixtures("suite")
def test_an_empty_output_folder_is_used(pytester: pytest.Pytester) -> None:
    (pytester.path / "out" / "passes").mkdir(parents=True)
    run(pytester, "--coldwarm", "--coldwarm-output", "out", "-k", "passes").assert_outcomes(passed=1, deselected=6)


@pytest.fixture
def fake_suite(monkeypatch: pytest.MonkeyPatch, fake_engine: None) -> list[dict[str, object]]:
    """A catalog of two models for the engine ``fake``; return the options of each planned suite."""
    requested: list[dict[str, object]] = []

    def plan(*_: object, **options: object) -> list[Case]:
        requested.append(options)
        return [case_of(model_entry(id=name), engine="fake", config=tiny_config(behaves="healthy")) for name in "ab"]

    monkeypatch.setattr(pytest_suite, "plan", plan)
    return requested


def made_by(folder: Path) -> set[str]:
    [suite] = read_runs(folder)
    return {str(record.isolation) for record in (suite.cold, suite.warm) if record is not None}


def fork_servers() -> list[psutil.Process]:
    found = []
    for each in psutil.Process().children():
        with suppress(psutil.Error):
            found += [each] if "coldwarm.launch.fork.server" in each.cmdline() else []
    return found


def test_the_engine_is_imported_once_for_all_tests(
    pytester: pytest.Pytester, fake_suite: list[dict[str, object]]
) -> None:
    running: list[int] = []

    class Watch:
        def pytest_runtest_logfinish(self) -> None:
            running.extend(each.pid for each in fork_servers())

    result = run(pytester, "--coldwarm", "--coldwarm-output", "out", plugins=[Watch()])
    result.assert_outcomes(passed=2)
    assert len(running) == 2 and len(set(running)) == 1
    assert not fork_servers()
    assert (pytester.path / "out" / "a" / "fork-server-0.log").is_file()
    assert not (pytester.path / "out" / "b" / "fork-server-0.log").exists()
    assert made_by(pytester.path / "out" / "a") == made_by(pytester.path / "out" / "b") == {"fork"}


def test_logs_of_fork_servers_contain_no_secrets(
    pytester: pytest.Pytester, fake_suite: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_LEAKS", str(pytester.path / "seen.json"))
    monkeypatch.setenv("HF_TOKEN", "hunter2-0a1b2c")
    entries = [case_of(model_entry(id=name), engine="fake", config=tiny_config(), aot_artifact=name) for name in "ab"]
    monkeypatch.setattr(pytest_suite, "plan", lambda *_, **__: entries)
    run(pytester, "--coldwarm", "--coldwarm-output", "out").assert_outcomes(passed=2)
    # Each case needs its own server; both logs are in the same folder.
    logs = sorted((pytester.path / "out" / "a+a").glob("fork-server-*.log"))
    assert [log.name for log in logs] == ["fork-server-0.log", "fork-server-1.log"]
    for log in logs:
        assert "'HF_TOKEN': '**************'" in log.read_text()


def test_after_an_aborted_test_the_next_one_has_new_fork_servers(
    pytester: pytest.Pytester, fake_suite: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_verdict = Store.write_verdict

    def write(store: Store, case: Case, verdict: Verdict, repetition: int = 1) -> None:
        if case.name == "a":
            raise OSError("no space left on device")
        write_verdict(store, case, verdict, repetition)

    monkeypatch.setattr(Store, "write_verdict", write)
    run(pytester, "--coldwarm", "--coldwarm-output", "out").assert_outcomes(passed=1, failed=1)
    assert (pytester.path / "out" / "b" / "fork-server-0.log").is_file()
    assert made_by(pytester.path / "out" / "b") == {"fork"}
    assert not fork_servers()


def test_a_process_that_was_forked_for_one_test_leaves_no_fork_servers(
    pytester: pytest.Pytester, fake_suite: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pytest_fork_servers, "_PROCESS", 0)
    left: list[psutil.Process] = []

    class Watch:
        def pytest_runtest_logfinish(self) -> None:
            # Such a process ends after its test, without pytest's cleanup.
            left.extend(fork_servers())

    options = ("--coldwarm", "--coldwarm-output", "out")
    run(pytester, *options, plugins=[Watch()]).assert_outcomes(passed=2)
    assert left == []
    assert all((pytester.path / "out" / name / "fork-server-0.log").is_file() for name in "ab")
    assert made_by(pytester.path / "out" / "a") == {"fork"}


def test_a_start_that_could_not_be_forked_is_a_warning(
    pytester: pytest.Pytester, fake_suite: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ForkServers, "begin", lambda _, order, output: NewProcesses().begin(order, output))
    options = ("--coldwarm", "--deselect", "coldwarm::b", "--coldwarm-output", "out")
    result = run(pytester, *options, "-W", "default")
    result.assert_outcomes(passed=1, deselected=1, warnings=2)
    result.stdout.fnmatch_lines(
        ["*the cold start could not be forked and ran in a new process; see */out/a/fork-server-*.log*"]
    )


def test_the_start_method_and_the_depth_can_be_chosen(
    pytester: pytest.Pytester, fake_suite: list[dict[str, object]]
) -> None:
    options = ("--coldwarm", "--coldwarm-isolation", "spawn", "--coldwarm-output", "out", "--deselect", "coldwarm::b")
    run(pytester, *options, "--coldwarm-depth", "count").assert_outcomes(passed=1, deselected=1)
    assert made_by(pytester.path / "out" / "a") == {"spawn"}
    run(pytester, "--coldwarm", "--collect-only")
    assert [requested["depth"] for requested in fake_suite] == [Depth.COUNT, Depth.FULL]


def test_fresh_caches_and_expect_in_a_users_test(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HELION_CACHE_DIR", "/mine")
    monkeypatch.setenv("TRITON_CACHE_MANAGER", "mine:Remote")
    pytester.makepyfile(
        """
        import os
        import pytest

        def test_caches(fresh_caches, tmp_path):
            assert fresh_caches.manifest() == {}
            assert os.environ["VLLM_CACHE_ROOT"] == str(fresh_caches.root / "vllm")
            assert fresh_caches.root.is_relative_to(tmp_path)
            assert os.environ["HELION_CACHE_DIR"] == str(fresh_caches.root / "helion")
            assert "TRITON_CACHE_MANAGER" not in os.environ

        def test_caches_are_gone():
            assert "coldwarm" not in os.environ.get("VLLM_CACHE_ROOT", "")
            assert "test_caches" not in os.environ["HOME"]

        def test_expect(expect):
            counters = {"vllm.a": 1}
            with expect({"vllm.a": 2}, snapshot=lambda: dict(counters)):
                counters["vllm.a"] = 3
            with pytest.raises(AssertionError, match=r"vllm.a: expected \\+1, got \\+0"):
                with expect({"vllm.a": 1}, snapshot=lambda: dict(counters)):
                    pass
        """
    )
    run(pytester).assert_outcomes(passed=3)


def test_a_warm_start_without_a_cold_one_fails_clearly(pytester: pytest.Pytester) -> None:
    pytester.makepyfile('def test_mine(warm_start): warm_start("glm-4.5")')
    result = run(pytester)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["warm_start('glm-4.5') needs cold_start('glm-4.5') first"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_a_cold_start_of_an_unknown_model_fails_clearly(pytester: pytest.Pytester) -> None:
    pytester.makepyfile('def test_mine(cold_start): cold_start("glm45")')
    result = run(pytester, "--coldwarm-device", "cpu")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["no model 'glm45' in the catalog; nearest: glm-4.5*"])


@pytest.fixture
def fake_models(monkeypatch: pytest.MonkeyPatch, fake_engine: None) -> None:
    """Names of models determine their behaviour."""

    def case(config: pytest.Config, model: str) -> Case:
        return case_of(model_entry(id="m"), engine="fake", config=tiny_config(behaves=model))

    monkeypatch.setattr(pytest_plugin, "_case", case)


@pytest.mark.usefixtures("fake_models")
def test_cold_and_warm_starts_in_a_users_test(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_mine(cold_start, warm_start):
            saved = "vllm.num_compiled_artifacts_saved"
            assert cold_start("healthy").facts.counters[saved] == 3
            assert warm_start("healthy").facts.counters[saved] == 0

        def test_crash(cold_start):
            cold_start("raises")
        """
    )
    result = run(pytester)
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["the cold start crashed: ValueError: no such weights"])


@pytest.mark.usefixtures("fake_models", "instant_launch")
def test_a_start_in_an_xdist_worker_has_its_share_of_the_cores(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(capacity, "_cgroup", lambda _: "")
    pytester.makepyfile(
        """
        def test_mine(cold_start, monkeypatch):
            assert "OMP_NUM_THREADS" not in cold_start("healthy").environment
            monkeypatch.setenv("PYTEST_XDIST_WORKER_COUNT", "4")
            assert cold_start("healthy").environment["OMP_NUM_THREADS"] == "2"
        """
    )
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.usefixtures("fake_models", "instant_launch")
def test_a_model_can_be_started_cold_any_number_of_times(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_mine(cold_start):
            for _ in range(3):
                assert cold_start("healthy").caches_as_left
        """
    )
    run(pytester).assert_outcomes(passed=1)


@pytest.mark.usefixtures("fake_models", "instant_launch")
def test_a_model_can_be_started_warm_any_number_of_times(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_mine(cold_start, warm_start):
            cold_start("healthy")
            for _ in range(2):
                assert warm_start("healthy").outcome == "finished"
        """
    )
    run(pytester).assert_outcomes(passed=1)


def test_loading_the_plugin_imports_nothing_else(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import sys

        def test_mine():
            assert "coldwarm.pytest_plugin.plugin" in sys.modules
            assert not {"torch", "vllm", "coldwarm.launch", "coldwarm.catalog", "rich", "typer"} & sys.modules.keys()
        """
    )
    pytester.runpytest_subprocess(*WITHOUT).assert_outcomes(passed=1)


def test_the_plugin_does_not_import_torch() -> None:
    assert "torch" not in sys.modules
    assert Path(pytest_suite.__file__).is_file()
