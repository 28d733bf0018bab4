"""`coldwarm show ISSUE`."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from coldwarm.catalog.engine_issues import ENGINE_ISSUES
from coldwarm.catalog.writing import entry_text
from tests.support.commands import ROOT, Commands
from tests.support.records import known_issue, model_entry, tiny_config
from tests.support.runs import passed
from tests.support.stored import stored

LAUNCHES = "triton-kernel-index-in-graph"
TUNED = "kernels-tuned-again"


@pytest.fixture
def here(tmp_path: Path) -> Commands:
    return Commands(tmp_path, [])


def shown(here: Commands, *words: str) -> str:
    done = here.run_in_process("show", *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def own_catalog(folder: Path, model: str = "tiny", **issue: object) -> Path:
    (folder / "configs").mkdir(parents=True, exist_ok=True)
    (folder / "configs" / "tiny.json").write_text(json.dumps(tiny_config()))
    entry = model_entry(id=model, config="configs/tiny.json", known_issue=[known_issue(**issue)])
    (folder / f"{model}.toml").write_text(entry_text(entry))
    return folder


def page(issue: str) -> str:
    return (ROOT / "docs" / "known-issues" / f"{issue}.md").read_text(encoding="utf-8")


def test_an_issue_of_the_engine_is_shown_with_its_page_as_markdown(here: Commands) -> None:
    assert shown(here, LAUNCHES) == (
        f"{LAUNCHES}: each launch of a Triton kernel in a graph has a number of its own there, so that layers with "
        "such a launch share no artifact\n"
        f"  of      the engine, for every model in which it occurs; declared in {ENGINE_ISSUES}\n"
        "  if      torch >=2.11\n"
        "  breaks  cold-only-unique\n"
        f"  link    docs/known-issues/{LAUNCHES}.md\n"
        "\n"
        f"{page(LAUNCHES)}"
    )


def test_an_issue_of_models_names_them(here: Commands) -> None:
    head, text = shown(here, "grouped-topk-compiled-apart-once").split("\n\n", 1)
    assert "\n  of      glm-4.5, kimi-k2.5\n  if      cuda, piecewise, torch ~=2.14.0, vllm ~=0.33.0\n" in head
    # It shares the page of another issue.
    assert text == page("grouped-topk-compiled-apart")


def test_an_issue_with_a_url_has_no_page(here: Commands) -> None:
    first, second = shown(here, "saves-again-when-warm").split("\n\n")
    url = "  link    https://github.com/vllm-project/vllm/issues/38051"
    assert first.endswith(url) and second.rstrip("\n").endswith(url)
    assert "  of      deepseek-v3.2\n" in first and "  of      kimi-k2.5\n" in second
    assert "  breaks  warm-saves-nothing, warm-loads-all, warm-no-compiler\n" in first


def test_an_issue_of_a_users_catalog_has_its_page_there(here: Commands, tmp_path: Path) -> None:
    own_catalog(tmp_path / "mine", link="known-issues/one-too-many.md")
    assert "  link    known-issues/one-too-many.md (no such file)\n" in shown(here, "one-too-many", "--catalog", "mine")
    (tmp_path / "mine" / "known-issues").mkdir()
    (tmp_path / "mine" / "known-issues" / "one-too-many.md").write_text("# one-too-many\n\nTwo layers differ.\n\n")
    text = shown(here, "one-too-many", "--catalog", "mine")
    assert text.endswith("\n  link    known-issues/one-too-many.md\n\n# one-too-many\n\nTwo layers differ.\n")
    own_catalog(tmp_path / "mine", "small", link="known-issues/one-too-many.md", when={"device": "cuda"})
    text = shown(here, "one-too-many", "--catalog", "mine")
    assert (text.count("one unique subgraph too many\n  of"), text.count("Two layers differ.")) == (2, 1)


def test_without_the_users_catalog_an_issue_of_it_is_unknown(here: Commands, tmp_path: Path) -> None:
    own_catalog(tmp_path / "mine")
    done = here.run_in_process("show", "one-too-many")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no model 'one-too-many' in the catalog" in done.stderr
    assert "for a known issue of your own catalog, add --catalog DIR\n" in done.stderr
    done = here.run_in_process("show", "one-to-many", "--catalog", "mine")
    assert "no model 'one-to-many' in the catalog; nearest: one-too-many\n" in done.stderr
    assert "add --catalog" not in done.stderr


def test_models_and_stored_runs_take_precedence(here: Commands, tmp_path: Path) -> None:
    own_catalog(tmp_path / "mine", TUNED)
    assert shown(here, TUNED, "--catalog", "mine").startswith(f"{TUNED}: Tiny (LlamaForCausalLM)\n")
    (tmp_path / LAUNCHES).mkdir()
    assert shown(here, LAUNCHES).startswith(f"{LAUNCHES}: each launch ")
    (tmp_path / LAUNCHES / "config.json").write_text(json.dumps(tiny_config()))
    assert shown(here, LAUNCHES).startswith(f"{LAUNCHES}: {LAUNCHES} (LlamaForCausalLM)\n")
    stored(tmp_path / TUNED, passed("a"))
    assert "a on vllm, cpu, piecewise: passed" in shown(here, TUNED)


def test_a_page_that_cannot_be_read_is_a_usage_error(here: Commands, tmp_path: Path) -> None:
    own_catalog(tmp_path / "mine", link="one-too-many.md")
    (tmp_path / "mine" / "one-too-many.md").write_bytes(b"Caf\xe9\n")
    assert shown(here, "one-too-many", "--catalog", "mine").endswith("\n\nCaf\ufffd\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("coldwarm.catalog.declared_issues.is_file", lambda path: True)
        (tmp_path / "mine" / "one-too-many.md").unlink()
        done = here.run_in_process("show", "one-too-many", "--catalog", "mine")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot read mine/one-too-many.md: No such file or directory" in done.stderr


def read_to_end(terminal: int) -> Iterator[str]:
    # Without a process that has it open, there is an error instead of an end.
    with suppress(OSError):
        while text := os.read(terminal, 4096):
            yield text.decode(errors="replace")


def test_a_terminal_shows_the_page_as_formatted_text(here: Commands) -> None:
    ours, theirs = pty.openpty()
    environment = {**here.environment(), "TERM": "dumb", "COLUMNS": "120"}
    with subprocess.Popen(here.line("show", TUNED), env=environment, stdout=theirs) as running:
        os.close(theirs)
        screen = "".join(read_to_end(ours))
    os.close(ours)
    assert running.returncode == 0
    assert screen.startswith(f"{TUNED}: with separate artifacts, ")
    assert "Save the chosen configuration with the artifact" in screen
    assert "**" not in screen and "| --- |" not in screen and "## Why" not in screen
