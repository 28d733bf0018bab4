"""Reads the keys of the entries in a user's vLLM cache, and adds the components that vLLM does not store.

vLLM stores ``cache_key_factors.json`` with each entry (vllm/compilation/backends.py, `VllmBackend.__call__`; 0.26 to
0.33): the environment variables, and one hash each for its config, the traced sources and the compiler.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from coldwarm.core.cache_keys import CacheEntry, CacheKeys
from coldwarm.core.secrets import masked

_FACTORS = "cache_key_factors.json"
_KEYS = "coldwarm-keys.json"
_MOST_ENTRIES = 100
_HASHES = {"config_hash": "config", "code_hash": "source", "compiler_hash": "compiler"}
HASH = "hash of all its components"
"""The name of a component of which vLLM stores only a hash."""


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Return the folder of the compile cache in a user's `environment` (vllm/envs.py)."""
    home = Path(environment.get("HOME") or Path.home())
    default = Path(environment.get("XDG_CACHE_HOME") or home / ".cache", "vllm")
    return Path(environment.get("VLLM_CACHE_ROOT") or default, "torch_compile_cache")


def entries(environment: Mapping[str, str]) -> list[CacheEntry]:
    """Return the newest entries of the compile cache in a user's `environment`, with the components of their keys.

    At most 100, as reading them delays a start: each has up to a megabyte of components.
    """
    files: dict[Path, tuple[float, Path]] = {}
    for file in sorted(cache_folder(environment).glob(f"*/rank_*/*/{_FACTORS}")):
        # All ranks and models of an entry have the same key.
        if file.parents[2] not in files:
            with suppress(OSError):
                files[file.parents[2]] = file.stat().st_mtime, file
    newest = sorted(files, key=lambda folder: files[folder][0], reverse=True)[:_MOST_ENTRIES]
    found = []
    for folder in sorted(newest):
        modified, file = files[folder]
        with suppress(OSError, ValueError):
            stored = _stored(json.loads(file.read_bytes()))
            found.append(CacheEntry(folder=str(folder), modified=modified, stored=stored, keys=_keys(folder)))
    return found


def remember(entry: CacheEntry, keys: CacheKeys) -> None:
    """Store all components of the key with an entry, so that a later start can be compared with it.

    Raises:
        OSError: The cache cannot be written.
    """
    file = Path(entry.folder, _KEYS)
    unfinished = file.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(keys.model_dump_json())
    unfinished.replace(file)


def _keys(folder: Path) -> CacheKeys | None:
    try:
        return CacheKeys.model_validate_json(Path(folder, _KEYS).read_bytes())
    except (OSError, ValidationError):
        return None


def _stored(content: Any) -> CacheKeys:
    keys = CacheKeys()
    if not isinstance(content, dict):
        return keys
    environment = content.get("env")
    for name, value in environment.items() if isinstance(environment, dict) else ():
        keys.add("environment", name, masked(name, value if isinstance(value, str) else json.dumps(value)))
    for name, group in _HASHES.items():
        if isinstance(content.get(name), str):
            keys.add(group, HASH, content[name])
    return keys
