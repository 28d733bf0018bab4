"""Starts of commands: a vLLM server, a script with vLLM, and a program with torch.compile."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.real.runs import COLDWARM, PATIENCE_SECONDS, Finished, run

TWO_FUNCTIONS = """
import os, torch

@torch.compile
def first(x):
    return torch.sin(x) * 2

@torch.compile
def second(x):
    return torch.cos(x) + float(os.environ.get("SCALE", "1"))

print(first(torch.ones(8)).sum(), second(torch.ones(8)).sum())
"""
GENERATE = """
import json, os
from vllm import LLM

if __name__ == "__main__":
    LLM(
        os.environ["MODEL"],
        load_format="dummy",
        skip_tokenizer_init=True,
        max_model_len=256,
        max_num_batched_tokens=1024,
        max_num_seqs=4,
        num_gpu_blocks_override=64,
        gpu_memory_utilization=0.1,
        additional_config={"worker": os.environ["WORKER"]},
    )
"""


@dataclass
class Served:
    """A run of a server."""

    finished: Finished
    left: list[psutil.Process]
    """Processes with its port in their command line that were alive afterwards."""


@dataclass
class Watched:
    """One start under ``coldwarm watch --expect warm``."""

    exit_code: int
    report: str


def serve(folder: Path) -> Served:
    """Run a server cold and warm."""
    port = _free_port()
    server = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", _model(folder)]
    server += ["--load-format", "dummy", "--skip-tokenizer-init", "--max-model-len", "256", "--max-num-seqs", "4"]
    server += ["--max-num-batched-tokens", "1024", "--num-gpu-blocks-override", "64", "--gpu-memory-utilization", "0.1"]
    server += ["--port", port]
    # vLLM puts sockets below TMPDIR, whose paths may have 107 characters.
    options = ("--compilation=piecewise", f"--timeout={PATIENCE_SECONDS:g}", "--report=json=-")
    finished = run(folder, *options, environment={"TMPDIR": "/tmp"}, command=tuple(server))
    left = [process for process in psutil.process_iter(["cmdline"]) if port in (process.info["cmdline"] or ())]
    return Served(finished, left)


def compile_two_functions(folder: Path) -> Finished:
    """Run a program whose second function has another key in the warm start."""
    folder.mkdir()
    program = folder / "two.py"
    program.write_text(TWO_FUNCTIONS)
    return run(folder, "--warm-env=SCALE=2", "--report=json=-", command=(sys.executable, str(program)))


def watch(folder: Path) -> list[Watched]:
    """Start a script three times with one cache of the user: cold, warm, and with two other settings."""
    model = _model(folder)
    program = folder / "generate.py"
    program.write_text(GENERATE)
    environment = {
        **os.environ,
        "HOME": str(folder / "home"),
        "VLLM_CACHE_ROOT": str(folder / "vllm"),
        "TORCHINDUCTOR_CACHE_DIR": str(folder / "inductor"),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "MODEL": model,
    }
    starts = []
    for changed in ({"WORKER": "1"}, {"WORKER": "1"}, {"WORKER": "2", "VLLM_DISABLE_LOG_LOGO": "1"}):
        done = subprocess.run(
            [COLDWARM, "watch", "--compilation=piecewise", "--expect=warm", "--", sys.executable, str(program)],
            env={**environment, **changed},
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        starts.append(Watched(done.returncode, done.stderr))
    return starts


def _model(folder: Path) -> str:
    subprocess.run([COLDWARM, "show", "llama-3.1-8b", "--write", folder / "llama"], check=True, capture_output=True)
    return str(folder / "llama")


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])
