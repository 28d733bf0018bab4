"""Determines how many runs can execute in parallel: by cores, memory, and GPU memory."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import psutil

from coldwarm.core.case import Case
from coldwarm.core.model_entry import Memory

XDIST_WORKERS = "PYTEST_XDIST_WORKER_COUNT"
"""Set by pytest-xdist in each of its workers (xdist/remote.py), and inherited by their child processes."""

# Memory that is assumed for a model without measurements: more than any model of the catalog needs.
_UNKNOWN = {"cpu": Memory(host=4.0), "cuda": Memory(host=3.0, device=10.0)}
# GiB of GPU memory that is assumed for a process in addition to what PyTorch reserves: CUDA's context and libraries.
# An estimate. Eight parallel starts whose peaks add up to 27 GiB used 23 GiB of an H100.
_CONTEXT = 1.5
# GiB of a fork server, a process that has imported vLLM; there is one for each environment. On a CPU, measured on
# 2026-11-25 (vLLM 0.32, torch 2.13, depth full). On a GPU, not measured: less than a start at depth count, 1.4 to 1.5.
_FORK_SERVER = {"cpu": 0.62, "cuda": 1.4}
# The part of it that a forked worker still shares at its peak (llama-3.1-8b, the same day), and that is included in
# the worker's resident memory, by which runs are planned. On a GPU, not measured.
_SHARED = {"cpu": 0.26, "cuda": 0.0}
# The usable part of free memory; the rest is for the launcher and other processes.
_USABLE = 0.9
_GIB = 2**30


def fitting_jobs(cases: Sequence[Case]) -> int:
    """Return how many of `cases` fit at the same time, at least 1.

    That is one for each core, if those that need most memory fit together. Memory of fork servers is included, because
    starts are forked by default. In a pytest-xdist worker, cores and memory are divided by the number of workers. With
    options of the user it is 1, because they can make a model of any size.
    """
    if any(case.options or case.warm_changes.options for case in cases):
        return 1
    needs = [_need(case) for case in cases if case.entry.unsupported_on(case.device, case.compilation) is None]
    host = sorted((need.host for need in needs), reverse=True)
    workers = xdist_workers()
    servers, shared = _fork_servers(cases), min((_SHARED[case.device] for case in cases), default=0.0)
    fitting = min(cores(), _fitting(host, _free_host_gib() / workers, servers=servers, shared=shared), len(needs))
    device = sorted((need.device for need in needs if need.device is not None), reverse=True)
    if device:
        free = (_free_device_gib() or 0) / workers
        fitting = min(fitting, _fitting([need + _CONTEXT for need in device], free))
    return max(1, fitting)


def _need(case: Case) -> Memory:
    return case.entry.memory_of_run(case.device, case.aot_artifact) or _UNKNOWN[case.device]


def _fork_servers(cases: Sequence[Case]) -> float:
    """Return the GiB of all fork servers for `cases`, one for each environment."""
    environments = set()
    for case in cases:
        if case.entry.unsupported_on(case.device, case.compilation) is None:
            same = case.device, case.engine, case.depth, case.compilation, case.aot_artifact
            environments.add((*same, frozenset[tuple[str, str]]()))
            if case.depth.level.has_artifacts:  # else there is no warm start
                environments.add((*same, frozenset(case.warm_changes.environment.items())))
    return sum(_FORK_SERVER[device] for device, *_ in environments)


def _fitting(needs: Sequence[float], free: float, *, servers: float = 0.0, shared: float = 0.0) -> int:
    """Return how many of the first `needs` fit into `free` together with `servers`; each shares `shared` with them."""
    for number in range(len(needs)):
        more = max(0.0, servers - (number + 1) * shared)
        if sum(needs[: number + 1]) + more > _USABLE * free:
            return number
    return len(needs)


def xdist_workers() -> int:
    """Return how many pytest-xdist workers share this machine, including this process; 1 without pytest-xdist."""
    number = os.environ.get(XDIST_WORKERS, "")
    return max(1, int(number)) if number.isdigit() else 1


def cores() -> int:
    """Return how many cores this process may use; in a pytest-xdist worker, its share of them."""
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
    """Return the bytes of cached files that are charged to the container, and that Linux reclaims when needed."""
    for line in _cgroup("memory.stat").splitlines():
        name, _, value = line.partition(" ")
        if name == "inactive_file" and value.isdigit():
            return int(value)
    return 0


def _cgroup(name: str) -> str:
    """Return a limit or counter of this container (Linux, cgroup 2); empty if there is none."""
    try:
        return Path("/sys/fs/cgroup", name).read_text().strip()
    except OSError:
        return ""


def _free_device_gib() -> float | None:
    """Return the free GiB of the GPU that starts use, the first visible one; None if unknown."""
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
