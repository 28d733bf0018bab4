"""What a vLLM developer uses: the fixtures; and what everybody else must not notice: the platform plugin."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import coldwarm
from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.record import StartRecord
from coldwarm.store.suite_folder import read_runs
from tests.real.conftest import Shared


def test_pytest_starts_the_catalogs_models_from_one_import(tmp_path: Path) -> None:
    options = ["--coldwarm", "--coldwarm-depth", "trace", "-k", "llama-3 or qwen3-32b", "--coldwarm-output", "out"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0 and "3 passed" in done.stdout.splitlines()[-1], done.stdout
    assert len(list((tmp_path / "out").glob("*/fork-server-*.log"))) == 1
    for name in ("llama-3.1-8b", "qwen3-32b"):
        [suite] = read_runs(tmp_path / "out" / name)
        assert suite.cold is not None
        assert (suite.cold.isolation, suite.cold.depth) == (IsolationKind.FORK, Depth.TRACE)


def test_the_python_api_starts_and_judges_a_model(tmp_path: Path) -> None:
    result = coldwarm.run("llama-3.1-8b", depth="count", output=tmp_path / "out")
    result.raise_for_status()
    [run] = result.runs
    assert run.cold is not None and run.cold.facts is not None
    assert run.warm is not None and run.warm.facts is not None
    assert run.cold.facts.counters["vllm.num_compiled_artifacts_saved"] == 3
    assert run.warm.facts.counters["vllm.num_compiled_artifacts_loaded"] == 3
    assert [again.verdict for again in coldwarm.judge(tmp_path / "out").runs] == [run.verdict]


def test_installed_coldwarm_changes_no_other_vllm_process() -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COLDWARM_")}
    program = "from vllm.platforms import current_platform as p; print(type(p).__module__, type(p).__name__)"
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.splitlines()[-1] == "vllm.platforms.cpu CpuPlatform"


_COUNTS = """
import torch
from coldwarm import expect

@torch.compile(backend="aot_eager")
def double(x):
    return x + x

with expect({"torch.aot_autograd.total": 1, "torch.aot_autograd.ok": 1}):
    double(torch.ones(3))
with expect({"torch.aot_autograd.total": 0}):
    double(torch.ones(3))
try:
    with expect({"torch.aot_autograd.total": 5}):
        double(torch.ones(4))
except AssertionError as error:
    print(error)
"""


def test_expect_reads_pytorchs_own_counters() -> None:
    done = subprocess.run([sys.executable, "-c", _COUNTS], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "torch.aot_autograd.total: expected +5" in done.stdout


def test_the_same_start_gives_the_same_counters(
    shared: Shared, cold_start: Callable[[str], StartRecord], warm_start: Callable[[str], StartRecord]
) -> None:
    of_the_suite = shared.first_half.result().runs()["llama-3.1-8b"]
    cold, warm = cold_start("llama-3.1-8b"), warm_start("llama-3.1-8b")
    assert cold.facts is not None and warm.facts is not None
    assert cold.facts.counters == of_the_suite["cold"]["processes"][0]["counters"]
    assert warm.facts.counters == of_the_suite["warm"]["processes"][0]["counters"]
    assert [token.token_id for token in warm.facts.generated] == [
        token["token_id"] for token in of_the_suite["warm"]["facts"]["generated"]
    ]
