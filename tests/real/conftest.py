"""The real starts that the tests share: each is made once a session, two at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from coldwarm.catalog.catalog import PACKAGED
from tests.real.commands import Served, Watched, compile_two_functions, serve, watch
from tests.real.runs import Finished, Running, run

CONFIGS = Path(__file__).parent / "configs"
PLUGIN = Path(__file__).parent / "plugin"
SECRETS = {
    "option": "hf_ranksOption51c0",
    "warm variable": "ranksWarmVariable72d9",
    "variable": "hf_ranksVariable93e8",
    "variable in lower case": "ranksLowerCase14f7",
}
"""Set in `Shared.ranks`; none may be in what that wrote."""
FIRST_HALF = ("deepseek-v3.2", "glm-4.5", "llama-3.1-8b", "phi-tiny-moe")
SECOND_HALF = ("gpt-oss-120b", "kimi-k2.5", "minimax-m2.5", "qwen3-32b")
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
    """Two models, each start a new interpreter, with an option that names a cache folder."""
    shipped: Future[Finished]
    ranks: Future[Finished]
    """A model in two processes, with secrets in options and variables of both starts."""
    bare: Future[Finished]
    killed: Future[Finished]
    interrupted: Future[Interrupted]
    scales: Future[Finished]
    """The tests' own two models, the burned one and the mended one."""
    drafted: Future[Finished]
    """A model of the catalog with a drafter, as is `burned_draft` with a drafter of the tests' own."""
    burned_draft: Future[Finished]
    launches: Future[Finished]
    """The tests' own model whose layers launch a Triton kernel."""
    server: Future[Served]
    """A server of vLLM, as a user starts it."""
    watched: Future[list[Watched]]
    """A script that uses `LLM`, in one cache of the user: cold, warm, and with two other settings."""
    program: Future[Finished]
    """A program with two functions, one of which has another key in the warm start."""
    variants: Future[Path]
    """The folder with a run for each of `tests.real.warm_variants`."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder as `real`, so that none starts vLLM by default because a mark was forgotten."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.real)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    folder = tmp_path_factory.mktemp("real")
    with ThreadPoolExecutor(max_workers=2) as pool:
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
            second_half=pool.submit(run, folder / "second", *SECOND_HALF, "--json"),
            server=pool.submit(serve, folder / "server"),
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
                "llama-3.1-8b",
                "--isolation=spawn",
                "--depth=count",
                "--json",
                "--set",
                f"compilation_config.cache_dir={_users_cache(folder / 'users-compiled')}",
            ),
            scales=pool.submit(
                run,
                folder / "scales",
                str(CONFIGS / "burned-scale.json"),
                str(CONFIGS / "buffered-scale.json"),
                "--json",
                environment=_with_plugin(),
            ),
            ranks=pool.submit(
                run,
                folder / "ranks",
                "llama-3.1-8b",
                "--depth=count",
                "--json",
                "--set=tensor_parallel_size=2",
                f"--set=hf_token={SECRETS['option']}",
                f"--warm-env=VLLM_API_KEY={SECRETS['warm variable']}",
                environment={
                    "HF_TOKEN": SECRETS["variable"],
                    "vllm_host_passwd": SECRETS["variable in lower case"],
                    # vLLM puts sockets below it, whose paths may have 107 characters.
                    "TMPDIR": "/tmp",
                },
            ),
            launches=pool.submit(
                run,
                folder / "launches",
                str(CONFIGS / "triton-launch.json"),
                "--depth=count",
                "--json",
                environment=_with_plugin(),
            ),
            drafted=pool.submit(_run_with_drafter, folder / "drafted", "eagle"),
            burned_draft=pool.submit(_run_with_drafter, folder / "burned-draft", "burned-eagle"),
            shipped=pool.submit(run, folder / "shipped", "llama-3.1-8b", "--compilation", "shipped"),
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
        [sys.executable, "-m", "tests.real.warm_variants", str(folder)], capture_output=True, text=True, timeout=1800
    )
    assert done.returncode == 0, done.stderr
    return folder


def _kill_in_mid_compile(folder: Path) -> Finished:
    running = Running(folder, "llama-3.1-8b", "qwen3-32b", "--json")
    running.wait_for("llama-3.1-8b cold: compile")
    running.worker().kill()
    return running.finish()


def _interrupt_in_mid_compile(folder: Path) -> Interrupted:
    running = Running(folder, "llama-3.1-8b")
    running.wait_for("llama-3.1-8b cold: compile")
    processes = running.processes()
    assert len(processes) >= 3, "a command, its fork server, a worker"
    running.interrupt()
    finished = running.finish()
    return Interrupted(finished, [process for process in processes if process.is_running()])
