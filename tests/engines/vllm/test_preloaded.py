from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldwarm.engines.vllm import preloaded
from coldwarm.engines.vllm.preloaded import import_if_available, run_in_fork


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Create the modules ``an_engine``, ``an_engine.whole`` and ``an_engine.broken``, which imports a missing one."""
    (tmp_path / "an_engine").mkdir()
    for name, code in (("__init__", ""), ("whole", ""), ("broken", "import an_engines_need")):
        (tmp_path / "an_engine" / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in ("an_engine", "an_engine.whole"):
        sys.modules.pop(name, None)


def test_a_module_that_exists_is_imported() -> None:
    import_if_available("an_engine.whole")
    assert "an_engine.whole" in sys.modules


@pytest.mark.parametrize("name", ["an_engine.other", "an_engine.other.module", "no_engine.module"])
def test_a_module_that_a_version_does_not_have_is_skipped(name: str) -> None:
    import_if_available(name)
    assert name not in sys.modules


def test_a_module_that_imports_a_missing_one_is_an_error() -> None:
    with pytest.raises(ModuleNotFoundError, match="an_engines_need"):
        import_if_available("an_engine.broken")


def test_a_forked_process_ends_if_its_result_cannot_be_pickled() -> None:
    parent = os.getpid()
    try:
        with pytest.raises(RuntimeError, match="pickle"):
            run_in_fork(lambda: lambda: 1)
    finally:
        # A child that escapes would continue with the tests.
        if os.getpid() != parent:
            os._exit(1)


@pytest.mark.parametrize(
    ("capabilities", "architecture"),
    [([(9, 0), (9, 0)], "sm_90a"), ([(8, 9)], "sm_89"), ([(9, 0), (10, 0)], None), ([], None)],
)
def test_cute_dsl_gets_the_architecture_during_the_imports(
    capabilities: list[tuple[int, int]], architecture: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CUTE_DSL_ARCH", raising=False)
    monkeypatch.setattr(preloaded, "_capabilities", lambda: capabilities)
    with pytest.raises(KeyError), preloaded._architecture_for_cute_dsl():
        assert os.environ.get("CUTE_DSL_ARCH") == architecture
        raise KeyError
    assert "CUTE_DSL_ARCH" not in os.environ


def test_the_users_architecture_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUTE_DSL_ARCH", "sm_80")
    monkeypatch.setattr(preloaded, "_capabilities", lambda: [(9, 0)])
    with preloaded._architecture_for_cute_dsl():
        assert os.environ["CUTE_DSL_ARCH"] == "sm_80"
    assert os.environ["CUTE_DSL_ARCH"] == "sm_80"
