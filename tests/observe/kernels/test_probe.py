from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from coldwarm.core.kernels import Compiler
from coldwarm.core.record import ProcessReport
from coldwarm.observe.kernels.all import kernel_probes
from coldwarm.observe.kernels.probe import CompilerProbe, Observation
from coldwarm.observe.kernels.recorder import Recorder
from coldwarm.observe.probes import Observer

NAME = "some_compiler"


@pytest.fixture(autouse=True)
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / f"{NAME}.py").write_text(
        "class Cache:\n"
        "    def get(self, key):\n"
        "        if key < 0:\n"
        "            raise KeyError(key)\n"
        "        return key\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    yield
    sys.modules.pop(NAME, None)


class Probe(CompilerProbe):
    name = "some compiler"
    compilers: ClassVar[tuple[Compiler, ...]] = (Compiler.TILELANG,)
    module = NAME
    distribution = "pytest"

    def __init__(self, breaks: str = "") -> None:
        super().__init__(Recorder())
        self.seen: list[str] = []
        self._breaks = breaks

    def hook(self, module: ModuleType) -> None:
        self.wrap(Compiler.TILELANG, module.Cache, "get", self._get)
        self.wrap(Compiler.TILELANG, module.Cache, "load", self._get)
        self.wrap(Compiler.TILELANG, None, "compile", self._get)
        if self._breaks == "at the import":
            raise AttributeError("other layout")

    def _get(self, _: Any, key: int) -> Observation:
        if self._breaks == "before the call":
            raise ValueError("before")
        if key == 0:
            return
        try:
            result = yield
        finally:
            self.seen.append("done")
        if self._breaks == "after the call":
            raise ValueError("after")
        self.seen.append(f"{key}: {result}")


def installed(probe: Probe) -> Any:
    probe.install()
    probe.install()
    return importlib.import_module(NAME).Cache()


def test_a_call_is_observed_and_its_result_or_exception_is_as_ever() -> None:
    probe = Probe()
    cache = installed(probe)
    assert cache.get(3) == 3
    assert probe.seen == ["done", "3: 3"]
    with pytest.raises(KeyError) as raised:
        cache.get(-1)
    assert (raised.value.args, probe.seen[2:]) == ((-1,), ["done"])
    assert cache.get(0) == 0
    assert probe.seen[3:] == []


def test_hooks_that_a_version_lacks_are_reported() -> None:
    probe = Probe()
    report = ProcessReport()
    probe.install()
    probe.report(report)
    installed(probe)
    probe.report(report)
    assert report.kernels is not None
    before, after = report.kernels.compilers
    assert (before.version, before.missing) == (None, [])
    assert (after.version, after.missing) == (pytest.__version__, ["Cache.load", "compile"])


@pytest.mark.parametrize(
    ("breaks", "error"),
    [
        ("at the import", "AttributeError: other layout"),
        ("before the call", "ValueError: before"),
        ("after the call", "ValueError: after"),
    ],
)
def test_what_a_hook_raises_fails_the_probe_and_not_the_program(tmp_path: Path, breaks: str, error: str) -> None:
    probe = Probe(breaks)
    observer = Observer(tmp_path)
    observer.install(probe)
    assert installed(probe).get(3) == 3
    report = observer.report()
    assert report.failed_probes == {"some compiler": error}
    assert report.kernels is not None
    assert [state.compiler for state in report.kernels.compilers] == [Compiler.TILELANG]


def test_probes_import_no_library(tmp_path: Path) -> None:
    before = set(sys.modules)
    observer = Observer(tmp_path)
    observer.install(*kernel_probes())
    report = observer.report()
    assert report.failed_probes == {}
    assert not {name.partition(".")[0] for name in set(sys.modules) - before} & {"triton", "cutlass", "torch"}
    assert report.kernels is not None
    assert len(report.kernels.compilers) == len(Compiler) - 2
