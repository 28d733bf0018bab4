from __future__ import annotations

import pytest

from coldwarm.core.errors import UsageError
from coldwarm.engines import base as engine


def test_vllm_is_an_engine() -> None:
    assert engine.names() == ["vllm"]


@pytest.mark.parametrize("load", [engine.load_installation, engine.load_worker])
def test_an_unknown_engine_is_an_error_that_lists_the_known_ones(load: object) -> None:
    assert callable(load)
    with pytest.raises(UsageError, match=r"no engine 'vllmm'; nearest: vllm \(engines: vllm\)"):
        load("vllmm")


def test_the_installed_engine_has_versions() -> None:
    installation = engine.load_installation("vllm")
    versions = installation.versions()
    assert versions["vllm"] == installation.version
    assert "torch" in versions
