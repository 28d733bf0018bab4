"""The real starts that the tests share: each is made once a session, two at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest

from coldwarm.catalog.catalog import PACKAGED
from tests.real.commands import (
    Served,
    Watched,
    compile_two_functions,
    kill_a_rank,
    serve,
    serve_as_shipped,
    watch,
)
from tests.real.runs import ENVIRONMENT, Finished, Running, run
from tests.support.release import CORRUPTED_BY_EXPERTS

_T = TypeVar("_T")

CONFIGS = Path(__file__).parent / "configs"
PLUGIN = Path(__file__).parent / "plugin"
SECRETS = {
    "option": "hf_ranksOption51c0",
    "warm variable": "ranksWarmVariable72d9",
    "variable": "hf_ranksVariable93e8",
    "variable in lower case": "ranksLowerCase14f7",
}
"""Set in `Shared.ranks`; none may be in what that wrote."""
FIRST_HALF = tuple(
    model for model in ("deepseek-v3.2", "glm-4.5", "llama-3.1-8b", "phi-tiny-moe") if model not in CORRUPTED_BY_EXPERTS
)
SECOND_HALF = tuple(
    model for model in ("gpt-oss-120b", "kimi-k2.5", "minimax-m2.5", "qwen3-32b") if model not in CORRUPTED_BY_EXPERTS
)
NEW_KINDS = ("glm-4.5-mtp", "llama-3.1-8b-eagle3")
"""Models of other kinds: with layers that draft tokens, with a separate drafter. Only counted."""


@dataclass
class Interrupted:
    """A run that was ended by Ctrl-C in mid-compile."""

    finished: Finished
    left: list[psutil.Process]
    """Its processes that were still alive when the command had returned."""


@dataclass
class Shared:
    """All of them, each as a future: a test waits for what it needs alone."""

    first_half: Future[Finished]
    second_half: Future[Finished]
    both_artifacts: Future[Finished]
    """One command with `--jobs 2`."""
    counted: Future[Finished]
    """The models of both halves and `NEW_KINDS` at depth count. `traced` has those of the halves at depth trace."""
    traced: Future[Finished]
    """Python has no bytecode of anything, and keeps none."""
    spawned: Future[Finished]
    """A model, each start a new interpreter, with an option that names a cache folder."""
    shipped: Future[Finished]
    ranks: Future[Finished]
    """Two models in two processes each, with secrets in options and variables of both starts: one of the catalog, and
    one of the tests' own that has the number of its rank baked into its graphs. The path of the temporary folder is too
    long for the sockets of vLLM."""
    bare: Future[Finished]
    killed: Future[Finished]
    interrupted: Future[Interrupted]
    own_models: Future[Finished]
    """The tests' own models, at depth count: a number is baked into each layer, the same number in a buffer, and layers
    that launch a Triton kernel."""
    drafted: Future[Finished]
    """A model of the catalog with a drafter, as is `burned_draft` with a drafter of the tests' own."""
    burned_draft: Future[Finished]
    server: Future[Served]
    """A server of vLLM with two ranks, as a user starts it."""
    served_as_shipped: Future[Served]
    """A server of vLLM that compiles as vLLM does on a CPU."""
    killed_rank: Future[Served]
    """A server whose worker was killed in mid-compile."""
    watched: Future[list[Watched]]
    """A script that uses `LLM`, in one cache of the user: cold, warm, and with two other settings."""
    program: Future[Finished]
    """A program with two functions, one of which has another key in the warm start."""
    variants: Future[Path]
    """The folder with a run for each of `tests.real.warm_variants`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as `real`, so that none starts vLLM by default because a mark was forgotten.

    Tests that make starts of their own come first: others are made for all tests in the meantime.
    """
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.real)
    items.sort(key=lambda item: item.path.name not in _WITH_STARTS_OF_THEIR_OWN)


_WITH_STARTS_OF_THEIR_OWN = ("test_fixtures_and_plugin.py", "test_not_compiled.py")

TIMES = pytest.StashKey[dict[str, tuple[float, float]]]()
"""When each of the shared starts began and how long it took, in seconds."""


class _Queue:
    """Makes the shared starts in the order of their submission, and notes how long each takes."""

    def __init__(self, pool: ThreadPoolExecutor, times: dict[str, tuple[float, float]]) -> None:
        self._pool = pool
        self._times = times
        self._created = time.monotonic()

    def submit(self, work: Callable[..., _T], folder: Path, *args: Any, **kwargs: Any) -> Future[_T]:
        """Have `work` called with its folder, which also names it."""

        def timed() -> _T:
            began = time.monotonic()
            try:
                return work(folder, *args, **kwargs)
            finally:
                self._times[folder.name] = (began - self._created, time.monotonic() - began)

        return self._pool.submit(timed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """List the shared starts with their times, which are most of the suite's."""
    if times := terminalreporter.config.stash.get(TIMES, {}):
        terminalreporter.section("shared starts, two at a time: began after, took, in seconds")
        for name, (began, seconds) in sorted(times.items(), key=lambda each: each[1]):
            terminalreporter.write_line(f"{began:7.0f} {seconds:6.0f}  {name}")


@contextmanager
def _without_what_is_not_needed(threads: ThreadPoolExecutor) -> Iterator[None]:
    """At the end, begin nothing more: after Ctrl-C, or if only some tests were selected."""
    try:
        yield
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


@pytest.fixture(scope="session")
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("real")
    with ThreadPoolExecutor(max_workers=2) as threads, _without_what_is_not_needed(threads):
        pool = _Queue(threads, request.config.stash.setdefault(TIMES, {}))
        yield Shared(
            # The longest first. The two halves of the catalog run at the same time: they must not disturb each other.
            first_half=pool.submit(
                run,
                folder / "first",
                *FIRST_HALF,
                "--json",
                "--junit",
                str(folder / "junit.xml"),
                environment={
                    "VLLM_CACHE_ROOT": str(folder / "never"),
                    "VLLM_FLASHINFER_AUTOTUNE_CACHE_DIR": str(_users_cache(folder / "users-autotune")),
                    "TORCHINDUCTOR_FX_GRAPH_REMOTE_CACHE": "1",
                    "VLLM_RPC_TIMEOUT": "10001",
                },
            ),
            second_half=pool.submit(
                run, folder / "second", *SECOND_HALF, "--json", "--store", str(folder / "history.db")
            ),
            server=pool.submit(serve, folder / "server"),
            served_as_shipped=pool.submit(serve_as_shipped, folder / "served-as-shipped"),
            killed_rank=pool.submit(kill_a_rank, folder / "killed-rank"),
            watched=pool.submit(watch, folder / "watched"),
            program=pool.submit(compile_two_functions, folder / "program"),
            variants=pool.submit(_start_in_all_variants, folder / "variants"),
            counted=pool.submit(
                run, folder / "counted", *FIRST_HALF, *SECOND_HALF, *NEW_KINDS, "--depth=count", "--json"
            ),
            bare=pool.submit(
                run,
                folder / "bare",
                str(CONFIGS / "olmoe-1b-7b.json"),
                str(CONFIGS / "cohere2.json"),
                str(CONFIGS / "gemma-3-1b.json"),
                # Has experts without a gate, which vLLM does not run on a CPU.
                str(PACKAGED.parent / "configs" / "nemotron-3-nano-30b-a3b.json"),
                # Without effect on a CPU.
                "--set=compilation_config.compile_sizes=[1]",
                "--json",
            ),
            spawned=pool.submit(
                run,
                folder / "spawned",
                "glm-4.5",
                "--isolation=spawn",
                "--depth=count",
                "--json",
                "--set",
                f"compilation_config.cache_dir={_users_cache(folder / 'users-compiled')}",
            ),
            own_models=pool.submit(
                run,
                folder / "own-models",
                str(CONFIGS / "burned-scale.json"),
                str(CONFIGS / "buffered-scale.json"),
                str(CONFIGS / "triton-launch.json"),
                "--depth=count",
                "--json",
                environment=_with_plugin(),
            ),
            ranks=pool.submit(
                run,
                folder / "ranks",
                "llama-3.1-8b",
                str(CONFIGS / "burned-rank.json"),
                "--depth=count",
                "--json",
                "--set=tensor_parallel_size=2",
                f"--set=hf_token={SECRETS['option']}",
                # Not one of vLLM's: up to 0.31, VLLM_API_KEY is part of the cache key.
                f"--warm-env=WARM_API_KEY={SECRETS['warm variable']}",
                environment={
                    **_with_plugin(),
                    "HF_TOKEN": SECRETS["variable"],
                    "vllm_host_passwd": SECRETS["variable in lower case"],
                },
            ),
            drafted=pool.submit(_run_with_drafter, folder / "drafted", "eagle"),
            burned_draft=pool.submit(_run_with_drafter, folder / "burned-draft", "burned-eagle"),
            # Without piecewise compilation, each layer is compiled.
            shipped=pool.submit(
                run,
                folder / "shipped",
                "llama-3.1-8b",
                "--compilation=shipped",
                "--set=hf_overrides.num_hidden_layers=2",
            ),
            traced=pool.submit(
                run,
                folder / "traced",
                *FIRST_HALF,
                *SECOND_HALF,
                "--depth=trace",
                "--json",
                environment={"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "no-bytecode")},
            ),
            both_artifacts=pool.submit(
                run,
                folder / "both",
                "llama-3.1-8b",
                "--aot-artifact=separate",
                "--aot-artifact=bundled",
                "--jobs=2",
                "--json",
            ),
            killed=pool.submit(_kill_in_mid_compile, folder / "killed"),
            interrupted=pool.submit(_interrupt_in_mid_compile, folder / "interrupted"),
        )


@pytest.fixture(scope="session", autouse=True)
def begin_shared_starts(request: pytest.FixtureRequest) -> None:
    """Begin the shared starts before the first test, if any test needs them."""
    if any("shared" in item.fixturenames for item in request.session.items if isinstance(item, pytest.Function)):
        request.getfixturevalue("shared")


def _with_plugin() -> dict[str, str]:
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(PLUGIN), os.environ.get("PYTHONPATH")]))}


def _run_with_drafter(folder: Path, drafter: str) -> Finished:
    speculative = {"method": "eagle", "model": str(CONFIGS / drafter), "num_speculative_tokens": 2}
    option = f"--set=speculative_config={json.dumps(speculative)}"
    return run(folder, "llama-3.1-8b", option, "--depth=count", "--json", environment=_with_plugin())


def _users_cache(folder: Path) -> Path:
    """Make a folder with a file in it, as an earlier start of the user's would have."""
    folder.mkdir()
    (folder / "marker").write_text("the user's")
    return folder


def _start_in_all_variants(folder: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-m", "tests.real.warm_variants", str(folder)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr
    return folder


def _kill_in_mid_compile(folder: Path) -> Finished:
    running = Running(folder, "llama-3.1-8b", "qwen3-32b", "--depth=count", "--json")
    running.wait_for("llama-3.1-8b cold: compile")
    running.worker().kill()
    return running.finish()


def _interrupt_in_mid_compile(folder: Path) -> Interrupted:
    running = Running(folder, "llama-3.1-8b", "--depth=count")
    running.wait_for("llama-3.1-8b cold: compile")
    processes = running.processes()
    assert len(processes) >= 3, "a command, its fork server, a worker"
    running.interrupt()
    finished = running.finish()
    return Interrupted(finished, [process for process in processes if process.is_running()])
