from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from coldwarm.core.kernels import MOST_EVENTS, Compiler, KernelEvent, KernelEvents, KernelOutcome, KernelSource
from coldwarm.core.record import ProcessReport
from coldwarm.observe.kernels import recorder as module
from coldwarm.observe.kernels.recorder import OWNER, Recorder, call_site, component, digest


def add(recorder: Recorder, key: str = "k", **values: Any) -> None:
    recorder.add(
        recorder.request(),
        compiler=Compiler.TRITON,
        kernel="scale",
        key=key,
        outcome=KernelOutcome.COMPILED,
        source=KernelSource.HOOK,
        **values,
    )


def events(recorder: Recorder) -> KernelEvents:
    report = ProcessReport()
    recorder.report(report)
    assert report.kernels is not None
    return report.kernels


def test_an_event_names_who_asked_for_it() -> None:
    recorder = Recorder(lambda: "warm-up")
    token = OWNER.set("LLFp32WGemm CompileKey(m=1)")
    add(recorder)
    OWNER.reset(token)
    add(recorder)
    first, second = events(recorder).events
    assert (first.owner, second.owner, first.phase) == ("LLFp32WGemm CompileKey(m=1)", None, "warm-up")
    assert first.where == second.where
    assert (first.where or "").rpartition(":")[0].endswith("tests/observe/kernels/test_recorder.py")


def test_events_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_EVENTS == 2000
    monkeypatch.setattr(module, "MOST_EVENTS", 3)
    recorder = Recorder()
    for number in range(5):
        add(recorder, str(number))
    seen = events(recorder)
    assert ([event.key for event in seen.events], seen.dropped) == (["0", "1", "2"], 2)


def test_events_of_all_threads_are_recorded_up_to_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_EVENTS", 50)
    recorder = Recorder()
    # The list gives way to another thread wherever it is asked for its length.
    monkeypatch.setattr(recorder, "_events", _Yielding())
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: add(recorder, str(number)), range(60)))
    seen = events(recorder)
    assert (len({event.key for event in seen.events}), len(seen.events), seen.dropped) == (50, 50, 10)


class _Yielding(list[KernelEvent]):
    def __len__(self) -> int:
        length = super().__len__()
        time.sleep(0.0005)
        return length


def test_a_forked_process_begins_without_events() -> None:
    recorder = Recorder()
    recorder.install()
    recorder.install()
    add(recorder, "of the parent")
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            add(recorder, "of the child")
            os.write(write_end, " ".join(event.key for event in events(recorder).events).encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        assert pipe.read() == "of the child"
    os.waitpid(child, 0)
    assert [event.key for event in events(recorder).events] == ["of the parent"]


def test_the_call_site_is_outside_of_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "package" / "library.py"
    space: dict[str, Any] = {"call_site": call_site, "folder": f"{source.parent}{os.sep}"}
    exec(compile("def ask():\n    return call_site(folder)\n", str(source), "exec"), space)
    caller = tmp_path / "site" / "engine" / "layers.py"
    exec(compile("\n\ndef layer():\n    return ask()\n", str(caller), "exec"), space)
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert space["layer"]() == "engine/layers.py:4"


def test_a_kernel_of_a_graph_is_inductors() -> None:
    recorder = Recorder()
    space: dict[str, Any] = {"ask": recorder.request}
    exec(
        compile("def precompile():\n    return ask()\n", "torch/_inductor/runtime/triton_heuristics.py", "exec"), space
    )
    request = space["precompile"]()
    assert (request.owner, request.where) == ("Inductor", "torch/_inductor/runtime/triton_heuristics.py:2")


def test_a_long_component_is_shortened_and_stays_different() -> None:
    first, second = component("x" * 10_000 + "a"), component("x" * 10_000 + "b")
    assert first != second
    assert len(first) == len(second) < 500
    assert (component("short"), component((1, "a"))) == ("short", "(1, 'a')")


def test_a_digest_depends_on_how_its_parts_are_split() -> None:
    assert digest("ab", "c") != digest("a", "bc")
    assert digest("a") == digest(b"a")
    assert len(digest("\udcff")) == 32
