"""`coldwarm show MODEL --write DIR`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.exit_codes import ExitCode
from tests.support.commands import Commands


@pytest.fixture
def here(tmp_path: Path) -> Commands:
    return Commands(tmp_path, [])


def test_the_folder_has_the_shrunk_config(here: Commands, tmp_path: Path) -> None:
    done = here.run_in_process("show", "llama-3.1-8b", "--write", "my llama", "--device", "cpu")
    assert done.returncode == ExitCode.HEALTHY, done.stderr
    published = Catalog.read().resolve("llama-3.1-8b").config
    written = json.loads((tmp_path / "my llama" / "config.json").read_bytes())
    assert (written["hidden_size"], published["hidden_size"]) == (256, 4096)
    assert written["rope_theta"] == published["rope_theta"]
    assert "--compilation piecewise -- python -m vllm" in done.stdout
    assert "--model 'my llama'" in done.stdout
    assert "piecewise" not in here.run_in_process("show", "glm-4.5", "--write", "glm", "--device", "cuda").stdout


@pytest.mark.parametrize(
    ("model", "width", "flag"),
    [("llama-3.1-8b-eagle3", 256, '"method": "eagle3"'), ("glm-4.5-mtp", 256, '"method": "mtp"')],
)
def test_the_drafter_is_written_too(here: Commands, tmp_path: Path, model: str, width: int, flag: str) -> None:
    done = here.run_in_process("show", model, "--write", "m", "--device", "cuda")
    assert done.returncode == ExitCode.HEALTHY, done.stderr
    drafter = json.loads((tmp_path / "m" / "drafter" / "config.json").read_bytes())
    assert drafter["hidden_size"] == width
    words = shlex.split(done.stdout)
    speculative = words[words.index("--speculative-config") + 1]
    assert flag in speculative
    assert json.loads(speculative)["model"] == "m/drafter"


def test_the_command_has_the_options_of_the_entry(here: Commands) -> None:
    done = here.run_in_process("show", "qwen3-vl-4b", "--write", "vl", "--device", "cuda")
    assert "--no-skip-tokenizer-init" in done.stdout
    assert """--limit-mm-per-prompt '{"image": 1, "video": 0}'""" in done.stdout
    blocks = here.run_in_process("show", "deepseek-v4-flash", "--write", "d", "--device", "cuda")
    assert "--num-gpu-blocks-override 256" in blocks.stdout


def test_another_model_is_not_overwritten(here: Commands, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    done = here.run_in_process("show", "llama-3.1-8b", "--write", ".", "--device", "cpu")
    assert done.returncode == ExitCode.USAGE
    assert "config.json exists, and is another model's" in done.stderr
    assert (tmp_path / "config.json").read_text() == "{}"


def test_a_model_that_the_device_cannot_run_is_not_written(here: Commands, tmp_path: Path) -> None:
    done = here.run_in_process("show", "deepseek-v3.2", "--write", "d", "--device", "cpu")
    assert done.returncode == ExitCode.USAGE
    assert "deepseek-v3.2 is unsupported on cpu" in done.stderr
    assert not (tmp_path / "d").exists()


def test_the_other_files_of_an_entry_are_written_too(here: Commands, tmp_path: Path) -> None:
    done = here.run_in_process("show", "qwen3-vl-4b", "--write", "vl", "--device", "cuda")
    assert done.returncode == ExitCode.HEALTHY, done.stderr
    files = Catalog.read().resolve("qwen3-vl-4b").files
    assert {path.name for path in (tmp_path / "vl").iterdir()} == {"config.json", *files}
    assert json.loads((tmp_path / "vl" / "tokenizer.json").read_bytes()) == json.loads(files["tokenizer.json"])


def test_a_device_is_only_for_the_model_that_is_written(here: Commands) -> None:
    done = here.run_in_process("show", "llama-3.1-8b", "--device", "cpu")
    assert (done.returncode, "add --write DIR" in done.stderr) == (ExitCode.USAGE, True)
