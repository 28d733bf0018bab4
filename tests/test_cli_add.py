from __future__ import annotations

import json
import re
from pathlib import Path

from coldwarm.catalog.catalog import read_model
from coldwarm.catalog.preparing import config_for
from tests.support.commands import Commands
from tests.support.records import LOADED, MISSES, SAVED

URL = "https://example.org/tiny/config.json"


def config(folder: Path, behaves: str = "healthy", name: str = "tiny") -> Path:
    path = folder / f"{name}.json"
    published = {"architectures": ["LlamaForCausalLM"], "num_hidden_layers": 32, "hidden_size": 64}
    path.write_text(json.dumps({**published, "behaves": behaves}, indent=3))
    return path


def add(commands: Commands, path: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    done = commands.run("add", path, "--engine=fake", "--catalog=mine", *arguments, **variables)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout if done.returncode != 2 else done.stderr


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_healthy_model_gets_an_entry_that_its_runs_meet(commands: Commands, tmp_path: Path) -> None:
    path = config(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    layouts = "--aot-artifact=bundled", "--aot-artifact=separate"
    code, shown = add(commands, path, f"--source={URL}", "--name=Tiny", "--output=runs", *layouts)
    assert code == 0
    assert files(tmp_path / "mine") == ["configs/tiny.json", "tiny.toml"]
    assert (tmp_path / "mine" / "configs" / "tiny.json").read_bytes() == path.read_bytes()
    text = (tmp_path / "mine" / "tiny.toml").read_text()
    assert shown.startswith(text)
    assert "# layer_kinds are derived from the started model: 8 LlamaDecoderLayer with 6 parameters\n" in text
    model = read_model(tmp_path / "mine" / "tiny.toml")
    entry = model.entry
    assert (entry.id, entry.name, entry.source, entry.layer_kinds) == ("tiny", "Tiny", URL, None)
    assert config_for(model, "cpu")["num_hidden_layers"] == 8
    assert [row.when.aot_artifact for row in entry.expect] == ["bundled", "separate"]
    for row in entry.expect:
        assert (row.cold, row.warm) == ({SAVED: 3, LOADED: 0, MISSES: 4}, {SAVED: 0, LOADED: 3, MISSES: 0})
        assert row.seconds is not None and row.memory is not None
    for number in ("1", "2"):
        judged = commands.run("judge", tmp_path / "runs" / number, "--catalog=mine")
        assert (judged.returncode, "no expectation" in judged.stdout) == (0, False)
    assert "to do: compare the config with its source" in shown
    assert "to do: set source" not in shown
    accepted = commands.run("accept", "runs/1", "runs/2", "--catalog=mine")
    assert (accepted.returncode, accepted.stdout.splitlines()[-1]) == (0, "2 unchanged")


def test_counting_measures_only_the_counters_of_the_engine(commands: Commands, tmp_path: Path) -> None:
    code, _ = add(commands, config(tmp_path), "--depth=count")
    [row] = read_model(tmp_path / "mine" / "tiny.toml").entry.expect
    assert (code, row.cold, row.warm) == (0, {SAVED: 3, LOADED: 0}, {SAVED: 0, LOADED: 3})
    assert (row.seconds, row.memory) == (None, None)


def test_what_exists_is_replaced_only_by_force(commands: Commands, tmp_path: Path) -> None:
    path = config(tmp_path)
    (tmp_path / "mine" / "configs").mkdir(parents=True)
    config(tmp_path / "mine" / "configs")
    old = f'id = "tiny"\nname = "Tiny"\nconfig = "configs/tiny.json"\nsource = "{URL}"\n'
    (tmp_path / "mine" / "tiny.toml").write_text(old)
    for arguments, problem in (
        ((), "mine/tiny.toml exists; choose another id with --id, or replace it with --force"),
        (("--id=glm-4.5",), "'glm-4.5' is already the id of "),
        (("--id=Tiny!",), "--id Tiny!: "),
        (("--id=other", "--depth=trace"), "--depth trace saves and loads nothing; use count or full"),
        (("--id=other", "--known-issue=One!"), "--known-issue One!: an id has lower-case letters"),
        (("--catalog=tiny.json",), "tiny.json is not a folder"),
    ):
        done = commands.run_in_process("add", path, "--engine=fake", "--catalog=mine", *arguments)
        assert (done.returncode, problem in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "coldwarm-runs").exists(), "nothing was started"
    code, shown = add(commands, path, "--force", "--dry-run")
    assert (code, "would write mine/tiny.toml" in shown) == (0, True)
    assert 'source = "unknown"' in shown
    assert "to do: set source to the URL where the config was published" in shown
    assert (tmp_path / "mine" / "tiny.toml").read_text() == old


def test_a_broken_invariant_needs_a_known_issue(commands: Commands, tmp_path: Path) -> None:
    path = config(tmp_path, "compiles too much")
    code, shown = add(commands, path)
    assert (code, files(tmp_path / "mine")) == (1, [])
    assert "- cold start saved 4 artifacts (expected at most 3" in shown
    assert "declare exactly this failure as a known issue with --known-issue ID" in re.sub(r"\s+", " ", shown)
    code, shown = add(commands, path, "--known-issue=one-too-many", "--output=runs")
    assert code == 0
    assert files(tmp_path / "mine") == ["configs/tiny.json", "known-issues/one-too-many.md", "tiny.toml"]
    [issue] = read_model(tmp_path / "mine" / "tiny.toml").entry.known_issue
    assert (issue.id, issue.link, list(issue.breaks), issue.cold, issue.warm) == (
        "one-too-many",
        "known-issues/one-too-many.md",
        ["cold-only-unique", "warm-loads-all"],
        {SAVED: 4},
        {LOADED: 3},
    )
    assert str(issue.when) == "cpu, piecewise, torch ~=2.13.0, vllm ~=0.32.0"
    assert (tmp_path / "mine" / issue.link).read_text().startswith("# one-too-many\n")
    assert f"to do: complete {Path('mine', issue.link)}" in shown
    judged = commands.run("judge", tmp_path / "runs" / "2", "--catalog=mine")
    assert (judged.returncode, "tiny: known issue" in judged.stdout) == (0, True)
    (tmp_path / "mine" / issue.link).write_text("completed")
    code, shown = add(commands, path, "--known-issue=one-too-many", "--force")
    assert (code, (tmp_path / "mine" / issue.link).read_text()) == (0, "completed")
    assert f"to do: add this model to {Path('mine', issue.link)}, which exists and was left as it is" in shown


def test_runs_that_differ_make_no_entry(commands: Commands, tmp_path: Path) -> None:
    code, shown = add(commands, config(tmp_path, "misses more each time"), FAKE_FILE=str(tmp_path / "misses"))
    assert (code, files(tmp_path / "mine")) == (1, [])
    assert f"cold.{MISSES} is 1 or 2" in shown


def test_what_the_device_cannot_run_is_declared_only_if_asked(commands: Commands, tmp_path: Path) -> None:
    path = config(tmp_path, "is unsupported")
    code, shown = add(commands, path)
    assert (code, files(tmp_path / "mine")) == (1, [])
    assert "- cpu cannot run it: Sparse Attention is not supported on CPU. (vllm/platforms/cpu.py:1)" in shown
    assert "--unsupported writes an entry that declares this for cpu" in shown
    code, shown = add(commands, path, "--unsupported")
    assert (code, files(tmp_path / "mine")) == (0, ["configs/tiny.json", "tiny.toml"])
    [declared] = read_model(tmp_path / "mine" / "tiny.toml").entry.unsupported
    assert (declared.devices, "Sparse Attention" in declared.reason) == (("cpu",), True)


def test_settings_that_are_no_defaults_are_found_after_the_first_run(commands: Commands, tmp_path: Path) -> None:
    code, shown = add(commands, config(tmp_path), "--output=runs", VLLM_FAKE_MODE="1")
    assert (code, files(tmp_path / "mine")) == (1, [])
    assert "- it was run with VLLM_FAKE_MODE=1, and no expectation is for that" in shown
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["1"]


def test_a_crash_makes_no_entry(commands: Commands, tmp_path: Path) -> None:
    code, shown = add(commands, config(tmp_path, "raises"))
    assert (code, files(tmp_path / "mine")) == (3, [])
    assert "- the cold start crashed in phase 'weights': ValueError: no such weights" in shown
    assert "  log: ValueError: no such weights\n" in shown
    assert "log: second line" not in shown
