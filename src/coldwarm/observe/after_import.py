"""Calls a function once a module has been imported, without importing it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from importlib.machinery import ModuleSpec
from types import ModuleType


def after_import(names: Iterable[str], call: Callable[[ModuleType], None]) -> None:
    """Call `call` with each module of these names: now if it has been imported, otherwise once it has been.

    An exception that `call` raises passes to whatever imports the module.
    """
    waiting = set()
    for name in dict.fromkeys(names):
        module = sys.modules.get(name)
        # A module that is being imported is in `sys.modules` too, but not complete.
        if module is not None and not getattr(module.__spec__, "_initializing", False):
            call(module)
        else:
            waiting.add(name)
    if waiting:
        sys.meta_path.insert(0, _Finder(waiting, call))


class _Finder:
    """Finds modules as the other finders do, and extends the loader of those that are waited for.

    No subclass of `importlib.abc.MetaPathFinder`: importing that takes about 6 ms, in each Python process of a user's
    command.
    """

    def __init__(self, waiting: set[str], call: Callable[[ModuleType], None]) -> None:
        self._waiting = waiting
        self._call = call

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        # A program may have replaced `sys.meta_path`, or wrapped the finders in it. The others then find the module.
        if fullname not in self._waiting or self not in sys.meta_path:
            return None
        # Those after this one, so that two of these do not ask each other. Python skips finders of old libraries, which
        # do not have the method, as of Python 3.12; before, they were asked in another way.
        others = [each for each in sys.meta_path[sys.meta_path.index(self) + 1 :] if hasattr(each, "find_spec")]
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is None or spec.loader is None:
            return spec
        load = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            load(module)
            # It may be imported more than once, if its import failed.
            self._waiting.discard(fullname)
            self._call(module)

        # A copy, because some finders have one loader for all modules. It keeps its type, which also reads sources.
        spec.loader = copy(spec.loader)
        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec
