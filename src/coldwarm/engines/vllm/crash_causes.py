"""Recognizes crashes by which vLLM states that the device, the installation or the config cannot run a model.

Every rule names the type of the exception, the file that raises it, and what its message or its line of code says: an
error that is not exactly one of these is a crash. The files are those of vLLM 0.32, unless said otherwise.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from coldwarm.core.crash_cause import CrashCause, CrashKind
from coldwarm.core.record import Failure, Message, StartRecord

_FRAME = re.compile(r'^ *File "(?P<path>[^"<]+)", line (?P<line>\d+), in ', re.MULTILINE)
_WEIGHTS = "vllm/model_executor/parameter.py"  # in a frame of its own whenever a weight is read
_CPU_ROUTING = r"vllm/model_executor/layers/fused_moe/(router/cpu_router|experts/cpu_moe)\.py"  # the latter until 0.29
_MODELS = r"vllm/(model_executor/models|models|transformers_utils)/.*"

# A package that is missing stops the import of a model's class, which vLLM reports without the reason, and logs it.
_NOT_INSPECTED = "failed to be inspected"
_INSPECTING = "Error in inspecting model architecture"
_MISSING_MODULE = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_REQUIRED = re.compile(r"ImportError: ((?:tilelang|FlashInfer) is required for [^\n]*)")
# If a module of these is missing, the installation is damaged, or the versions do not fit together.
_OWN_PACKAGES = frozenset(("vllm", "torch", "transformers", "coldwarm"))


@dataclass(frozen=True)
class _Rule:
    """One kind of crash."""

    exception: str
    """The name of the exception's type; a pattern."""
    raised_in: str
    """The file of vLLM's innermost frame; a pattern."""
    text: str
    """A pattern that is found in the exception's message or in that frame's line of code."""
    reason: str
    """The reason, with the groups of `text` in braces."""
    kind: CrashKind = CrashKind.DEVICE


_RULES = (
    _Rule(
        "NotImplementedError",
        r"vllm/platforms/cpu\.py",
        r"(Sparse Attention is not supported on CPU\.)",
        "{0}",
    ),
    _Rule(
        # Within a graph that torch.compile captures, the assertion is torch's `Unsupported`.
        "AssertionError|Unsupported",
        _CPU_ROUTING,
        r'assert (?:self\.)?scoring_func == "softmax"',
        "on a CPU, experts are chosen by softmax only, unless they are in groups",
    ),
    _Rule(
        "RuntimeError",
        r"vllm/models/hy_v4/nvidia/attention\.py",
        r"RuntimeError: ([^\n]*no valid sparse MLA backend is available) for current runtime/config",
        "{0}",
    ),
    _Rule(
        "NotImplementedError",
        r"vllm/model_executor/layers/fused_moe/config\.py",
        r"(is_act_and_mul=False is supported only for CUDA, XPU and ROCm) for now",
        "experts without a gate: {0}",
    ),
    _Rule(
        # The CPU build has no selective_scan_fwd. Before it would be called, the mixer reads a weight that a CPU with
        # AVX-512 BF16 has packed for Mamba-2.
        "IndexError",
        r"vllm/model_executor/layers/mamba/mamba_mixer\.py",
        r"self\.conv1d\.weight\.size\(2\)",
        "vLLM has kernels of Mamba-2 for a CPU, but none of Mamba-1",
    ),
    _Rule(
        "AttributeError",
        r"vllm/_custom_ops\.py",
        r"'_OpNamespace' '\w+' object has no attribute '(\w+)'",
        "vLLM's build for this device has no kernel {0}",
    ),
    _Rule(
        "ValueError|ValidationError",
        r"vllm/(platforms/interface|engine/arg_utils)\.py",
        r"(\w+ quantization is currently not supported in \w+)\.",
        "{0}",
    ),
    _Rule(
        "ValueError|ValidationError",
        r"vllm/(config/vllm|engine/arg_utils)\.py",
        r"(The quantization method \S+ is not supported for the current GPU\.[^\n]*)",
        "{0}",
    ),
    _Rule(
        "ValueError|ValidationError",
        r"vllm/(config/vllm|engine/arg_utils)\.py",
        r"(\S+ is not supported for quantization method [^\n]*)",
        "{0}",
    ),
    _Rule(
        "RuntimeError",
        r"vllm/model_executor/layers/quantization/(compressed_tensors/compressed_tensors|quark/quark)\.py",
        r"(Quantization scheme is not supported for the current GPU\.[^\n]*)",
        "{0}",
    ),
    _Rule(
        "NotImplementedError",
        r"vllm/model_executor/layers/fused_moe/oracle/\w+\.py",
        r"(No \w+ MoE backend supports the deployment configuration)",
        "{0}",
    ),
    _Rule(
        "ValueError",
        r"vllm/model_executor/kernels/linear/__init__\.py",
        r"(Failed to find a kernel that can implement the [^\n.]*)",
        "{0}",
    ),
    _Rule(
        "ValueError",
        r"vllm/platforms/cuda\.py",
        r"(No valid attention backend found for [^\n]*)",
        "{0}",
    ),
    _Rule(
        # Of vLLM 0.28.
        "ImportError",
        r"vllm/v1/attention/backends/mla/prefill/flash_attn\.py",
        r"(cannot import name 'compile_flash_attn_varlen_func_from_specs')",
        "on a CPU, this release cannot run models with MLA: {0}",
        CrashKind.RELEASE,
    ),
    _Rule(
        # It looks for Triton kernels in all imported modules, and numba's llvmlite has an object that answers to any
        # attribute. The processor of Kimi's images imports numba, and with it the classes of all Kimi models.
        "AttributeError",
        r"vllm/triton_utils/dispatcher\.py",
        r"('_lib_fn_wrapper' object has no attribute 'get')",
        "on a CPU, this release cannot run models that import numba: {0}",
        CrashKind.RELEASE,
    ),
    _Rule(
        # Of vLLM 0.30, whose replacements of Triton kernels on a CPU are plain functions.
        "TypeError",
        r"vllm/model_executor/warmup/jit_warmup_triton_helper\.py",
        r"TypeError: (Cannot inspect kernel parameters for function)",
        "on a CPU, this release cannot verify the tokens of a drafter: {0}",
        CrashKind.RELEASE,
    ),
    _Rule(
        "AttributeError",
        r"vllm/triton_utils/allocation\.py",
        r"module 'triton' has no attribute 'set_allocator'",
        "vLLM runs this model with kernels of Triton, which is not installed",
    ),
    _Rule(
        "RuntimeError",
        r"vllm/utils/(flashinfer|deep_gemm)\.py",
        r"RuntimeError: ((FlashInfer|DeepGEMM) [^\n]*\b(not available|unavailable)\b[^\n]*)",
        "{0}",
    ),
    _Rule(
        "ImportError",
        r"vllm/(tilelang_utils/__init__|model_executor/layers/mamba/ops/ssu_dispatch)\.py",
        _REQUIRED.pattern,
        "{0}",
    ),
    _Rule(
        "ValidationError|ValueError",
        r"vllm/(model_executor/models/registry|engine/arg_utils)\.py",
        r"(Model architectures? \S+ (is|are) not supported (for now|in-tree anymore)\.)",
        "{0}",
        CrashKind.RELEASE,
    ),
    _Rule(
        "ValidationError|ValueError",
        r"vllm/(model_executor/models/registry|engine/arg_utils)\.py",
        r"(Model architecture \S+ was supported in vLLM until \S+), and is not supported anymore",
        "{0}",
        CrashKind.RELEASE,
    ),
    _Rule(
        "ValidationError|ValueError",
        r"vllm/(transformers_utils/config|engine/arg_utils)\.py",
        r"(The checkpoint you are trying to load has model type `[^`]*` but Transformers does not recognize)",
        "{0} it",
        CrashKind.RELEASE,
    ),
    _Rule(
        "AttributeError",
        _MODELS,
        r"transformers/configuration_utils\.py[\s\S]*'(\w+Config)' object has no attribute '(\w+)'",
        "the config.json has no {1!r}, which vLLM reads for {0}",
        CrashKind.CONFIG,
    ),
    _Rule(
        "ValueError",
        r"vllm/model_executor/models/hy_v3\.py",
        r"ValueError: (\w+) not exist, ?please check config",
        "the config.json has no {0!r}, which vLLM reads",
        CrashKind.CONFIG,
    ),
    _Rule(
        "AssertionError|Unsupported",
        _CPU_ROUTING,
        r"assert (?:self\.)?(topk_group|num_expert_group) is not None",
        "the config.json has no {0!r}, which vLLM reads for experts in groups",
        CrashKind.CONFIG,
    ),
    _Rule(
        "ValidationError",
        r"vllm/engine/arg_utils\.py",
        r"ModelConfig\n *Value error, (Found unknown kwargs=\{[^}]*\})",
        "the config.json is not valid: {0}",
        CrashKind.CONFIG,
    ),
    _Rule(
        "TypeError",
        _MODELS,
        r"\bconfig\.(\w+)\b[^\n]*\n(?:[ ~^]*\n)?TypeError: [^\n]*'NoneType'",
        "the config.json has no {0!r}, which vLLM reads",
        CrashKind.CONFIG,
    ),
    _Rule(
        "ValidationError",
        r"vllm/engine/arg_utils\.py",
        r"ValidationError: [^\n]*ModelConfig\n(total_num_kv_heads)\n[^\n]*input_value=None",
        "the config.json has no value from which vLLM can derive {0!r}",
        CrashKind.CONFIG,
    ),
    _Rule(
        "StrictDataclass(Class|Field)ValidationError",
        r"vllm/transformers_utils/.*",
        r"StrictDataclass\w*Error: [^\n]*\n *([^\n]*)",
        "the config.json is not valid: {0}",
        CrashKind.CONFIG,
    ),
)


def crash_cause(record: StartRecord) -> CrashCause | None:
    """Return the cause of a crashed start; None if it did not crash, or if it is none of those that are known."""
    failure = record.failure
    if failure is None or failure.traceback is None or failure.exception is None:
        return None
    frames = [*_FRAME.finditer(failure.traceback)]
    in_vllm = [(frame, path) for frame in frames if (path := _path_in_vllm(frame["path"])) and path != _WEIGHTS]
    if not in_vllm:
        return None
    frame, path = in_vllm[-1]
    raised_in = f"{path}:{frame['line']}"
    if (reason := _missing_package(failure, record.messages)) is not None:
        return CrashCause(kind=CrashKind.DEVICE, reason=reason, raised_in=raised_in)
    # Below vLLM's frame, only the line of code and the message are compared, not the frames of other packages.
    text = failure.traceback[frame.end() :]
    for rule in _RULES:
        is_raised_there = re.fullmatch(rule.exception, failure.exception) and re.fullmatch(rule.raised_in, path)
        if is_raised_there and (found := re.search(rule.text, text)) is not None:
            return CrashCause(kind=rule.kind, reason=rule.reason.format(*found.groups()), raised_in=raised_in)
    return None


def _path_in_vllm(path: str) -> str | None:
    """Return the path of a file of vLLM from its package's folder on; None: it is no file of vLLM."""
    # In a record that was kept with relative paths, the path may begin there.
    folder, found, inner = f"/{path}".rpartition("/vllm/")
    return f"vllm/{inner}" if found and not folder.endswith("/coldwarm/engines") else None


def _missing_package(failure: Failure, messages: Iterable[Message]) -> str | None:
    """Return the reason of a start that stopped because a package is not installed; None if it did not."""
    text = ""
    if failure.exception == "ModuleNotFoundError":
        # Not if code of the user's imports it.
        importer = [frame["path"] for frame in _FRAME.finditer(failure.traceback or "")][-1]
        text = failure.what if _path_in_vllm(importer) or "/transformers/" in importer else ""
    elif _NOT_INSPECTED in (failure.traceback or ""):
        text = "\n".join(message.exception or "" for message in messages if _INSPECTING in message.text)
    if found := _REQUIRED.findall(text):
        return str(found[-1])
    package = found[-1].partition(".")[0] if (found := _MISSING_MODULE.findall(text)) else None
    if package is None or package in _OWN_PACKAGES:
        return None
    return f"this model needs the Python package {package}, which is not installed"
