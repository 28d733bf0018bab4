from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from coldwarm.core.cache_files import CacheContent, FileChange
from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.record import Failure, Outcome, StartKind, StartRecord
from coldwarm.diagnose.explanation import explain
from coldwarm.diagnose.misses import miss_findings
from tests.support.explanations import evidences, keys, load_failure, write_keys, write_trace
from tests.support.graphs import Compiled, first_code, last_code, layer_code, model_records, timed_trace
from tests.support.records import cold_facts, cold_record, unfinished_record

SITE, CACHES = "/opt/venv/lib/python3.11/site-packages", "/tmp/coldwarm-x/llama/caches"
FOLDER = "vllm/torch_compile_cache/f72dfdc060/rank_0_0/backbone"
INDEX = f"{FOLDER}/vllm_compile_cache.py"
ARTIFACTS = [f"{FOLDER}/artifact_compile_range_1_1024_subgraph_{n}" for n in (0, 1, 8)]
AOT = "vllm/torch_compile_cache/torch_aot_compile/f58de3"
FUNCTION, MODULE = f"{AOT}/rank_0_0/model", f"{AOT}/inductor_cache/id/cidz2.py"
WRITTEN = [INDEX, *ARTIFACTS, FUNCTION, MODULE]


def traceback(*frames: str, error: str) -> str:
    """Return a traceback of these frames, each ``file:line function``, outermost first."""
    lines = ["Traceback (most recent call last):"]
    for each in ("vllm/entrypoints/llm.py:342 __init__", *frames):
        where, function = each.split(" ")
        file, line = where.rsplit(":", 1)
        file = file if file.startswith(("/", "<")) else f"{SITE}/{file}"
        lines += [f'  File "{file}", line {line}, in {function}', "    call()", "    ^^^^^^"]
    return "\n".join([*lines, error, ""])


# Failures measured with vLLM 0.32 and separate artifacts: the frames that matter.
BACKEND = "vllm/compilation/backends.py:1234 __call__"
BAD_INDEX = traceback(
    "vllm/compilation/wrapper.py:185 aot_compile",
    BACKEND,
    "vllm/compilation/backends.py:194 initialize_cache",
    "/usr/lib/python3.11/ast.py:64 literal_eval",
    error='  File "<unknown>", line 5\n    "x\n    ^\nSyntaxError: unterminated string literal (detected at line 5)',
)
LOADING = [
    BACKEND,
    "vllm/compilation/backends.py:289 compile",
    "vllm/compilation/backends.py:253 load",
    "vllm/compilation/compiler_interface.py:422 load",
    "torch/_inductor/standalone_compile.py:93 load",
]
BAD_ARTIFACT = traceback(*LOADING, error="RuntimeError: Bytes object is corrupted, checksum does not match.")
BAD_MODULE = traceback(
    *LOADING,
    "torch/_inductor/codecache.py:1969 cache_hit_post_compile",
    "torch/_inductor/output_code.py:970 after_deserialization",
    "torch/_inductor/codecache.py:4622 load_by_key_path",
    "torch/_inductor/runtime/compile_tasks.py:29 _reload_python_module",
    error=f"RuntimeError: Failed to import {CACHES}/{MODULE}\nSyntaxError: unterminated triple-quoted string (line 1)",
)
RUNNING = traceback(
    f"{CACHES}/{MODULE}:77 call",
    "torch/_ops.py:900 __call__",
    error="RuntimeError: CUDA error: no kernel image is available for execution on the device",
)
COMPILING = [
    "vllm/compilation/compiler_interface.py:385 compile",
    "torch/_inductor/compile_fx.py:1700 fx_codegen_and_compile",
    "torch/_inductor/graph.py:2500 compile_to_module",
]


def cold(**fields: Any) -> StartRecord:
    facts = cold_facts(hardware={"cpu": "EPYC 9V74"})
    return cold_record(
        files_written=WRITTEN, facts=facts, began=datetime(2026, 11, 25, 18, 3, 12, tzinfo=UTC), **fields
    )


def crashed(text: str | None, what: str | None = None, **fields: Any) -> StartRecord:
    """Return a warm start that ended with this traceback."""
    last = (text or "").strip().splitlines()[-1:]
    failure = Failure(
        what=what or last[0], phase=fields.pop("phase", "compile"), traceback=text, log_tail=fields.pop("log", [])
    )
    return unfinished_record(StartKind.WARM, failure=failure, **fields)


def damaged(path: str) -> FileChange:
    return FileChange(path=path, how="truncated", bytes_due=1277, bytes_found=638)


def findings(warm: StartRecord, written: StartRecord | None = None) -> list[Finding]:
    return miss_findings(written or cold(), warm, evidences(keys(), keys(environment={"VLLM_USE_V1": "False"})))


@pytest.mark.parametrize(
    ("text", "artifact", "where"),
    [
        (BAD_INDEX, INDEX, "vllm/compilation/backends.py:194"),
        (BAD_MODULE, MODULE, "torch/_inductor/output_code.py:970"),
        (
            BAD_ARTIFACT,
            "one of 3 files in vllm/torch_compile_cache/f72dfdc060",
            "torch/_inductor/standalone_compile.py:93",
        ),
    ],
    ids=["index", "generated module", "artifact"],
)
def test_a_crash_while_loading_comes_first_and_is_not_blamed_on_the_key(text: str, artifact: str, where: str) -> None:
    [finding] = findings(crashed(text))
    error = text.strip().splitlines()[-1] if "Failed to import" not in text else finding.what.split(": ", 1)[1]
    assert finding.kind is FindingKind.LOAD_FAILED
    assert finding.what == f"the warm start crashed loading {artifact} from its cache: {error}"
    assert finding.where == f"{SITE}/{where}"
    assert [(each.file, each.record.split(" (")[0]) for each in finding.evidence[:1]] == [
        ("warm.json", f"failure.traceback: {text.split(where.rsplit(':', 1)[1] + ', in ')[1].split()[0]}")
    ]


def test_the_finding_names_the_writer_and_the_settings_that_differ() -> None:
    warm = crashed(BAD_INDEX, caches_changed=[damaged(INDEX)], options={"additional_config": {"x": 1}})
    finding, damage = findings(warm)
    assert damage.kind is FindingKind.CACHE_DAMAGED
    assert finding.details == [
        "the file is truncated: 638 of 1277 bytes",
        "written by the cold start of 2026-11-25 18:03:12 UTC with vllm 0.32.0, torch 2.13.0+cpu, python 3.11.9 "
        "on cpu (EPYC 9V74)",
        "read with a different setting: additional_config.x was unset, is 1",
        "read with a different setting: VLLM_USE_V1 was True, is False",
    ]
    assert finding.next is not None and finding.next.startswith(
        "delete vllm/torch_compile_cache/f72dfdc060 and start cold again"
    )


@pytest.mark.parametrize(
    ("path", "folder"),
    [(MODULE, AOT), (FUNCTION, AOT), ("inductor/id/cidz2.py", "inductor/id")],
    ids=["generated module", "function", "separate cache"],
)
def test_the_advice_is_to_delete_everything_under_the_same_key(path: str, folder: str) -> None:
    text = traceback(f"{CACHES}/{path}:7 call", error="ValueError: no")
    [finding] = findings(crashed(text), cold().model_copy(update={"files_written": [path]}))
    assert finding.next is not None and finding.next.startswith(f"delete {folder} and start cold again")


def test_equal_settings_are_reported_as_equal() -> None:
    [finding] = miss_findings(cold(), crashed(BAD_INDEX), evidences())
    assert finding.details[-1] == "read with the same settings as when it was written"


def test_the_remaining_lines_of_the_exception_are_details() -> None:
    [finding] = findings(crashed(BAD_MODULE, f"RuntimeError: Failed to import {CACHES}/{MODULE}"))
    assert finding.details[-1] == "SyntaxError: unterminated triple-quoted string (line 1)"


def test_of_several_artifacts_the_damaged_one_was_loaded() -> None:
    warm = crashed(BAD_ARTIFACT, caches_changed=[damaged(ARTIFACTS[1])])
    assert f"crashed loading {ARTIFACTS[1]} from its cache" in findings(warm)[0].what


def test_a_crash_in_a_loaded_module_names_it() -> None:
    [finding] = findings(crashed(RUNNING))
    assert finding.what == (
        f"the warm start crashed in {MODULE}, which it had loaded from its cache: "
        "RuntimeError: CUDA error: no kernel image is available for execution on the device"
    )
    assert finding.where == f"{CACHES}/{MODULE}:77"


def test_a_new_file_was_not_written_by_any_start() -> None:
    change = FileChange(path="vllm/x/evil.py", how="new", bytes_due=0, bytes_found=5)
    text = traceback(f"{CACHES}/vllm/x/evil.py:1 <module>", error="NameError: x")
    assert "not written by any start of this run" in findings(crashed(text, caches_changed=[change]))[0].details


@pytest.mark.parametrize(
    "text",
    [
        traceback(BACKEND, *COMPILING, error="RuntimeError: no kernel"),
        traceback(*LOADING[:2], *COMPILING, f"{CACHES}/{MODULE}:1 <module>", error="KeyError"),
        traceback("vllm/model_executor/models/llama.py:541 forward", error="ValueError: no"),
        traceback(f"{CACHES}/{AOT}/inductor_cache/own/own.py:3 call", error="ValueError: no"),
    ],
    ids=["compiling", "a module just compiled", "elsewhere", "a file that it wrote"],
)
def test_a_crash_elsewhere_is_not_a_crash_while_loading(text: str) -> None:
    own = [f"{AOT}/inductor_cache/own/own.py", *([MODULE] if "compile_fx" in text else [])]
    found = findings(crashed(text, files_written=own))
    assert [each.kind for each in found] == [FindingKind.KEY_CHANGED]


def test_compiling_within_a_load_is_not_loading() -> None:
    # The innermost of the two counts.
    text = traceback(
        "vllm/compilation/decorators.py:320 _try_load_aot_compiled_fn", *COMPILING, error="RuntimeError: no"
    )
    assert findings(crashed(text))[0].kind is FindingKind.KEY_CHANGED


def test_loading_within_a_compilation_is_loading() -> None:
    text = traceback(*COMPILING[:2], "torch/_inductor/codecache.py:2108 _lookup_graph", error="EOFError: no")
    assert findings(crashed(text))[0].kind is FindingKind.LOAD_FAILED


@pytest.mark.parametrize(
    ("outcome", "what", "words"),
    [
        (Outcome.CRASHED, "the process was killed by SIGSEGV", "the warm start crashed loading"),
        (Outcome.TIMED_OUT, "still running after 300 s, killed", "the warm start was still loading"),
    ],
)
def test_a_start_killed_during_its_cache_load_names_the_saved_function(outcome: Outcome, what: str, words: str) -> None:
    [finding] = findings(crashed(None, what, phase="cache load", outcome=outcome))
    assert finding.what == f"{words} {FUNCTION} from its cache: {what}"
    assert [each.record for each in finding.evidence] == ["failure.phase: cache load", what]
    assert findings(crashed(None, what, phase="compile", outcome=outcome))[0].kind is FindingKind.KEY_CHANGED


def test_a_faulthandler_stack_in_the_log_is_read_newest_first() -> None:
    log = [
        "Fatal Python error: Segmentation fault",
        "",
        "Current thread 0x00007f0 (most recent call first):",
        f'  File "{SITE}/torch/_inductor/standalone_compile.py", line 93 in load',
        f'  File "{SITE}/torch/_inductor/compile_fx.py", line 1700 in fx_codegen_and_compile',
    ]
    [finding] = findings(crashed(None, "the process was killed by SIGSEGV", log=log))
    assert finding.where == f"{SITE}/torch/_inductor/standalone_compile.py:93"


def test_a_failure_to_load_that_the_engine_survived_is_reported_next_to_the_crash() -> None:
    messages = [load_failure("KeyError: 'other'")]
    assert [each.kind for each in findings(crashed(BAD_INDEX, messages=messages))] == [FindingKind.LOAD_FAILED] * 2
    same = [load_failure("unterminated string literal (detected at line 5)")]
    assert len(findings(crashed(BAD_INDEX, messages=same))) == 1


def test_the_crash_is_the_first_finding_of_the_run(tmp_path: Path) -> None:
    layers = [Compiled(layer_code(n, scale=f"{n}.5"), f"k{n}") for n in range(2)]
    subgraphs = [Compiled(first_code(), "first"), *layers, Compiled(last_code(9), "last")]
    write_trace(tmp_path / "warm.trace")
    (tmp_path / "cold.trace").mkdir()
    (tmp_path / "cold.trace" / "t_rank_0_a.log").write_text(timed_trace(model_records(*subgraphs)))
    write_keys(tmp_path, keys(), keys(environment={"VLLM_USE_V1": "False"}))
    kinds = [each.kind for each in explain(tmp_path, cold(), crashed(BAD_INDEX)).findings]
    assert kinds == [FindingKind.LOAD_FAILED, FindingKind.NOT_SHARED]


@pytest.mark.parametrize("files", [0, 3])
def test_a_cold_start_can_load_only_if_its_caches_were_not_empty(tmp_path: Path, files: int) -> None:
    failure = Failure(what="EOFError", phase="compile", traceback=BAD_ARTIFACT)
    before = {"vllm": CacheContent(files=files, bytes=9)}
    found = explain(tmp_path, unfinished_record(failure=failure, caches_before=before), None).findings
    assert [each.kind for each in found] == ([FindingKind.LOAD_FAILED] if files else [])
