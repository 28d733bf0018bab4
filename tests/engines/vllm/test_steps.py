from __future__ import annotations

import ast
import contextlib
import importlib
import os
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.version import Version

from coldwarm.core.phases import CACHE_SAVE, COMPILE, DEVICE, SETUP, WARM_UP, WEIGHTS
from coldwarm.core.stage import Stage
from coldwarm.engines.vllm.steps import STEPS, StepFunction, announce_steps
from coldwarm.measure.phases import _ORDER
from coldwarm.observe.progress import Progress
from tests.support.release import INSTALLED


class Steps(Progress):
    """Records the steps that were announced."""

    def __init__(self) -> None:
        super().__init__(-1, SETUP)
        self.steps: list[str] = []
        self.known: list[str] = []
        """The steps of a process that announces none."""

    def enter(self, phase: str, *, announce: bool = True) -> None:
        if phase != self.phase:
            (self.steps if announce else self.known).append(phase)
        self.phase = phase


class FakeWorker:
    """Has steps within steps."""

    def __init__(self, rank: int = 0) -> None:
        self.rank = rank

    def warm_up(self, size: int) -> int:
        """Run a forward pass."""
        with decorators().monitor("config"):
            decorators().save()
        return size

    def load(self) -> None:
        raise ValueError("damaged")


class Inheriting(FakeWorker):
    """Defines none of its methods."""


def decorators() -> Any:
    return sys.modules["fake_decorators"]


FAKE_STEPS = (
    StepFunction("fake_worker", "Worker.warm_up", WARM_UP),
    StepFunction("fake_worker", "Worker.load", WEIGHTS),
    StepFunction("fake_worker", "Worker.of_another_version", WEIGHTS),
    StepFunction("fake_worker", "OfAnotherVersion.load", WEIGHTS),
    StepFunction("fake_worker", "Inheriting.load", DEVICE),
    StepFunction("fake_worker", "NUMBER", WEIGHTS),
    StepFunction("fake_decorators", "monitor", COMPILE, is_context=True),
    StepFunction("fake_decorators", "save", CACHE_SAVE),
    StepFunction("fake_decorators", "try_load", Stage.LOAD),
)


@pytest.fixture
def progress(monkeypatch: pytest.MonkeyPatch) -> Iterator[Steps]:
    """Announce the steps of modules that replace vLLM's, of which one is imported later."""
    worker, decorators = ModuleType("fake_worker"), ModuleType("fake_decorators")
    worker.Worker = type("Worker", (), dict(vars(FakeWorker)))  # type: ignore[attr-defined]
    worker.Inheriting = type("Inheriting", (worker.Worker,), {})  # type: ignore[attr-defined]
    worker.NUMBER = 3  # type: ignore[attr-defined]

    @contextlib.contextmanager
    def monitor(config: str) -> Iterator[str]:
        yield config

    def try_load() -> None:
        with decorators.monitor("config"):
            pass

    vars(decorators).update(monitor=monitor, save=lambda: None, try_load=try_load)
    for module in (worker, decorators):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    finders = list(sys.meta_path)
    progress = Steps()
    announce_steps(progress, steps=FAKE_STEPS)
    yield progress
    sys.meta_path[:] = finders


def worker(rank: int = 0) -> Any:
    return sys.modules["fake_worker"].Worker(rank)


def test_steps_are_nested_and_the_outer_one_continues(progress: Steps) -> None:
    assert worker().warm_up(size=8) == 8
    assert progress.steps == [WARM_UP, COMPILE, CACHE_SAVE, COMPILE, WARM_UP, SETUP]


def test_a_wrapped_function_looks_like_the_original(progress: Steps) -> None:
    assert sys.modules["fake_worker"].Worker.warm_up.__doc__ == "Run a forward pass."
    with decorators().monitor("config") as entered:
        assert entered == "config"


def test_timing_of_a_load_as_a_compilation_is_no_step(progress: Steps) -> None:
    decorators().try_load()
    assert progress.steps == ["cache load", SETUP]


def test_an_exception_passes_ends_the_step_and_has_its_phase(progress: Steps) -> None:
    with pytest.raises(ValueError, match="damaged") as raised:
        worker().load()
    assert progress.steps == [WEIGHTS, SETUP]
    assert progress.phase_of(raised.value) == WEIGHTS


def test_an_exception_within_a_context_reaches_it(progress: Steps) -> None:
    with pytest.raises(ValueError, match="no compiler") as raised, decorators().monitor("config"):
        raise ValueError("no compiler")
    assert progress.steps == [COMPILE, SETUP]
    assert progress.phase_of(raised.value) == COMPILE


def test_what_a_version_lacks_or_inherits_is_not_added(progress: Steps) -> None:
    module: Any = sys.modules["fake_worker"]
    assert not hasattr(module.Worker, "of_another_version")
    assert not hasattr(module, "OfAnotherVersion")
    assert "load" not in vars(module.Inheriting)
    assert module.NUMBER == 3


def test_a_module_that_is_imported_later_is_wrapped_then(
    progress: Steps, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "later_module.py").write_text("def load():\n    return 'weights'\n")
    monkeypatch.syspath_prepend(tmp_path)
    announce_steps(progress, steps=(StepFunction("later_module", "load", WEIGHTS),))
    assert "later_module" not in sys.modules
    assert importlib.import_module("later_module").load() == "weights"
    assert progress.steps == [WEIGHTS, SETUP]
    monkeypatch.delitem(sys.modules, "later_module")


def test_a_process_of_another_rank_announces_nothing(progress: Steps) -> None:
    of_rank = Steps()
    announce_steps(of_rank, first_process=False, steps=FAKE_STEPS)
    decorators().save()
    worker(rank=1).warm_up(8)
    assert of_rank.steps == []
    assert of_rank.known == [CACHE_SAVE, SETUP, WARM_UP, COMPILE, CACHE_SAVE, COMPILE, WARM_UP, SETUP]
    worker(rank=0).warm_up(8)
    decorators().save()
    assert of_rank.steps == [WARM_UP, COMPILE, CACHE_SAVE, COMPILE, WARM_UP, SETUP, CACHE_SAVE, SETUP]


@pytest.mark.parametrize(("rank", "steps"), [(0, [WEIGHTS, SETUP]), (1, [])])
def test_a_forked_process_announces_the_steps_of_rank_0(progress: Steps, rank: int, steps: list[str]) -> None:
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            worker(rank).load()
        os.write(write_end, repr(progress.steps).encode())
        os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    assert os.read(read_end, 1000) == repr(steps).encode()
    os.close(read_end)


def test_every_step_has_a_place_in_the_order_of_phases() -> None:
    assert {str(step.phase) for step in STEPS} - {COMPILE} <= {str(name) for name in _ORDER}


def test_the_steps_of_the_installed_vllm_exist() -> None:
    """Read the sources, because importing them takes long: a step that a release moved would be lost silently."""
    since = {"JitWarmupRegistry.warmup": "0.29", "replayssm_autotune_warmup": "0.30"}
    missing = {step.name for step in STEPS if not defines(source_of(step.module), step.name)}
    assert missing == {name for name, release in since.items() if Version(release) > INSTALLED}


def source_of(module: str) -> Path:
    """Return the file of a module of vLLM or torch, which need not be in the same folder."""
    package, _, rest = module.partition(".")
    spec = find_spec(package)
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent / f"{rest.replace('.', '/')}.py"


def defines(file: Path, name: str) -> bool:
    """Return whether a module defines or imports ``function``, or defines ``Class.method``."""
    body = ast.parse(file.read_text()).body if file.is_file() else []
    *classes, function = name.split(".")
    for each in classes:
        body = next((node.body for node in body if isinstance(node, ast.ClassDef) and node.name == each), [])
    imported = {alias.name for node in body if isinstance(node, ast.ImportFrom) for alias in node.names}
    return function in imported | {node.name for node in body if isinstance(node, ast.FunctionDef)}
