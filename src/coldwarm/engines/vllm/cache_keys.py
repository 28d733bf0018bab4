"""Records the components of vLLM's cache keys while it starts, without changing them.

The key of what vLLM saves consists of its environment variables (`vllm.envs.compile_factors`), its config
(`VllmConfig.compute_hash`), the compiler's version and config (`get_inductor_factors`), and the sources that Dynamo
traced. The key of an AOT-compiled function consists of the first three and the line of the model's `forward`; its
sources are compared when it is loaded (vllm/compilation/decorators.py, backends.py, caching.py; 0.26 to 0.32).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.record import ProcessReport
from coldwarm.core.secrets import masked

_LONGEST_VALUE = 1000
# The name of a component that vLLM hashes without a name.
UNNAMED = "factors"


class KeyProbe:
    """Records the components of vLLM's cache keys in `keys` while vLLM starts."""

    name = "cache keys"

    def __init__(self) -> None:
        self.keys = CacheKeys()

    def install(self) -> None:
        """Wrap the functions in which vLLM computes its keys; skip those that this version does not have."""
        from vllm.compilation import backends, caching, decorators

        self._watch(caching, "aot_compile_hash_factors", before=self._take_config)
        self._watch(decorators, "_model_hash_key", before=self._take_model)
        self._watch(backends.VllmBackend, "__call__", before=self._take_backend)
        # This function fills the config's list of traced files.
        self._watch(decorators, "_verify_source_unchanged", after=lambda _, config: self._take_sources(config))

    def report(self, report: ProcessReport) -> None:
        """Report the components so far; `CacheKeys.problems` has the errors."""
        report.cache_keys = self.keys.snapshot()

    def _watch(
        self,
        owner: Any,
        name: str,
        *,
        before: Callable[..., None] | None = None,
        after: Callable[..., None] | None = None,
    ) -> None:
        """Wrap a function of vLLM so that it calls `before` and `after` with its arguments, ignoring their errors."""
        function = getattr(owner, name, None)
        if function is None:
            return

        def call(watcher: Callable[..., None] | None, *args: Any, **kwargs: Any) -> None:
            try:
                if watcher is not None:
                    watcher(*args, **kwargs)
            except Exception as error:
                # A start must never fail because it is watched.
                self.keys.problems.append(f"{name}: {type(error).__name__}: {error}")

        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            call(before, *args, **kwargs)
            try:
                return function(*args, **kwargs)
            finally:
                call(after, *args, **kwargs)

        setattr(owner, name, wrapper)

    def _take_backend(self, backend: Any, *_: Any, **__: Any) -> None:
        self._take_config(backend.vllm_config)
        self._take_sources(backend.vllm_config)

    def _take_config(self, vllm_config: Any) -> None:
        if "vllm" in self.keys.factors:
            return
        import vllm
        from vllm import envs
        from vllm.compilation.compiler_interface import get_inductor_factors

        self.keys.add("vllm", "version", vllm.__version__)
        for name, value in envs.compile_factors().items():
            self.keys.add("environment", name, masked(name, _text(value)))
        self._take_config_factors(vllm_config)
        for name, factors in zip(
            ("system", "torch", "inductor config", "functorch config"), get_inductor_factors(), strict=False
        ):
            self._add_flat(name, "" if isinstance(factors, dict) else "key", factors)

    def _take_config_factors(self, vllm_config: Any) -> None:
        with _watching_hashes(vllm_config) as seen:
            vllm_config.compute_hash()
        for part, factors in seen.items():
            group = f"config.{part}"
            if isinstance(factors, dict):
                self._add_flat(group, "", factors)
            else:
                self.keys.add(group, UNNAMED, _text(factors))
                self.keys.hints[group] = {
                    field.name: _text(getattr(getattr(vllm_config, part), field.name, None))
                    for field in dataclasses.fields(getattr(vllm_config, part))
                }
        additional = vllm_config.additional_config
        self._add_flat("config.additional_config", "", additional if isinstance(additional, dict) else {})

    def _take_model(self, function: Any) -> None:
        self.keys.add("model", "forward", f"{function.__qualname__} at line {function.__code__.co_firstlineno}")

    def _take_sources(self, vllm_config: Any) -> None:
        for file in vllm_config.compilation_config.traced_files:
            path = Path(file)
            if path.is_file():
                self.keys.add("source", file, f"sha256 {hashlib.sha256(path.read_bytes()).hexdigest()[:16]}")

    def _add_flat(self, group: str, name: str, value: Any) -> None:
        """Add `value` or, if it is a mapping, each of its items under a dotted name."""
        items = _items(value)
        if items is None:
            self.keys.add(group, name, _text(value))
        else:
            # An empty group is recorded, so that it can be compared with one that has components.
            self.keys.factors.setdefault(group, {})
            for key, item in items.items():
                self._add_flat(group, f"{name}.{key}" if name else key, item)


@contextmanager
def _watching_hashes(vllm_config: Any) -> Iterator[dict[str, Any]]:
    """Yield what each part of `vllm_config` hashes, by the part's name: a mapping, or text without names."""
    seen: dict[str, Any] = {}
    inside: list[str] = []

    def note(content: Any) -> None:
        if not inside:
            return
        part = inside[-1]
        if isinstance(content, dict) and isinstance(seen.get(part), dict):
            seen[part].update(content)
        elif isinstance(content, dict) or part not in seen:
            seen[part] = dict(content) if isinstance(content, dict) else content

    def named(part: str, compute: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(compute)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            inside.append(part)
            try:
                return compute(*args, **kwargs)
            finally:
                inside.pop()

        return wrapper

    with _restored() as replace:
        for field in dataclasses.fields(vllm_config):
            kind = type(getattr(vllm_config, field.name))
            if "compute_hash" in vars(kind):
                replace(kind, "compute_hash", named(field.name, kind.compute_hash))
        for module in [module for name, module in list(sys.modules.items()) if name.startswith("vllm.config")]:
            for name in ("hash_factors", "safe_hash"):
                if hasattr(module, name):
                    replace(module, name, _noting(note, getattr(module, name)))
        yield seen


@contextmanager
def _restored() -> Iterator[Callable[[Any, str, Any], None]]:
    """Yield a function that replaces an attribute until the end of the block."""
    # Here, because its import takes 0.1 s, and only the processes that run a model need it.
    from unittest.mock import patch

    patches: list[Any] = []

    def replace(owner: Any, name: str, value: Any) -> None:
        patches.append(patch.object(owner, name, value))
        patches[-1].start()

    try:
        yield replace
    finally:
        for each in reversed(patches):
            each.stop()


def _noting(note: Callable[[Any], None], hash_function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(hash_function)
    def wrapper(content: Any, *args: Any, **kwargs: Any) -> Any:
        note(content.decode("utf-8", "replace") if isinstance(content, bytes) else content)
        return hash_function(content, *args, **kwargs)

    return wrapper


def _items(value: Any) -> dict[str, Any] | None:
    """Return the items of a mapping, a tuple of pairs (vLLM's), or a JSON object; None for anything else."""
    if isinstance(value, dict):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, tuple) and value and all(_is_pair(item) for item in value):
        return dict(value)
    if isinstance(value, str) and value.startswith("{"):
        try:
            found = json.loads(value)
        except ValueError:
            return None
        return found if isinstance(found, dict) else None
    return None


def _is_pair(item: Any) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], str)


def _text(value: Any) -> str:
    text = (value if isinstance(value, str) else repr(value)).encode("utf-8", "backslashreplace").decode()
    if len(text) <= _LONGEST_VALUE:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]
    return f"{text[:_LONGEST_VALUE]}... ({len(text)} characters, sha256 {digest})"
