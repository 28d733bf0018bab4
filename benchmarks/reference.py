"""Cold and warm starts the way vLLM's own tests make them (tests/compile/h100/test_startup.py), for coldwarm's catalog.

One parent imports vLLM; for each model, one after the other, a forked child starts it cold and another starts it warm;
nothing is traced, nothing is generated, and all there is to see are the numbers of artifacts saved and loaded. Each
model has caches of its own (vLLM's, Inductor's, Triton's); what else is kept below the temporary folder is shared, as
on one machine.

python benchmarks/reference.py RESULT.json [MODEL...]

Called again with a RESULT.json that is there, it makes the runs that are missing: of "seconds" each start counts once,
and so does importing vLLM.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.case import Case
from coldwarm.core.depth import Depth
from coldwarm.core.variables import TOKEN_VARIABLE
from coldwarm.engines.worker import die_with
from coldwarm.launch.caches import CACHE_VARIABLES
from coldwarm.suite.plan import plan


def main() -> None:
    """Make the starts, and write what each saved, loaded and took; what is done is kept when a later one fails."""
    result, models = Path(sys.argv[1]), sys.argv[2:]
    began = time.monotonic()
    cases = [
        case
        for case in plan(Catalog.read(), models)
        if case.entry.unsupported_on(case.device, case.compilation) is None
    ]
    with tempfile.TemporaryDirectory(prefix="reference-", ignore_cleanup_errors=True) as folder:
        _set_environment(Path(folder))
        # With all that `from vllm import LLM` brings, which the tests have before they fork.
        importlib.import_module("vllm.entrypoints.llm")
        done: dict[str, Any] = {"import_s": time.monotonic() - began, "starts": []}
        if result.exists():
            done = json.loads(result.read_text())
        made = {start["model"] for start in done["starts"] if start["kind"] == "warm"}
        # Of a cold start that was the last, the caches are gone.
        done["starts"] = [start for start in done["starts"] if start["model"] in made]
        for case in (case for case in cases if case.name not in made):
            for kind in ("cold", "warm"):
                start = _forked(case, kind, Path(folder))
                print(f"{case.name} {kind}: {start}", flush=True)
                done["starts"].append({"model": case.name, "kind": kind, **start})
                result.write_text(json.dumps(done, indent=1))
    done["seconds"] = done["import_s"] + sum(start["seconds"] for start in done["starts"])
    result.write_text(json.dumps(done, indent=1))
    print(f"all: {done['seconds']:.1f} s")


def _set_environment(folder: Path) -> None:
    from coldwarm.engines.base import load_installation

    for name, value in load_installation("vllm").environment(Depth.FULL, None, {}).items():
        os.environ.setdefault(name, value)
    for name in CACHE_VARIABLES:
        os.environ.pop(name, None)
    for name in ("tmp", "home"):
        (folder / name).mkdir()
    # coldwarm's platform plugin keeps piecewise compilation on on a CPU, in processes that are marked as its own.
    os.environ.update(
        {"COLDWARM_COMPILATION": "piecewise", TOKEN_VARIABLE: "reference"},
        TMPDIR=str(folder / "tmp"),
        HOME=str(folder / "home"),
    )


def _forked(case: Case, kind: str, folder: Path) -> dict[str, Any]:
    began = time.monotonic()
    read_end, write_end = os.pipe()
    sys.stdout.flush()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        try:
            # A start that goes on alone would slow down whatever is measured next.
            die_with(parent)
            os.write(write_end, json.dumps(_start(case, folder / case.name, kind)).encode())
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end, "rb") as pipe:
        content = pipe.read()
    os.waitpid(child, 0)
    if not content:
        raise SystemExit(f"{case.name} {kind} failed; its log is above")
    return {**json.loads(content), "seconds": round(time.monotonic() - began, 2)}


def _start(case: Case, folder: Path, kind: str) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(case.config))
    for variable, name in (
        ("VLLM_CACHE_ROOT", "vllm"),
        ("TORCHINDUCTOR_CACHE_DIR", "inductor"),
        ("TRITON_CACHE_DIR", "triton"),
    ):
        os.environ[variable] = str(folder / name)
    log = os.open(folder / f"{kind}.log", os.O_CREAT | os.O_WRONLY)
    os.dup2(log, 1)

    from vllm import LLM
    from vllm.compilation.counter import compilation_counter

    from coldwarm.core.request import StartRequest
    from coldwarm.engines.vllm.worker import _options

    request = StartRequest(
        engine=case.engine,
        device=case.device,
        compilation=case.compilation,
        model_folder=folder,
        overrides=case.overrides,
        options={},
        result=folder,
        reports=folder,
        launcher_pid=0,
        events_fd=0,
    )
    options = _options(request)
    # Which coldwarm sets lower, as vLLM's tests do not.
    del options["max_num_seqs"]
    LLM(**options, load_format="dummy")
    return {
        "saved": compilation_counter.num_compiled_artifacts_saved,
        "loaded": compilation_counter.num_compiled_artifacts_loaded,
    }


if __name__ == "__main__":
    main()
