"""The functions that load what vLLM has cached, and the paths of the files (vLLM 0.26 to 0.33)."""

from __future__ import annotations

import re

FUNCTION_FILE = r"/model$"
"""Matches the path of a saved AOT-compiled function."""
_INDEX, _ARTIFACT = r"/vllm_compile_cache\.py$", r"/artifact_compile_range_[^/]*"

LOADING: dict[tuple[str, str], str | None] = {
    ("vllm/compilation/decorators.py", "_try_load_aot_compiled_fn"): FUNCTION_FILE,
    ("vllm/compilation/decorators.py", "_verify_source_unchanged"): FUNCTION_FILE,
    ("vllm/compilation/caching.py", "deserialize_compile_artifacts"): FUNCTION_FILE,
    ("vllm/compilation/caching.py", "deserialize_graph_module"): FUNCTION_FILE,
    ("vllm/compilation/caching.py", "reconstruct_serializable_fn_from_mega_artifact"): FUNCTION_FILE,
    ("vllm/compilation/caching.py", "load_all"): FUNCTION_FILE,
    ("vllm/compilation/caching.py", "_load_entry"): FUNCTION_FILE,
    ("vllm/compilation/backends.py", "initialize_cache"): _INDEX,
    ("vllm/compilation/backends.py", "load"): _ARTIFACT,
    ("vllm/compilation/compiler_interface.py", "load"): _ARTIFACT,
    ("vllm/compilation/piecewise_backend.py", "load_all_ranges"): FUNCTION_FILE,
}
"""Functions that load from a cache, each by the end of its file's path and its name, with a pattern of the path that it
reads."""

COMPILING = frozenset({("vllm/compilation/compiler_interface.py", "compile")})
"""Functions that compile; what they load in turn, they have just written."""

KEY_FOLDER = re.compile(r"vllm/torch_compile_cache/(?:torch_aot_compile/)?[^/]+(?=/)")
"""Matches the folder of everything that is cached under one key, from the start of a path below the caches' folder
(vllm/compilation/decorators.py, backends.py)."""
