from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from coldwarm.engines.vllm.platform_plugin import activate


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"COLDWARM_START": "token"},
        {"COLDWARM_COMPILATION": "piecewise"},
        {"COLDWARM_COMPILATION": "shipped", "COLDWARM_START": "token"},
    ],
)
def test_vllm_is_not_changed_outside_of_a_piecewise_start(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    for name in ("COLDWARM_COMPILATION", "COLDWARM_START"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert activate() is None
    assert "vllm" not in sys.modules


def test_the_plugin_is_an_entry_point_and_imports_nothing_heavy() -> None:
    [plugin] = entry_points(group="vllm.platform_plugins", name="coldwarm")
    code = (
        f"import sys; from {plugin.module} import {plugin.attr} as activate\n"
        "assert activate() is None\n"
        "assert not {'torch', 'vllm', 'pydantic', 'typer'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
