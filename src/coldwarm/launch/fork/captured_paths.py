"""What imported modules remember of the environment that they were imported in: paths below a folder.

Modules read the environment once, while they are imported (``tempfile.tempdir``, ``HF_HUB_CACHE``); a process that is
forked after that has its own folders in the environment alone, and must tell them. Found with vLLM 0.32 and torch
2.13: module variables, and the attribute of an instance (``torch._dynamo.package.DynamoCache``).
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
# Of tuples in tuples, which are replaced as a whole, and of dictionaries that the garbage collector does not track,
# because they hold nothing but text and numbers.
_DEEPEST = 4

Replace = Callable[[Any], Any]


class RememberedPaths:
    """All places, in objects that exist now, that hold a path below `folder`.

    What Python cannot reach (variables of C++ libraries), and text that has such a path in the middle, is not found.

    Args:
        folder: Of the caches that are in the environment.
        stays: Names of folders; a path through one of these is not to be changed.
    """

    def __init__(self, folder: Path, stays: Iterable[str] = ()) -> None:
        self._folder = str(folder)
        self._stays = frozenset(stays)
        self.places: list[tuple[Any, Callable[[Replace], None]]] = [
            (holder, move) for holder in self._holders() for move in self._moves(holder)
        ]
        """Of each place: the object that holds it, and what replaces it there."""

    def move(self, folder: Path) -> None:
        """Have every one of them hold the same path below another folder."""
        replace = functools.partial(self._moved, folder=str(folder))
        for _, move in self.places:
            # A frozen object, for one; whether anything is shared is checked after each start.
            with suppress(Exception):
                move(replace)

    def _holders(self) -> Iterator[Any]:
        """The objects that refer to such a path, or to a container of one that is changed through them."""
        objects = gc.get_objects()
        # A class is changed by `setattr` alone: it caches what is in its dictionary.
        classes = {
            id(each): cls
            for cls in objects
            if issubclass(type(cls), type)
            for each in gc.get_referents(cls)
            if type(each) is dict
        }
        # A path is replaced as a whole: others may go by it. From Python 3.12 on it has what it was made of in a list.
        of_paths = {id(each) for path in objects if issubclass(type(path), PurePath) for each in gc.get_referents(path)}
        for start in range(0, len(objects), _CHUNK):
            chunk = objects[start : start + _CHUNK]
            # Nearly all chunks are done with by this one call.
            if self._is_meant_in(gc.get_referents(*chunk)):
                for each in chunk:
                    if self._is_meant_in(gc.get_referents(each)) and not self._is_apart(each, of_paths):
                        yield classes.get(id(each), each)

    def _is_apart(self, each: Any, of_paths: set[int]) -> bool:
        return each is self or type(each) is FrameType or (type(each) is list and id(each) in of_paths)

    def _is_meant_in(self, values: Iterable[Any], depth: int = 0) -> bool:
        for value in values:
            # By type and not by `isinstance`: asking some objects for their class has side effects.
            kind = type(value)
            if kind is str:
                if value.startswith(self._folder) and self._is_meant(value):
                    return True
            elif issubclass(kind, tuple | frozenset):
                if depth < _DEEPEST and self._is_meant_in(value, depth + 1):
                    return True
            elif kind is dict:
                if depth < _DEEPEST and not gc.is_tracked(value) and self._is_meant_in(value.values(), depth + 1):
                    return True
            elif issubclass(kind, Path) and self._is_meant(str(value)):
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
        return self._is_meant_in([value])

    def _is_meant(self, path: str) -> bool:
        is_below = path == self._folder or path.startswith(self._folder + os.sep)
        return is_below and self._stays.isdisjoint(Path(path).parts)

    def _moved(self, value: Any, *, folder: str) -> Any:
        """`value` with every path that is meant below `folder`; the same object where there is none."""
        kind = type(value)
        if kind is str or issubclass(kind, Path):
            return kind(folder + str(value)[len(self._folder) :]) if self._is_meant(str(value)) else value
        moved = functools.partial(self._moved, folder=folder)
        if issubclass(kind, tuple | frozenset):
            make = getattr(kind, "_make", kind)  # of a named tuple
            return make(map(moved, value)) if self._is_to_move(value) else value
        if kind is dict:
            for key in list(value):
                value[key] = moved(value[key])
        return value


def _attributes(holder: Any) -> dict[str, Any]:
    """The attributes of an instance, in its `__dict__` and its slots, without running code of its class."""
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
    # Without the code of a class that is derived from `kind`.
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
