"""Starts of commands: a vLLM server, a script with vLLM, and a program with torch.compile."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.real.runs import COLDWARM, ENVIRONMENT, PATIENCE_SECONDS, Finished, Running, run

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
from torch._inductor.cpu_vec_isa import pick_vec_isa
from vllm import LLM

if __name__ == "__main__":
    # In one thread: PyTorch's check of the CPU's instructions is not thread-safe, and its result is part of keys.
    pick_vec_isa()
    LLM(
        os.environ["MODEL"],
        load_format="dummy",
        skip_tokenizer_init=True,
        max_model_len=256,
        max_num_batched_tokens=1024,
        max_num_seqs=4,
        num_gpu_blocks_override=64,
        kv_cache_memory_bytes=256 * 2**20,
        gpu_memory_utilization=0.05,
        additional_config={"worker": os.environ["WORKER"]},
    )
"""


@dataclass
class Served:
    """A run of a server."""

    finished: Finished
    left: list[psutil.Process]
    """Processes with its address in their command line that were alive afterwards."""


@dataclass
class Watched:
    """One start under ``coldwarm watch --expect warm``."""

    exit_code: int
    report: str


def serve(folder: Path) -> Served:
    """Run a server with two ranks cold and warm, with piecewise compilation."""
    server = Server(folder, "--tensor-parallel-size", "2")
    options = ("--compilation=piecewise", *server.options)
    return server.ended(run(folder, *options, environment={"VLLM_CPU_OMP_THREADS_BIND": "0|1"}, command=server.command))


def serve_as_shipped(folder: Path) -> Served:
    """Run a server of two layers cold and warm, as vLLM compiles on a CPU. It listens on a Unix socket."""
    server = Server(folder, layers=2, unix_socket=folder / "socket")
    return server.ended(run(folder, *server.options, command=server.command))


def kill_a_rank(folder: Path) -> Served:
    """Run a server and kill the process that compiles the model, in the middle of that."""
    server = Server(folder, layers=2)
    running = Running(folder, *server.options, command=server.command)
    running.wait_for("llama cold: compile")
    [worker] = [process for process in running.processes() if process.name().startswith("VLLM::Worker")]
    running.wait_for_report(worker.pid, rank=0)
    worker.kill()
    return server.ended(running.finish())


class Server:
    """The command line of a server with a small model.

    Args:
        folder: Where the model is written.
        arguments: Further arguments.
        layers: The number of its layers; None: that of the catalog's entry.
        unix_socket: The Unix socket on which it listens; None: a free port.
    """

    options = (f"--timeout={PATIENCE_SECONDS:g}", "--report=json=-")

    def __init__(
        self, folder: Path, *arguments: str, layers: int | None = None, unix_socket: Path | None = None
    ) -> None:
        self._address = _free_port() if unix_socket is None else str(unix_socket)
        self.command = (
            *(sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", _model(folder, layers)),
            *("--load-format", "dummy", "--skip-tokenizer-init", "--max-model-len", "256", "--max-num-seqs", "4"),
            *("--max-num-batched-tokens", "1024", "--num-gpu-blocks-override", "64"),
            # Independent of the memory of the machine.
            *("--kv-cache-memory-bytes", str(256 * 2**20), "--gpu-memory-utilization", "0.05"),
            *("--port" if unix_socket is None else "--uds", self._address, *arguments),
        )

    def ended(self, finished: Finished) -> Served:
        """Return the run, with what it left."""
        processes = psutil.process_iter(["cmdline"])
        left = [process for process in processes if self._address in (process.info["cmdline"] or ())]
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
        **ENVIRONMENT,
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


def _model(folder: Path, layers: int | None = None) -> str:
    subprocess.run([COLDWARM, "show", "llama-3.1-8b", "--write", folder / "llama"], check=True, capture_output=True)
    config = folder / "llama" / "config.json"
    if layers is not None:
        config.write_text(json.dumps({**json.loads(config.read_text()), "num_hidden_layers": layers}))
    return str(folder / "llama")


def _free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])
