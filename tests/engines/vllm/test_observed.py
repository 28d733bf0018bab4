"""vLLM in a process of a user's command, with modules that only have its names."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ROOT

LOADER = """
class Model: ...
class BaseModelLoader:
    def load_model(self, vllm_config, model_config):
        return Model()
"""
MODULES = {
    "vllm/__init__.py": "import torch\n",
    "vllm/envs.py": "VLLM_USE_MEGA_AOT_ARTIFACT = True\n",
    "vllm/compilation/__init__.py": "",
    "vllm/compilation/backends.py": "model_tag = 'backbone'\nclass VllmBackend: ...\n",
    "vllm/compilation/caching.py": "",
    "vllm/compilation/decorators.py": "from vllm.compilation import backends, caching\n",
    "vllm/model_executor/__init__.py": "",
    "vllm/model_executor/model_loader/__init__.py": "",
    "vllm/model_executor/model_loader/base_loader.py": LOADER,
    "vllm/entrypoints/__init__.py": "",
    "vllm/entrypoints/openai/__init__.py": "",
    "vllm/entrypoints/openai/api_server.py": "import vllm.envs\n",
}


@pytest.fixture
def report(tmp_path: Path) -> Any:
    """Returns the report of a process that runs a program and has such a vLLM."""
    for name, text in MODULES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "reports").mkdir()
    (tmp_path / "observation.json").write_text(json.dumps({"reports": str(tmp_path / "reports")}))
    path = [ROOT / "src/coldwarm/engines/startup", tmp_path, ROOT / "tests/support/fake_torch", ROOT, ROOT / "src"]
    variables = {"COLDWARM_OBSERVATION": str(tmp_path / "observation.json"), "COLDWARM_START": str(tmp_path)}

    def report(program: str) -> Any:
        environment = {**os.environ, **variables, "PYTHONPATH": os.pathsep.join(map(str, path))}
        words = program.split() if program.startswith("-m ") else ["-c", program]
        subprocess.run([sys.executable, *words], env=environment, check=True, timeout=60)
        assert list((tmp_path / "reports").glob("*.unobserved")) == []
        [file] = (tmp_path / "reports").glob("*.json")
        return json.loads(file.read_bytes())

    return report


@pytest.mark.parametrize("first", ["import vllm", "import torch, vllm"])
def test_vllm_is_recognized_whether_it_imports_torch_or_the_program_does(report: Any, first: str) -> None:
    found = report(f"{first}\nimport vllm.envs, vllm.compilation.decorators")
    assert (found["role"], found["rank"], found["program"]["engine"]) == ("program", None, "vllm")
    assert found["program"]["aot_artifact"] == "bundled"
    assert found["cache_keys"] == {"factors": {}, "hints": {}, "problems": []}
    assert found["failed_probes"] == {}


@pytest.mark.parametrize(
    ("program", "role"),
    [
        ("-m vllm.entrypoints.openai.api_server", "API server"),
        ("import vllm.envs, vllm.entrypoints.openai.api_server", "API server"),
        ("import multiprocessing as m, vllm.envs; m.current_process().name = 'EngineCore_DP0'", "engine core"),
    ],
)
def test_the_role_of_a_process_without_a_model(report: Any, program: str, role: str) -> None:
    assert report(program)["role"] == role


def test_a_model_that_a_process_loads_is_noted_and_not_kept(report: Any) -> None:
    found = report(
        "import vllm.envs, vllm.compilation.decorators\n"
        "from vllm.model_executor.model_loader.base_loader import BaseModelLoader\n"
        "model = BaseModelLoader().load_model(None, model_config='c')\n"
        "from coldwarm.engines.vllm.loaded_models import LOADED\n"
        "[loaded] = LOADED\n"
        "assert (loaded.model, loaded.tag, loaded.config) == (model, 'backbone', 'c')\n"
        "del model\n"
        "assert loaded.model is None\n"
        "LOADED.clear()\n"
    )
    assert found["failed_probes"] == {}
