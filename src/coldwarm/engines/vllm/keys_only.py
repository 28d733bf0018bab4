"""Ends a start once vLLM has split the model's graph and each subgraph's cache key is known: the depth ``trace``."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from torch._functorch._aot_autograd.autograd_cache import AOTAutogradCache
from vllm.compilation.backends import CompilerManager
from vllm.compilation.compiler_interface import InductorAdaptor, InductorStandaloneAdaptor

from coldwarm.engines.vllm.early_end import EverythingKnownError


class _KeyKnownError(BaseException):
    """AOTAutograd's cache was asked for the subgraph and has answered."""


def stop_at_keys() -> None:
    """Make vLLM stop compiling each subgraph when its key is known, and raise `EverythingKnownError` after the last.

    vLLM finds identical subgraphs by the key (vllm/compilation/backends.py, `CompilerManager.compile`). This still
    works: a placeholder for the artifact is stored under the key.
    """
    ask = AOTAutogradCache.try_load
    # Other compilations (by a decorator within a custom operation) are not stopped.
    within = ContextVar("within a subgraph", default=False)

    @functools.wraps(ask)
    def try_load(*args: Any, **kwargs: Any) -> Any:
        result = ask(*args, **kwargs)
        if within.get():
            raise _KeyKnownError
        return result

    AOTAutogradCache.try_load = staticmethod(try_load)
    for adaptor in (InductorStandaloneAdaptor, InductorAdaptor):
        adaptor.compile = _to_key(adaptor.compile, within)

    def save_to_file(self: Any) -> None:
        raise EverythingKnownError

    CompilerManager.save_to_file = save_to_file


def _to_key(compile_one: Callable[..., Any], within: ContextVar[bool]) -> Callable[..., Any]:
    @functools.wraps(compile_one)
    def compile_to_key(*args: Any, **kwargs: Any) -> Any:
        token = within.set(True)
        try:
            return compile_one(*args, **kwargs)
        except _KeyKnownError:
            return _Placeholder(), None
        finally:
            within.reset(token)

    return compile_to_key


class _Placeholder:
    """Stands for an artifact that was not compiled; never called."""
