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
        if module is not None and not getattr(getattr(module, "__spec__", None), "_initializing", False):
            call(module)
        else:
            waiting.add(name)
    if not waiting:
        return
    finder = _Finder(waiting, call)
    sys.meta_path.insert(0, finder)
    for name in sorted(waiting):
        # None: the program forbids the import.
        if (module := sys.modules.get(name)) is not None:
            _tell_end_of_import(name, module, finder)


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
            self.has_imported(fullname, module)

        # A copy, because some finders have one loader for all modules. It keeps its type, which also reads sources.
        spec.loader = copy(spec.loader)
        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec

    def has_imported(self, name: str, module: ModuleType) -> None:
        """Call the function with the module `name`, unless this has been done."""
        if name in self._waiting:
            # Only now: it is imported again if its import failed.
            self._waiting.discard(name)
            self._call(module)


class _SpecOfImport(ModuleSpec):
    """The specification of a module whose import had begun, and was not found by a `_Finder`.

    That is so if a library imports torch, with which coldwarm's probes are installed, while it is itself imported.
    """

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, value)
        # The last step of an import, also of one that failed (importlib/_bootstrap.py, `_load_unlocked`).
        if name == "_initializing" and not value:
            self.__class__ = ModuleSpec  # type: ignore[assignment]
            module = sys.modules.get(self.name)
            for finder in vars(self).pop("finders", ()):
                if module is not None:
                    finder.has_imported(self.name, module)


def _tell_end_of_import(name: str, module: ModuleType, finder: _Finder) -> None:
    """Tell `finder` when the import of the module `name`, which has begun, ends."""
    spec = getattr(module, "__spec__", None)
    if type(spec) is ModuleSpec:
        vars(spec)["finders"] = [finder]
        spec.__class__ = _SpecOfImport
    elif isinstance(spec, _SpecOfImport):
        vars(spec).setdefault("finders", []).append(finder)
    # Another thread may have ended it meanwhile.
    if spec is not None and not getattr(spec, "_initializing", False):
        finder.has_imported(name, module)
