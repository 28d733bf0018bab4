"""Acts right after a module was imported, and never imports it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.machinery import ModuleSpec
from types import ModuleType

_pending: dict[str, list[Callable[[ModuleType], None]]] = {}


def after_import(name: str, act: Callable[[ModuleType], None]) -> None:
    """Call `act` with the module `name` as soon as it is imported; at once if it is imported already.

    Args:
        name: The module's full name.
        act: Must not raise: the program that imports the module would see it.
    """
    module = sys.modules.get(name)
    if module is not None and not getattr(module.__spec__, "_initializing", False):
        act(module)
        return
    _pending.setdefault(name, []).append(act)
    if _FINDER not in sys.meta_path:
        sys.meta_path.insert(0, _FINDER)


class _Finder:
    """Finds only modules that are waited for, as the finders after it do, and has their loaders call what waits."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name not in _pending:
            return None
        for finder in list(sys.meta_path):
            if finder is not self and (spec := finder.find_spec(name, path, target)) is not None:
                _extend(spec)
                return spec
        return None


_FINDER = _Finder()


def _extend(spec: ModuleSpec) -> None:
    """Have the loader call what waits for the module, once, after it has executed it.

    Only this instance of the loader changes, and only until then: others ask a module's loader for its source.
    """
    loader = spec.loader
    execute = getattr(loader, "exec_module", None)
    if execute is None:
        return

    def exec_module(module: ModuleType) -> None:
        with suppress(AttributeError):
            del loader.exec_module  # type: ignore[union-attr]
        execute(module)
        for act in _pending.pop(spec.name, ()):
            act(module)

    with suppress(AttributeError):  # a loader without attributes, of a module that is not in Python
        loader.exec_module = exec_module  # type: ignore[union-attr, method-assign]
