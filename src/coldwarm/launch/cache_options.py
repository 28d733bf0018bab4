"""Replaces options of the engine that name a cache folder, and removes those that switch on a remote cache."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coldwarm.core.user_paths import folder_of_setting

# vllm/config: `compilation_config.cache_dir` (not part of its hash: compilation.py, `compute_hash`),
# `load_config.download_dir`; and similar names in the configuration of a platform or a draft model.
_FOLDER = re.compile(r"(.*_)?cache_(dir|path|root|folder)|download_dir")
# torch/_inductor/config.py, in `compilation_config.inductor_compile_config`: `fx_graph_remote_cache`,
# `autotune_remote_cache`, `bundled_autotune_remote_cache`, `cuda.use_binary_remote_cache`, ...
_REMOTE = re.compile(r".*remote(_[a-z]+)*_cache.*")


def isolated_options(options: Mapping[str, Any], caches: Path) -> tuple[dict[str, Any], list[str]]:
    """Return `options` restricted to a start's own caches, and the dotted names of those that were replaced.

    Each folder is replaced by one below `caches`, and equal folders by the same one, so that a cold and a warm start
    share exactly the folders that the user has them share. Remote caches get the engine's default.
    """
    isolated: dict[str, Any] = {}
    replaced: list[str] = []
    for name, value in options.items():
        last = name.rpartition(".")[2]
        if isinstance(value, Mapping):
            isolated[name], inner = isolated_options(value, caches)
            replaced += [f"{name}.{each}" for each in inner]
        elif _REMOTE.fullmatch(last) and value:
            replaced.append(name)
        elif _is_folder(last, value):
            isolated[name] = str(own_folder(value, caches))
            replaced.append(name)
        else:
            isolated[name] = value
    return isolated, replaced


def own_folder(folder: str, caches: Path) -> Path:
    """Return the folder below `caches` that replaces `folder`."""
    path = _resolved(folder)
    return caches / "options" / f"{path.name}-{hashlib.blake2b(os.fsencode(path), digest_size=4).hexdigest()}"


def folders_named(options: Mapping[str, Any]) -> Iterator[Path]:
    """Yield the folders that `options` name, which a start does not use."""
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from folders_named(value)
        elif _is_folder(name.rpartition(".")[2], value):
            yield _resolved(value)


def _resolved(folder: str) -> Path:
    return folder_of_setting(folder).resolve()


def _is_folder(name: str, value: object) -> bool:
    return isinstance(value, str) and value != "" and _FOLDER.fullmatch(name) is not None
