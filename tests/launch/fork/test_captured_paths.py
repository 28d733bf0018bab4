from __future__ import annotations

import functools
import gc
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import pytest

from coldwarm.launch.fork.captured_paths import CapturedPaths, create_folders_of


@pytest.fixture(autouse=True)
def few_objects() -> Iterator[None]:
    """Make `gc.get_objects` return only the objects of the test, not the 500,000 objects of the test session."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = ModuleType("remembers")
    monkeypatch.setitem(sys.modules, "remembers", module)
    return module


def test_paths_that_modules_captured_are_moved(module: ModuleType) -> None:
    vars(module).update(home="/old/home", file=Path("/old/tmp/x"), itself="/old", similar="/older/x", number=7)
    captured = CapturedPaths(Path("/old"))
    captured.move(Path("/new"))
    assert (vars(module)["home"], vars(module)["file"], vars(module)["itself"]) == (
        "/new/home",
        Path("/new/tmp/x"),
        "/new",
    )
    assert (vars(module)["similar"], vars(module)["number"]) == ("/older/x", 7)


def test_paths_in_shared_folders_are_not_moved(module: ModuleType) -> None:
    vars(module).update(headers="/old/tmp/precompiled_headers/locks", tmp="/old/tmp")
    CapturedPaths(Path("/old"), ["precompiled_headers"]).move(Path("/new"))
    assert (vars(module)["headers"], vars(module)["tmp"]) == ("/old/tmp/precompiled_headers/locks", "/new/tmp")


class Slotted:
    __slots__ = ("_path", "unset")

    def __init__(self, path: str) -> None:
        self._path = path


class Knob:
    """Like triton.knobs.env_str: a descriptor that returns its value for the class."""

    def __init__(self, default: str) -> None:
        self.default = default

    def __get__(self, instance: object, cls: type) -> str:
        return self.default


@dataclass(frozen=True)
class Frozen:
    path: str


class Named(NamedTuple):
    name: str
    path: str


class Mine(dict[str, str]):
    def __getitem__(self, key: str) -> str:
        raise AssertionError("no code of the class is to run")


def class_with(value: object) -> type:
    # With a function, as most classes: the garbage collector does not track a dictionary of plain values.
    return type("WithAttribute", (), {"path": value, "method": lambda self: self.path})


def default_argument() -> Callable[[], Any]:
    def read(path: str = "/old/x") -> str:
        return path

    return read


def keyword_default() -> Callable[[], Any]:
    def read(*, path: str = "/old/x") -> str:
        return path

    return read


def attribute_of_function() -> Callable[[], Any]:
    def read() -> object:
        return vars(read)["path"]

    vars(read)["path"] = "/old/x"
    return read


def closure() -> Callable[[], Any]:
    path = "/old/x"
    return lambda: path


def cached(maxsize: int | None) -> Callable[[], Any]:
    """A function that reads its environment once."""
    values = iter(["/old/x", "/new/x"])

    @functools.lru_cache(maxsize=maxsize)
    def read() -> str:
        return next(values)

    read()
    return read


def is_read_once_more(read: Any) -> object:
    return read()


@pytest.mark.parametrize(
    ("held", "read"),
    [
        pytest.param(lambda: SimpleNamespace(path="/old/x"), lambda o: o.path, id="instance"),
        pytest.param(lambda: Slotted("/old/x"), lambda o: o._path, id="slots"),
        pytest.param(lambda: Frozen("/old/x"), lambda o: o.path, id="frozen dataclass"),
        pytest.param(lambda: class_with("/old/x"), lambda o: o.path, id="class attribute"),
        pytest.param(lambda: class_with(Knob("/old/x")), lambda o: o.path, id="descriptor"),
        pytest.param(lambda: class_with({"a": "/old/x"}), lambda o: o.path["a"], id="dict of a class"),
        pytest.param(lambda: {"a": "/old/x"}, lambda o: o["a"], id="dict"),
        pytest.param(lambda: {"a": {"b": ["/old/x", object()]}}, lambda o: o["a"]["b"][0], id="nested"),
        pytest.param(lambda: OrderedDict(a="/old/x"), lambda o: o["a"], id="OrderedDict"),
        pytest.param(lambda: Mine(a="/old/x"), lambda o: dict.__getitem__(o, "a"), id="dict with code of its own"),
        pytest.param(lambda: ["/old/x"], lambda o: o[0], id="list"),
        pytest.param(lambda: {"/old/x"}, lambda o: next(iter(o)), id="set"),
        pytest.param(lambda: ("/old/x", 1), lambda o: o[0], id="tuple"),
        pytest.param(lambda: (object(), ("/old/x",)), lambda o: o[1][0], id="tuple with objects"),
        pytest.param(lambda: Named("a", "/old/x"), lambda o: o.path, id="named tuple"),
        pytest.param(lambda: frozenset({"/old/x"}), lambda o: next(iter(o)), id="frozenset"),
        pytest.param(lambda: [Path("/old/x")], lambda o: str(o[0]), id="Path in a list"),
        pytest.param(default_argument, is_read_once_more, id="default argument"),
        pytest.param(keyword_default, is_read_once_more, id="default of a keyword"),
        pytest.param(attribute_of_function, is_read_once_more, id="attribute of a function"),
        pytest.param(closure, is_read_once_more, id="closure"),
        pytest.param(lambda: cached(None), is_read_once_more, id="cache"),
        pytest.param(lambda: cached(1), is_read_once_more, id="lru_cache"),
    ],
)
def test_paths_in_any_container_are_moved(
    module: ModuleType, held: Callable[[], object], read: Callable[[Any], object]
) -> None:
    vars(module)["held"] = held()
    captured = CapturedPaths(Path("/old"))
    assert captured.references
    captured.move(Path("/new"))
    assert read(vars(module)["held"]) == "/new/x"


def test_instances_that_have_read_a_class_attribute_see_the_moved_one(module: ModuleType) -> None:
    cls: Any = class_with("/old/x")
    instance = vars(module)["held"] = cls()
    assert instance.method() == "/old/x"
    CapturedPaths(Path("/old")).move(Path("/new"))
    assert instance.method() == "/new/x"


def test_paths_are_moved_to_a_folder_with_a_longer_name(module: ModuleType) -> None:
    vars(module)["held"] = held = [["/old/x"] for _ in range(10)]
    CapturedPaths(Path("/old")).move(Path("/somewhere/else"))
    assert held == [["/somewhere/else/x"]] * 10


def test_a_path_object_is_replaced_and_not_changed(module: ModuleType) -> None:
    path = Path("/old/x")
    vars(module)["held"] = [Path("/old/x")]
    CapturedPaths(Path("/old")).move(Path("/new"))
    assert str(path) == "/old/x"
    assert vars(module)["held"] == [Path("/new/x")]


def test_paths_can_be_moved_twice(module: ModuleType) -> None:
    vars(module)["held"] = held = {"a": "/old/x"}
    captured = CapturedPaths(Path("/old"))
    assert all(holder is not captured for holder, _ in captured.references)
    captured.move(Path("/old"))
    assert held == {"a": "/old/x"}
    captured.move(Path("/new"))
    assert held == {"a": "/new/x"}


def test_folders_are_created_without_their_files(tmp_path: Path) -> None:
    (tmp_path / "server" / "flashinfer" / "0.7" / "90a").mkdir(parents=True)
    (tmp_path / "server" / "flashinfer" / "log").write_text("")
    (tmp_path / "start" / "flashinfer").mkdir(parents=True)
    create_folders_of(tmp_path / "server", tmp_path / "start")
    assert (tmp_path / "start" / "flashinfer" / "0.7" / "90a").is_dir()
    assert not (tmp_path / "start" / "flashinfer" / "log").exists()
