"""Finds and replaces paths that imported modules captured from the environment.

Modules read the environment once, while they are imported (``tempfile.tempdir``, ``HF_HUB_CACHE``). A process that is
forked later has its own folders only in the environment, so captured paths must be replaced. Found with vLLM 0.32 and
torch 2.13: module variables, and the attribute of an instance (``torch._dynamo.package.DynamoCache``).
"""

from __future__ import annotations

import functools
import gc
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path, PurePath
from types import CellType, FrameType, FunctionType, ModuleType
from typing import Any

_CHUNK = 1000
# The depth of nested tuples, which are replaced as a whole, and of dictionaries that the garbage collector does not
# track, because they contain only text and numbers.
_DEEPEST = 4

Replace = Callable[[Any], Any]


class CapturedPaths:
    """All references in existing objects to paths in `folder`.

    Paths that Python cannot reach (variables of C++ libraries) or that are in the middle of text are not found.

    Args:
        folder: The folder of the caches in the environment.
        stays: Names of folders; paths through one of these are not changed.
    """

    def __init__(self, folder: Path, stays: Iterable[str] = ()) -> None:
        self._folder = str(folder)
        self._stays = frozenset(stays)
        self.references: list[tuple[Any, Callable[[Replace], None]]] = [
            (holder, move) for holder in self._holders() for move in self._moves(holder)
        ]
        """For each reference: the object that contains it, and the function that replaces it."""

    def move(self, folder: Path) -> None:
        """Change every path to the same path in another folder."""
        replace = functools.partial(self._moved, folder=str(folder))
        for _, move in self.references:
            # For example, a frozen object. After each start, it is checked whether starts shared files.
            with suppress(Exception):
                move(replace)

    def _holders(self) -> Iterator[Any]:
        """Yield the objects that refer to such a path, or through which a container with one can be changed."""
        objects = gc.get_objects()
        # A class must be changed with `setattr`, because it caches the content of its dictionary.
        classes = {
            id(each): cls
            for cls in objects
            if issubclass(type(cls), type)
            for each in gc.get_referents(cls)
            if type(each) is dict
        }
        # A path object is replaced, not changed, because others may use it. Since Python 3.12, its parts are in a list.
        of_paths = {id(each) for path in objects if issubclass(type(path), PurePath) for each in gc.get_referents(path)}
        for start in range(0, len(objects), _CHUNK):
            chunk = objects[start : start + _CHUNK]
            # For nearly all chunks, this call is sufficient.
            if self._contains_path(gc.get_referents(*chunk)):
                for each in chunk:
                    if self._contains_path(gc.get_referents(each)) and not self._is_excluded(each, of_paths):
                        yield classes.get(id(each), each)

    def _is_excluded(self, each: Any, of_paths: set[int]) -> bool:
        return each is self or type(each) is FrameType or (type(each) is list and id(each) in of_paths)

    def _contains_path(self, values: Iterable[Any], depth: int = 0) -> bool:
        for value in values:
            # By type instead of `isinstance`, because `__class__` of some objects has side effects.
            kind = type(value)
            if kind is str:
                if value.startswith(self._folder) and self._is_path_to_move(value):
                    return True
            elif issubclass(kind, tuple | frozenset):
                if depth < _DEEPEST and self._contains_path(value, depth + 1):
                    return True
            elif kind is dict:
                if depth < _DEEPEST and not gc.is_tracked(value) and self._contains_path(value.values(), depth + 1):
                    return True
            elif issubclass(kind, Path) and self._is_path_to_move(str(value)):
                return True
        return False

    def _moves(self, holder: Any) -> Iterator[Callable[[Replace], None]]:
        kind = type(holder)
        if kind is dict or issubclass(kind, dict):
            for key, value in list(dict.items(holder)):
                if self._is_to_move(value):
                    yield functools.partial(_replace_item, dict, holder, key)
        elif kind is list or issubclass(kind, list):
            for index, value in enumerate(list(list.__iter__(holder))):
                if self._is_to_move(value):
                    yield functools.partial(_replace_item, list, holder, index)
        elif kind is set:
            for value in list(holder):
                if self._is_to_move(value):
                    yield functools.partial(_replace_in_set, holder, value)
        elif kind is FunctionType:
            for name in ("__defaults__", "__kwdefaults__"):
                if self._is_to_move(getattr(holder, name)):
                    yield functools.partial(_replace_attribute, holder, name)
            yield from self._moves(holder.__dict__)
        elif kind is CellType:
            yield functools.partial(_replace_attribute, holder, "cell_contents")
        elif kind is functools._lru_cache_wrapper:
            yield lambda replace: holder.cache_clear()
        elif issubclass(kind, type):
            yield from self._moves_of_attributes(holder, dict(type.__dict__["__dict__"].__get__(holder)))
        elif issubclass(kind, ModuleType):
            yield from self._moves(object.__getattribute__(holder, "__dict__"))
        elif not issubclass(kind, Path):
            yield from self._moves_of_attributes(holder, _attributes(holder))

    def _moves_of_attributes(self, holder: Any, attributes: dict[str, Any]) -> Iterator[Callable[[Replace], None]]:
        for name, value in attributes.items():
            if self._is_to_move(value):
                yield functools.partial(_replace_attribute, holder, name)

    def _is_to_move(self, value: Any) -> bool:
        return self._contains_path([value])

    def _is_path_to_move(self, path: str) -> bool:
        is_below = path == self._folder or path.startswith(self._folder + os.sep)
        return is_below and self._stays.isdisjoint(Path(path).parts)

    def _moved(self, value: Any, *, folder: str) -> Any:
        """Return `value` with every path changed to `folder`; the same object if there is no path in it."""
        kind = type(value)
        if kind is str or issubclass(kind, Path):
            return kind(folder + str(value)[len(self._folder) :]) if self._is_path_to_move(str(value)) else value
        moved = functools.partial(self._moved, folder=folder)
        if issubclass(kind, tuple | frozenset):
            make = getattr(kind, "_make", kind)  # of a named tuple
            return make(map(moved, value)) if self._is_to_move(value) else value
        if kind is dict:
            for key in list(value):
                value[key] = moved(value[key])
        return value


def create_folders_of(folder: Path, other: Path) -> None:
    """Create the folders, without files, that `folder` has, in `other`, too.

    Modules create folders while they are imported, and expect them when they write to a captured path (FlashInfer's
    log, flashinfer/jit/core.py).
    """
    for path, _, _ in os.walk(folder):
        (other / Path(path).relative_to(folder)).mkdir(parents=True, exist_ok=True)


def _attributes(holder: Any) -> dict[str, Any]:
    """Return the attributes of an instance, from its `__dict__` and slots, without executing code of its class."""
    found: dict[str, Any] = {}
    for base in type(holder).__mro__:
        members = type.__dict__["__dict__"].__get__(base)
        for name in members.get("__slots__", ()) if isinstance(members.get("__slots__"), tuple | list) else ():
            with suppress(AttributeError):
                found[name] = object.__getattribute__(holder, name)
    with suppress(AttributeError):
        found.update(object.__getattribute__(holder, "__dict__"))
    return found


def _replace_item(kind: type[Any], holder: Any, key: Any, replace: Replace) -> None:
    # Without executing code of a subclass of `kind`.
    kind.__setitem__(holder, key, replace(kind.__getitem__(holder, key)))


def _replace_in_set(holder: set[Any], value: Any, replace: Replace) -> None:
    holder.discard(value)
    holder.add(replace(value))


def _replace_attribute(holder: Any, name: str, replace: Replace) -> None:
    value = replace(getattr(holder, name))
    try:
        setattr(holder, name, value)
    except AttributeError:  # a frozen dataclass
        object.__setattr__(holder, name, value)
