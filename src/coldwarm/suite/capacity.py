"""How many runs fit on this machine side by side: by its cores, its memory, and that of its GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from coldwarm.core.case import Case
from coldwarm.core.depth import Depth
from coldwarm.core.model_entry import Memory

XDIST_WORKERS = "PYTEST_XDIST_WORKER_COUNT"
"""Set by pytest-xdist in each of its workers (xdist/remote.py), and inherited by what they start."""

# What a start of a model is taken to need that was never measured: more than any of the catalog's did.
_UNKNOWN = {"cpu": Memory(host=4.0), "cuda": Memory(host=3.0, device=10.0)}
# GiB that a process is taken to need of a GPU beside what PyTorch reserves, for CUDA's context and libraries: an
# allowance, not measured by itself. Eight starts whose peaks add up to 27 GiB took 23 GiB of an H100 at one time.
_CONTEXT = 1.5
# GiB of a fork server, a process that has vLLM imported; there is one for each environment. On a CPU, as measured on
# 2026-11-25 (vLLM 0.32, torch 2.13, depth full). On a GPU it was not measured: less than a start at depth count takes,
# 1.4 to 1.5.
_FORK_SERVER = {"cpu": 0.62, "cuda": 1.4}
# Of that, what a worker that it forked still shares with it at its peak (llama-3.1-8b, the same day), and what the
# worker's resident memory, by which runs are planned, has in it as well. On a GPU it was not measured.
_SHARED = {"cpu": 0.26, "cuda": 0.0}
# Of what is free; the rest is for the launcher, and for what else goes on.
_USABLE = 0.9
_GIB = 2**30


def fitting_jobs(cases: Sequence[Case]) -> int:
    """How many of `cases` to run at one time, at least 1: one a core, if the hungriest together fit into memory.

    Fork servers count as if starts were forked, as they are by default. In a worker of pytest-xdist, cores and memory
    are divided by the number of workers.

    One, where that cannot be known: options of the user's may make a model any size.
    """
    if any(case.options or case.warm_changes.options for case in cases):
        return 1
    needs = [_need(case) for case in cases if case.entry.unsupported_on(case.device, case.compilation) is None]
    host = sorted((need.host for need in needs), reverse=True)
    workers = xdist_workers()
    servers, shared = _fork_servers(cases), min((_SHARED[case.device] for case in cases), default=0.0)
    fitting = min(cores(), _that_fit(host, _free_host_gib() / workers, servers=servers, shared=shared), len(needs))
    device = sorted((need.device for need in needs if need.device is not None), reverse=True)
    if device:
        free = (_free_device_gib() or 0) / workers
        fitting = min(fitting, _that_fit([need + _CONTEXT for need in device], free))
    return max(1, fitting)


def _need(case: Case) -> Memory:
    return case.entry.memory_of_run(case.device, case.aot_artifact) or _UNKNOWN[case.device]


def _fork_servers(cases: Sequence[Case]) -> float:
    """GiB of all fork servers that starts of the `cases` are forked from, one for each environment."""
    environments = set()
    for case in cases:
        if case.entry.unsupported_on(case.device, case.compilation) is None:
            same = case.device, case.engine, case.depth, case.compilation, case.aot_artifact
            environments.add((*same, frozenset[tuple[str, str]]()))
            if case.depth is not Depth.TRACE:  # which has no warm start
                environments.add((*same, frozenset(case.warm_changes.environment.items())))
    return sum(_FORK_SERVER[device] for device, *_ in environments)


def _that_fit(needs: Sequence[float], free: float, *, servers: float = 0.0, shared: float = 0.0) -> int:
    """How many of `needs`, from the first on, `free` takes beside the `servers`, which each need has `shared` of."""
    for number in range(len(needs)):
        more = max(0.0, servers - (number + 1) * shared)
        if sum(needs[: number + 1]) + more > _USABLE * free:
            return number
    return len(needs)


def xdist_workers() -> int:
    """How many workers of pytest-xdist share this machine, this process among them; 1 outside of it."""
    number = os.environ.get(XDIST_WORKERS, "")
    return max(1, int(number)) if number.isdigit() else 1


def cores() -> int:
    """How many cores this process may use; its share of them in a worker of pytest-xdist."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _cgroup("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        found = min(found, max(1, int(quota) // int(period)))
    return max(1, found // xdist_workers())


def _free_host_gib() -> float:
    free = float(psutil.virtual_memory().available)
    limit, used = _cgroup("memory.max"), _cgroup("memory.current")
    if limit.isdigit() and used.isdigit():
        free = min(free, int(limit) - int(used) + _files_in_memory())
    return free / _GIB


def _files_in_memory() -> int:
    """Bytes that the container is charged for what it has read and written, and that Linux takes back when needed."""
    for line in _cgroup("memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file" and value.isdigit():
            return int(value)
    return 0


def _cgroup(name: str) -> str:
    """A limit of the container that this runs in (Linux, cgroup 2); empty where there is none."""
    try:
        return Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return ""


def _free_device_gib() -> float | None:
    """What is free on the GPU that starts use, the first visible; None where that cannot be told."""
    if shutil.which("nvidia-smi") is None:
        return None
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    query = ["nvidia-smi", f"--id={first}", "--query-gpu=memory.free", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(query, capture_output=True, text=True, check=False, timeout=30).stdout.strip()
    except subprocess.TimeoutExpired:
        return None
    # In MiB.
    return int(answer) / 1024 if answer.isdigit() else None
