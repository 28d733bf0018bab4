from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from coldwarm.checks.verdict import Status, judge
from coldwarm.core.cache_keys import CacheKeys, changed_factors
from coldwarm.core.case import Changes
from coldwarm.core.kernels import Compiler
from coldwarm.core.phases import Step
from coldwarm.core.record import Failure, Outcome, ProcessReport, StartKind
from coldwarm.core.request import StartRequest
from coldwarm.core.seen_in_process import OutsideUse
from coldwarm.engines.worker import WorkerResult
from coldwarm.launch import start
from coldwarm.launch.driver import WorkerDriver
from coldwarm.launch.process_tree import Ended, StoppedError
from coldwarm.launch.spawn import NewProcesses, WorkerOrder
from coldwarm.launch.start import Starter, _failure, _outcome
from tests.support.commands import ROOT
from tests.support.processes import goes
from tests.support.records import cold_facts, model_entry, tiny_config, warm_facts, warm_record
from tests.support.runs import case_of

RunAtEnd = Callable[[Callable[[], object]], None]
HEALTHY = WorkerResult(facts=cold_facts())
RANKS = cold_facts().processes


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "cold.log"
    path.write_bytes(b"".join(b"line %d\n" % n for n in range(100)) + b"last \xff\n")
    return path


def ended(status: int = 0, *, timed_out: bool = False, phases: tuple[str, ...] = ("import", "compile")) -> Ended:
    return Ended(status, timed_out, 1.0, [Step(name=name, begin=0.0, end=0.5) for name in phases])


def test_a_worker_with_facts_and_exit_status_0_has_not_failed(log: Path) -> None:
    assert _failure(HEALTHY, RANKS, ended(), 600, log) is None
    assert _outcome(None, ended()) is Outcome.FINISHED


@pytest.mark.parametrize("worker", [HEALTHY, WorkerResult(), WorkerResult(failure=Failure(what="too late"))])
def test_a_hang_is_reported_with_its_duration_and_phase(worker: WorkerResult, log: Path) -> None:
    failure = _failure(worker, RANKS, ended(-9, timed_out=True), 90, log)
    assert failure is not None
    assert failure.what == "still running after 90 s, killed"
    assert failure.phase == "compile"
    assert failure.signal is None
    assert _outcome(failure, ended(-9, timed_out=True)) is Outcome.TIMED_OUT


def test_the_workers_report_of_its_crash_is_stored(log: Path) -> None:
    reported = Failure(what="ValueError: no", phase="weights", exception="ValueError", traceback="...")
    failure = _failure(WorkerResult(failure=reported), RANKS, ended(1), 600, log)
    assert failure is not None
    assert failure.model_copy(update={"log_tail": []}) == reported
    assert _outcome(failure, ended(1)) is Outcome.CRASHED


@pytest.mark.parametrize(("status", "name"), [(-9, "SIGKILL"), (-11, "SIGSEGV"), (-6, "SIGABRT")])
def test_a_signal_is_named(status: int, name: str, log: Path) -> None:
    failure = _failure(WorkerResult(), RANKS, ended(status), 600, log)
    assert failure is not None
    assert (failure.signal, failure.what) == (name, f"the process was killed by {name}")


def test_a_signal_without_a_name_is_reported_by_number(log: Path) -> None:
    failure = _failure(WorkerResult(), RANKS, ended(-40), 600, log)
    assert failure is not None
    assert "40" in failure.what


def test_a_crash_at_exit_is_a_failure_even_if_there_are_facts(log: Path) -> None:
    assert _failure(HEALTHY, RANKS, ended(-11), 600, log) is not None
    assert _failure(HEALTHY, RANKS, ended(1), 600, log) is not None


def test_a_start_that_was_never_ready_has_failed_even_if_there_are_facts(log: Path) -> None:
    failure = _failure(HEALTHY, RANKS, replace(ended(), ready=False), 600, log)
    assert failure is not None
    assert "status 0" in failure.what


@pytest.mark.parametrize("status", [0, 1, -15])
def test_any_exit_status_of_a_start_that_was_stopped_when_ready_is_a_success(status: int, log: Path) -> None:
    assert _failure(HEALTHY, RANKS, replace(ended(status), stopped=True), 600, log) is None


@pytest.mark.parametrize("status", [0, 2])
def test_a_worker_without_a_result_has_failed_with_any_exit_status(status: int, log: Path) -> None:
    failure = _failure(WorkerResult(), RANKS, ended(status), 600, log)
    assert failure is not None
    assert f"status {status}" in failure.what


def test_a_failure_is_not_attributed_to_the_exit_phase(log: Path) -> None:
    failure = _failure(WorkerResult(), RANKS, ended(-9, phases=("import", "generate", "exit")), 600, log)
    assert failure is not None
    assert failure.phase == "generate"


def test_a_failure_includes_the_last_lines_of_the_log(log: Path) -> None:
    failure = _failure(WorkerResult(), RANKS, ended(1), 600, log)
    assert failure is not None
    assert len(failure.log_tail) == 40
    assert failure.log_tail[0] == "line 61"
    assert failure.log_tail[-1] == "last \N{REPLACEMENT CHARACTER}"


def starter(
    folder: Path, options: dict[str, Any] | None = None, warm_changes: Changes | None = None, **config: object
) -> Starter:
    case = case_of(
        engine="fake",
        config=tiny_config(**config),
        options=options or {},
        warm_changes=warm_changes or Changes(),
    )
    return Starter(case, folder / "scratch", folder / "output", time_limit=30)


def stored_keys(folder: Path, start: str) -> CacheKeys:
    return CacheKeys.model_validate_json((folder / "output" / f"{start}.keys.json").read_bytes())


def request_of(folder: Path, start: str) -> StartRequest:
    return StartRequest.model_validate_json((folder / "scratch" / f"{start}.request.json").read_bytes())


@pytest.mark.parametrize(
    ("ranks", "reported", "message"),
    [
        (None, [], "only 0 of 1 processes"),
        (None, [None], "only 0 of 1 processes"),
        (2, [None, 0], "only 1 of 2 processes"),
        (2, [0, 0], "only 1 of 2 processes"),
        (2, [None, 0, 1], None),
        (1, [0], None),
    ],
)
def test_a_start_with_a_rank_that_did_not_report_has_failed(
    ranks: int | None, reported: list[int | None], message: str | None, log: Path
) -> None:
    processes = [ProcessReport(pid=number, rank=rank) for number, rank in enumerate(reported)]
    failure = _failure(WorkerResult(facts=cold_facts(ranks=ranks)), processes, ended(), 600, log)
    assert (failure is None) == (message is None)
    assert failure is None or (message or "") in failure.what


@pytest.mark.usefixtures("fake_engine")
class TestWithAFakeEngine:
    def test_every_process_is_observed_with_the_same_probes(self, tmp_path: Path) -> None:
        record = starter(tmp_path, behaves="has two ranks").cold()
        assert record.failure is None
        first, second = record.processes
        assert [process.rank for process in (first, second)] == [0, 1]
        assert second.parent_pid == first.pid != second.pid
        assert first.parent_pid == os.getpid()
        assert first.keys_digest == stored_keys(tmp_path, "cold").digest()
        for process in (first, second):
            assert process.missing_bytecode is not None
            assert process.peak_memory_bytes is not None
            assert process.cache_keys is None
            assert process.failed_probes == {}
        assert record.facts is not None
        assert (record.facts.counters, record.facts.processes) == (first.counters, [first, second])
        assert second.counters == warm_facts().counters
        assert "of rank 1" in [message.text for message in second.messages]
        assert "of rank 1" not in [message.text for message in first.messages]
        assert [message.text for message in record.messages] == ["cannot load it", "of rank 1"]
        assert record.peak_memory_bytes == (first.peak_memory_bytes or 0) + (second.peak_memory_bytes or 0)

    def test_only_a_rank_with_other_keys_has_a_file_of_its_own(self, tmp_path: Path) -> None:
        record = starter(tmp_path / "same", behaves="has two ranks").cold()
        assert [process.keys_digest for process in record.processes] == [record.processes[0].keys_digest] * 2
        assert [path.name for path in (tmp_path / "same" / "output").glob("*keys*")] == ["cold.keys.json"]
        first, second = starter(tmp_path / "other", behaves="has ranks with different keys").cold().processes
        assert first.keys_digest == stored_keys(tmp_path / "other", "cold").digest() != second.keys_digest
        of_rank = stored_keys(tmp_path / "other", "cold.rank-1")
        assert of_rank.digest() == second.keys_digest
        assert of_rank.factors["environment"]["VLLM_OF_RANK"] == "1"

    def test_an_error_of_a_probe_is_recorded_and_does_not_fail_the_start(self, tmp_path: Path) -> None:
        record = starter(tmp_path, behaves="has broken probes").cold()
        assert record.outcome is Outcome.FINISHED
        [process] = record.processes
        assert process.failed_probes == {
            "breaks at once": "OSError: no hook",
            "breaks later": "ValueError: no such thing",
        }
        assert [message.text for message in process.messages] == ["cannot load it", "taken before it broke"]
        assert process.counters["vllm.num_compiled_artifacts_saved"] == 3

    def test_a_crashed_start_has_a_report_of_its_process(self, tmp_path: Path) -> None:
        [process] = starter(tmp_path, behaves="raises").cold().processes
        assert (process.rank, [message.text for message in process.messages]) == (None, ["cannot load it"])
        assert process.peak_memory_bytes is not None

    def test_a_killed_process_has_no_report(self, tmp_path: Path) -> None:
        assert starter(tmp_path, behaves="is killed").cold().processes == []

    @pytest.mark.usefixtures("no_bytecode")
    def test_modules_without_bytecode_are_recorded(self, tmp_path: Path) -> None:
        missing = starter(tmp_path).cold().missing_bytecode
        assert missing is not None
        assert str(ROOT) in missing.roots

    def test_cold_then_warm(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("VLLM_CACHE_ROOT", "/mine")
        monkeypatch.setenv("VLLM_MINE", "1")
        phases: list[str] = []
        starts = starter(tmp_path)
        cold, warm = starts.cold(phases.append), starts.warm()

        assert (cold.kind, cold.outcome, cold.failure) == (StartKind.COLD, Outcome.FINISHED, None)
        assert (warm.kind, warm.outcome, warm.failure) == (StartKind.WARM, Outcome.FINISHED, None)
        assert phases == ["import", "compile", "exit"]
        assert [step.name for step in warm.steps] == ["process start", *phases]
        assert [phase.name for phase in warm.phases] == ["process start", "import", "Dynamo", "exit", "unaccounted"]
        for record in (cold, warm):
            assert sum(phase.seconds for phase in record.phases) == pytest.approx(record.seconds, abs=1e-5)
            assert all(phase.seconds >= 0 for phase in record.phases)
            assert record.began.timestamp() == pytest.approx(record.steps[0].begin, abs=1e-5)

        assert cold.caches_before == {}
        assert cold.caches_as_left
        assert cold.caches_after["vllm"].files == 1
        assert warm.caches_before == cold.caches_after
        assert warm.caches_as_left
        assert (cold.caches_changed, warm.caches_changed) == ([], [])
        assert (cold.files_written, warm.files_written) == (["vllm/artifact"], [])
        for record in (cold, warm):
            [process] = record.processes
            assert process.kernels is not None
            assert process.kernels.events == record.kernels_by_files == []
            assert {state.version for state in process.kernels.compilers} == {None}

        assert cold.facts is not None
        assert cold.facts.counters["vllm.num_compiled_artifacts_saved"] == 3
        assert warm.facts is not None
        assert warm.facts.counters["vllm.num_compiled_artifacts_loaded"] == 3
        assert cold.compiler_work is not None
        assert (cold.compiler_work.files, cold.compiler_work.records) == (1, 3)
        assert cold.peak_memory_bytes is not None
        assert cold.peak_memory_bytes > 2**20

        assert [(m.logger, m.text) for m in cold.messages] == [("fake.compiler.cache", "cannot load it")]
        assert cold.environment["VLLM_MINE"] == "1"
        assert "VLLM_CACHE_ROOT" in cold.overridden
        assert "not watched" in (tmp_path / "output" / "cold.log").read_text()
        assert (tmp_path / "output" / "warm.trace" / "trace.log").is_file()

    def test_options_and_changes_reach_the_engine_and_its_cache_keys_are_stored(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("VLLM_FAKE_SAME", "0")
        monkeypatch.setenv("VLLM_FAKE_FLAG", "0")
        starts = starter(
            tmp_path,
            options={"dtype": "bfloat16", "additional_config": {"seed": 0, "same": 1}},
            warm_changes=Changes(
                environment={"VLLM_FAKE_FLAG": "1"}, options={"additional_config": {"seed": 1}, "more": None}
            ),
        )
        cold, warm = starts.cold(), starts.warm()
        cold_keys, warm_keys = stored_keys(tmp_path, "cold"), stored_keys(tmp_path, "warm")
        assert cold_keys.factors == {
            "options": {"dtype": '"bfloat16"', "additional_config.seed": "0", "additional_config.same": "1"},
            "environment": {"VLLM_FAKE_FLAG": "0", "VLLM_FAKE_SAME": "0"},
        }
        assert [(f.group, f.name, f.cold, f.warm) for f in changed_factors(cold_keys, warm_keys)] == [
            ("environment", "VLLM_FAKE_FLAG", "0", "1"),
            ("options", "additional_config.seed", "0", "1"),
            ("options", "more", None, "null"),
        ]
        assert cold.options == {"dtype": "bfloat16", "additional_config": {"seed": 0, "same": 1}}
        assert warm.options == {"dtype": "bfloat16", "additional_config": {"seed": 1, "same": 1}, "more": None}
        assert (cold.environment["VLLM_FAKE_FLAG"], warm.environment["VLLM_FAKE_FLAG"]) == ("0", "1")
        assert os.environ["VLLM_FAKE_FLAG"] == "0"

    def test_the_cache_keys_of_a_crashed_start_are_stored(self, tmp_path: Path) -> None:
        starter(tmp_path, options={"a": 1}, behaves="raises").cold()
        assert stored_keys(tmp_path, "cold").factors == {"options": {"a": "1"}}

    def test_the_request_and_the_result_are_private_and_have_no_secrets_at_the_end(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_LEAKS", str(tmp_path / "seen.json"))
        starter(tmp_path, options={"hf_token": "hunter2-0a1b2c"}, behaves="raises").cold()
        assert "hunter2-0a1b2c" in (tmp_path / "seen.json").read_text()
        for name in ("cold.request.json", "cold.result.json"):
            path = tmp_path / "scratch" / name
            assert "hunter2" not in path.read_text()
            assert path.stat().st_mode & 0o077 == 0

    def test_a_crash_is_recorded_with_its_phase_and_traceback(self, tmp_path: Path) -> None:
        record = starter(tmp_path, behaves="raises").cold()
        assert record.outcome is Outcome.CRASHED
        assert (record.facts, record.compiler_work) == (None, None)
        assert record.failure is not None
        assert record.failure.what == "ValueError: no such weights"
        assert record.failure.phase == "weights"
        assert record.failure.exception == "ValueError"
        assert "second line" in (record.failure.traceback or "")
        assert [message.text for message in record.messages] == ["cannot load it"]

    def test_a_killed_worker_is_recorded_with_its_signal(self, tmp_path: Path) -> None:
        record = starter(tmp_path, behaves="is killed").cold()
        assert record.outcome is Outcome.CRASHED
        assert stored_keys(tmp_path, "cold") == CacheKeys()
        assert record.failure is not None
        assert (record.failure.signal, record.failure.phase) == ("SIGKILL", "compile")

    def test_a_worker_dies_with_its_launcher(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        sleeper = tmp_path / "sleeper"
        monkeypatch.setenv("FAKE_SLEEPER", str(sleeper))
        launcher = os.fork()
        if launcher == 0:
            try:
                starter(tmp_path, behaves="hangs").cold()
            finally:
                os._exit(0)
        while not sleeper.exists() or not sleeper.read_text():
            time.sleep(0.02)
        worker = psutil.Process(int(sleeper.read_text())).parent()
        assert worker is not None
        assert worker.ppid() == launcher
        os.kill(launcher, 9)
        os.waitpid(launcher, 0)
        os.kill(int(sleeper.read_text()), 9)
        assert goes(worker.pid)


@pytest.fixture
def run_at_end(monkeypatch: pytest.MonkeyPatch) -> RunAtEnd:
    """Return a function that registers code to run at the end of every later start."""

    def run_at_end(act: Callable[[], object]) -> None:
        launch: Callable[..., Ended] = vars(start)["launch"]

        def launch_and_act(*arguments: Any, **options: Any) -> Ended:
            ended = launch(*arguments, **options)
            act()
            return ended

        monkeypatch.setattr(start, "launch", launch_and_act)

    return run_at_end


@pytest.mark.usefixtures("fake_engine")
class TestFilesOutsideOfItsFolders:
    @pytest.fixture
    def users_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        """Create a cache of the user that contains a file."""
        folder = tmp_path / "users_cache"
        folder.mkdir()
        (folder / "kernel").write_text("warm")
        monkeypatch.setenv("HELION_CACHE_DIR", str(folder))
        # Other programs on this machine may write to the default cache folders.
        monkeypatch.setenv("HOME", str(tmp_path / "home"))
        monkeypatch.setenv("USER", "nobody-of-this-name")
        return folder

    def test_nothing_is_recorded_if_only_its_folders_are_used(self, tmp_path: Path, users_cache: Path) -> None:
        starts = starter(tmp_path)
        for record in (starts.cold(), starts.warm()):
            assert record.outcome is Outcome.FINISHED
            assert record.outside == OutsideUse()
            assert (record.changed_outside, record.not_compared, record.shared_caches_changed) == ([], [], [])
            assert "HELION_CACHE_DIR" in record.overridden

    def test_a_file_written_in_a_cache_of_the_user_is_recorded(
        self, tmp_path: Path, users_cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_FILE", str(users_cache / "new"))
        record = starter(tmp_path, behaves="writes elsewhere").cold()
        assert record.outside == OutsideUse(caches_written=[str(users_cache / "new")])
        assert record.changed_outside == [str(users_cache / "new")]
        assert judge(model_entry(), record, warm_record(engine="fake")).status is Status.FAILED

    def test_a_file_read_in_a_cache_of_the_user_is_recorded(
        self, tmp_path: Path, users_cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_FILE", str(users_cache / "kernel"))
        record = starter(tmp_path, behaves="reads elsewhere").cold()
        assert record.outside == OutsideUse(caches_read=[str(users_cache / "kernel")])
        assert record.changed_outside == []

    def test_a_file_written_anywhere_else_is_recorded_separately(
        self, tmp_path: Path, users_cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_FILE", str(tmp_path / "elsewhere"))
        record = starter(tmp_path, behaves="writes elsewhere").cold()
        assert record.outside == OutsideUse(written=[str(tmp_path / "elsewhere")])

    def test_a_file_written_by_a_child_is_found_only_by_comparing_the_caches(
        self, tmp_path: Path, users_cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_FILE", str(users_cache / "kernel"))
        record = starter(tmp_path, behaves="has a child write elsewhere").cold()
        assert record.outside == OutsideUse()
        assert record.changed_outside == [str(users_cache / "kernel")]

    def test_a_folder_in_an_option_is_one_of_the_users_caches(
        self, tmp_path: Path, users_cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("FAKE_FILE", str(tmp_path / "compiled" / "new"))
        (tmp_path / "compiled").mkdir()
        options = {"compilation_config": {"cache_dir": str(tmp_path / "compiled")}}
        record = starter(tmp_path, options, behaves="writes elsewhere").cold()
        assert record.outside.caches_written == [str(tmp_path / "compiled" / "new")]

    def test_only_the_name_of_an_unknown_cache_variable_is_recorded(
        self, tmp_path: Path, users_cache: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MYLIB_CACHE_DIR", "/a-distinctive-value")
        record = starter(tmp_path).cold()
        assert "MYLIB_CACHE_DIR" in record.unknown_cache_variables
        assert "a-distinctive-value" not in record.model_dump_json()


@pytest.mark.usefixtures("fake_engine", "instant_launch")
class TestWithoutAProcess:
    def test_a_cache_folder_in_an_option_is_replaced_by_one_of_the_case(self, tmp_path: Path) -> None:
        options = {"compilation_config": {"cache_dir": "/mine/a", "compile_sizes": [1]}}
        starts = starter(tmp_path, options)
        records = [
            starts.cold(),
            starts.warm(),
            starts.warm(changes=Changes(options={"compilation_config": {"cache_dir": "/mine/b"}})),
            starts.warm(changes=Changes(options={"compilation_config": {"cache_dir": ""}})),
        ]
        given = [
            request_of(tmp_path, name).options["compilation_config"] for name in ("cold", "warm", "warm-2", "warm-3")
        ]
        assert [each["compile_sizes"] for each in given] == [[1]] * 4
        cold, warm, other, none = (each["cache_dir"] for each in given)
        assert cold == warm != other
        assert all(Path(folder).is_relative_to(starts.caches.root) for folder in (cold, warm, other))
        assert none == ""
        named = ["compilation_config.cache_dir" in record.overridden for record in records]
        assert named == [True, True, True, False]
        assert records[0].options == options

    def test_the_warm_start_finds_the_caches_that_the_cold_start_left(self, tmp_path: Path) -> None:
        starts = starter(tmp_path)
        cold = starts.cold()
        assert cold.caches_as_left
        assert starts.warm().caches_as_left

    def test_a_cold_start_with_a_file_in_its_caches_is_recorded(self, tmp_path: Path) -> None:
        starts = starter(tmp_path)
        (starts.caches.root / "triton" / "left").write_text("x")
        cold = starts.cold()
        assert not cold.caches_as_left
        assert cold.caches_before["triton"].files == 1

    def test_a_file_added_between_the_starts_is_recorded(self, tmp_path: Path) -> None:
        starts = starter(tmp_path)
        starts.cold()
        (starts.caches.root / "vllm" / "more").write_text("x")
        warm = starts.warm()
        assert not warm.caches_as_left
        assert [(change.path, change.how) for change in warm.caches_changed] == [("vllm/more", "new")]
        assert warm.files_written == []

    @pytest.mark.parametrize(("text", "how"), [("left bx cold", "altered"), ("left", "truncated"), (None, "missing")])
    def test_a_file_damaged_between_the_starts_is_recorded(
        self, tmp_path: Path, run_at_end: RunAtEnd, text: str | None, how: str
    ) -> None:
        starts = starter(tmp_path)
        file = starts.caches.root / "vllm" / "artifact"
        run_at_end(lambda: file.write_text("left by cold"))
        cold = starts.cold()
        assert cold.files_written == ["vllm/artifact"]
        if text is None:
            file.unlink()
        else:
            file.write_text(text)
        warm = starts.warm()
        assert not warm.caches_as_left
        assert [(change.path, change.how) for change in warm.caches_changed] == [("vllm/artifact", how)]
        assert warm.files_written == ["vllm/artifact"]

    def test_a_file_rewritten_with_the_same_content_does_not_count_as_written(
        self, tmp_path: Path, run_at_end: RunAtEnd
    ) -> None:
        starts = starter(tmp_path)
        file = starts.caches.root / "vllm" / "artifact"
        run_at_end(lambda: file.write_text("x"))
        assert starts.cold().files_written == ["vllm/artifact"]
        assert starts.warm().files_written == []

    def test_a_kernel_of_a_compiler_without_a_hook_is_recorded_by_its_file(
        self, tmp_path: Path, run_at_end: RunAtEnd
    ) -> None:
        starts = starter(tmp_path)
        run_at_end(lambda: (starts.caches.root / "cuda" / "0a1b").write_text("x"))
        cold, warm = starts.cold(), starts.warm()
        assert [(event.compiler, event.key) for event in cold.kernels_by_files] == [(Compiler.PTX_JIT, "0a1b")]
        assert warm.kernels_by_files == []

    def test_of_many_written_files_only_the_first_are_recorded(
        self, tmp_path: Path, run_at_end: RunAtEnd, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(start, "_FILES_RECORDED", 3)
        starts = starter(tmp_path)

        def write() -> None:
            for n in (4, 2, 3, 1, 0):
                (starts.caches.root / "inductor" / str(n)).touch()

        run_at_end(write)
        assert starts.cold().files_written == ["inductor/0", "inductor/1", "inductor/2"]

    def test_a_second_warm_start_has_its_own_files_and_the_caches_that_the_first_left(
        self, tmp_path: Path, run_at_end: RunAtEnd
    ) -> None:
        starts = starter(tmp_path)
        starts.cold()
        run_at_end(lambda: (starts.caches.root / "triton" / "by-warm").write_text("x"))
        first, second = starts.warm(), starts.warm()
        assert first.caches_as_left
        assert [(change.path, change.how) for change in second.caches_changed] == [("triton/by-warm", "new")]
        assert {path.name for path in (tmp_path / "output").iterdir()} == {
            f"{name}{end}" for name in ("cold", "warm", "warm-2") for end in (".log", ".trace", ".keys.json")
        }

    def test_given_changes_replace_those_of_the_case(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("VLLM_FAKE_FLAG", raising=False)
        starts = starter(
            tmp_path,
            options={"a": {"b": 1}},
            warm_changes=Changes(environment={"VLLM_FAKE_FLAG": "case"}, options={"a": {"c": 2}}),
        )
        cold = starts.cold()
        own = starts.warm()
        given = starts.warm(changes=Changes(environment={"VLLM_FAKE_FLAG": "given"}, options={"d": 3}))
        none = starts.warm(changes=Changes())
        assert [record.options for record in (cold, own, given, none)] == [
            {"a": {"b": 1}},
            {"a": {"b": 1, "c": 2}},
            {"a": {"b": 1}, "d": 3},
            {"a": {"b": 1}},
        ]
        assert [record.environment.get("VLLM_FAKE_FLAG") for record in (cold, own, given, none)] == [
            None,
            "case",
            "given",
            None,
        ]
        assert request_of(tmp_path, "warm-2").options == given.options

    def test_a_changed_variable_that_coldwarm_sets_is_overridden(self, tmp_path: Path) -> None:
        starts = starter(tmp_path, warm_changes=Changes(environment={"VLLM_CACHE_ROOT": "/mine"}))
        assert "VLLM_CACHE_ROOT" in starts.warm().overridden


@pytest.mark.usefixtures("fake_engine")
@pytest.mark.parametrize("of_case", [None, "bundled"])
def test_the_aot_artifact_of_the_case_takes_precedence_over_the_users(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of_case: str | None
) -> None:
    monkeypatch.setenv("VLLM_FAKE_AOT_ARTIFACT", "the user's")
    case = case_of(engine="fake", config=tiny_config(), aot_artifact=of_case)
    record = Starter(case, tmp_path / "scratch", tmp_path / "output", time_limit=30).cold()
    keys = CacheKeys.model_validate_json((tmp_path / "output" / "cold.keys.json").read_bytes())
    assert keys.factors["environment"]["VLLM_FAKE_AOT_ARTIFACT"] == (of_case or "the user's")
    assert record.environment.get("VLLM_FAKE_AOT_ARTIFACT") == (None if of_case else "the user's")


@pytest.mark.usefixtures("fake_engine")
def test_the_aot_artifact_of_the_warm_changes_takes_precedence_over_the_cases(tmp_path: Path) -> None:
    changed = Changes(environment={"VLLM_FAKE_AOT_ARTIFACT": "separate"})
    case = case_of(engine="fake", config=tiny_config(), aot_artifact="bundled", warm_changes=changed)
    starter = Starter(case, tmp_path / "scratch", tmp_path / "output", time_limit=30)
    starter.cold()
    starter.warm()
    keys = [
        CacheKeys.model_validate_json((tmp_path / "output" / f"{kind}.keys.json").read_bytes()) for kind in StartKind
    ]
    assert [each.factors["environment"]["VLLM_FAKE_AOT_ARTIFACT"] for each in keys] == ["bundled", "separate"]


@pytest.mark.usefixtures("fake_engine")
def test_a_start_that_cannot_be_prepared_leaves_no_file_descriptor_open(tmp_path: Path) -> None:
    class Unprepared(NewProcesses):
        def prepare(self, order: WorkerOrder, on_phase: Callable[[str], None]) -> None:
            raise StoppedError

    driver = WorkerDriver(Unprepared())
    starter = Starter(case_of(engine="fake"), tmp_path / "scratch", tmp_path / "output", time_limit=60, driver=driver)
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(StoppedError):
        starter.cold()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
