from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from coldwarm.catalog import writing
from coldwarm.catalog.catalog import PACKAGED, read_model
from coldwarm.catalog.preparing import prepare
from coldwarm.suite.result import RunResult
from tests.support.commands import Commands
from tests.support.records import LOADED, SAVED, VERSIONS, cold_facts, cold_record, warm_facts, warm_record
from tests.support.stored import stored

MODELS = ("llama-3.1-8b", "qwen3-32b")
NEWER = {**VERSIONS, "vllm": "0.34.0"}


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A folder with two models of the catalog, whose ids begin with ``my-``."""
    folder = tmp_path / "models"
    folder.mkdir()
    shutil.copytree(PACKAGED.parent / "configs", tmp_path / "configs")
    for name in MODELS:
        text = (PACKAGED / f"{name}.toml").read_text()
        (folder / f"my-{name}.toml").write_text(text.replace(f'id = "{name}"', f'id = "my-{name}"'))
    return folder


@pytest.fixture
def runs(tmp_path: Path, catalog: Path) -> Path:
    """A suite with a newer version: the first is healthy, the second saves again when it is warm."""
    results = []
    for name, saved in zip(MODELS, (0, 1), strict=True):
        model = read_model(catalog / f"my-{name}.toml")
        case = prepare(model, model.entry.id, engine="vllm", device="cpu", compilation="piecewise")
        case = case.model_copy(update={"named_by_id": True, "catalog": str(catalog)})
        cold = cold_record(facts=cold_facts(counters={SAVED: 2}, versions=NEWER, aot_artifact="bundled"))
        warm = warm_record(facts=warm_facts(counters={SAVED: saved, LOADED: 2}, versions=NEWER, aot_artifact="bundled"))
        results.append(RunResult.of(case, cold, warm))
    return stored(tmp_path / "runs", *results)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_healthy_runs_are_written_and_others_refused(tmp_path: Path, catalog: Path, runs: Path) -> None:
    commands, before = Commands(tmp_path, []), contents(catalog)
    shown = commands.run_in_process("accept", runs, "--dry-run", "--catalog", catalog)
    assert (shown.returncode, shown.stderr, contents(catalog)) == (1, "", before)
    done = commands.run_in_process("accept", "runs", "--catalog", catalog)
    assert (done.returncode, done.stderr) == (1, "")
    accepted = catalog / "my-llama-3.1-8b.toml"
    assert done.stdout == f"{shown.stdout}wrote {accepted}\n"
    lines = done.stdout.splitlines()
    assert "my-llama-3.1-8b (cpu, piecewise, bundled AOT artifact, torch ~=2.13.0, vllm ~=0.34.0): new" in lines
    assert f"  cold.{SAVED}: 3 -> 2" in lines
    assert "my-qwen3-32b (cpu, piecewise, bundled AOT artifact, torch ~=2.13.0, vllm ~=0.34.0): refused" in lines
    assert "  - warm-saves-nothing does not hold: warm start saved 1 artifact (expected 0)" in lines
    assert "1 new, 1 refused" in lines
    assert "--- a/models/my-llama-3.1-8b.toml" in lines
    assert "+cold.vllm.num_compiled_artifacts_saved = 2" in lines
    assert contents(catalog).keys() == before.keys()
    assert contents(catalog)["my-qwen3-32b.toml"] == before["my-qwen3-32b.toml"]
    judged = commands.run_in_process("judge", runs / "my-llama-3.1-8b", "--catalog", catalog)
    assert (judged.returncode, "no expectation" in judged.stdout) == (0, False)
    again = commands.run_in_process("accept", runs / "my-llama-3.1-8b", "--catalog", catalog)
    assert (again.returncode, again.stdout.splitlines()[1:]) == (0, ["1 unchanged"])


def test_nothing_is_written_if_a_file_may_not_be(
    tmp_path: Path, catalog: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(catalog)
    monkeypatch.setattr(writing, "PACKAGED", catalog)
    done = Commands(tmp_path, []).run_in_process("accept", runs, "--catalog", catalog)
    assert (done.returncode, done.stdout, contents(catalog)) == (2, "", before)
    assert "belongs to the installed coldwarm" in done.stderr
