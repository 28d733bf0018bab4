"""The documentation: its links, the commands that it shows, and its picture."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import yaml
from typer.core import TyperGroup

from coldwarm.catalog.catalog import Catalog
from coldwarm.cli.main import app
from coldwarm.report.versions_view import versions_as_markdown
from coldwarm.suite.versions import compare_versions

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("[!.]*/README.md")])
BEING_ADDED = {"--report"}
"""Options that the pages have and the commands have not yet."""
LINK = re.compile(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)")


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    for path, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        target = page if not path else page.parent / path
        assert target.exists(), path
        assert not anchor or anchor in _anchors(target), f"{path}#{anchor}"


def _commands(page: Path) -> Iterator[str]:
    """Yield every call of coldwarm in code, without variables before it and redirections behind it."""
    for code in re.findall(r"```\w*\n(.*?)```|`([^`\n]+)`", page.read_text(encoding="utf-8"), re.DOTALL):
        for line in "".join(code).splitlines():
            line = re.sub(r"^(\$ )?([A-Z_]+=\S* )*", "", re.split(r"  +#| [>|] ", line)[0]).strip()
            if re.match(r"coldwarm [a-z]+", line) and not line.startswith("coldwarm run.."):
                yield line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_commands_and_their_options_exist(page: Path) -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for line in _commands(page):
        _, name, *words = shlex.split(line.split(" -- ")[0].replace("[", "").replace("]", ""))
        assert name in group.commands, line
        command = group.commands[name]
        if isinstance(command, TyperGroup):
            command = command.commands.get(words[0] if words else "", command.commands["list"])
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word.split("=")[0] for word in words if word.startswith("-")} <= options | BEING_ADDED | {"--help"}, (
            line
        )


def test_the_kubernetes_example_sets_the_variable_of_each_cache_to_a_folder_of_its_own_on_the_volume() -> None:
    page = (ROOT / "docs" / "your-server.md").read_text(encoding="utf-8")
    [table] = re.findall(r"^\| compiler \| variable \|.*\n\| --- .*\n((?:\|.*\n)+)", page, re.MULTILINE)
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    [container] = [block for block in blocks if "volumeMounts" in block]
    values = {each["name"]: each["value"] for each in container["env"]}
    scratch = values.pop("TMPDIR")
    assert list(values) == re.findall(r"\| `([A-Z_]+)` \|", table)
    assert len(set(values.values())) == len(values) and all(value.startswith("/cache/") for value in values.values())
    volumes = {each["mountPath"]: each["name"] for each in container["volumeMounts"]}
    [job] = [block for block in blocks if block.get("kind") == "Job"]
    assert volumes.keys() == {"/cache", scratch}
    assert set(volumes.values()) == {each["name"] for each in job["spec"]["template"]["spec"]["volumes"]}


@pytest.mark.parametrize(("first", "second", "status"), [(1, 0, 0), (0, 0, 0), (1, 1, 1), (3, 0, 1)])
def test_the_kubernetes_job_succeeds_only_if_its_second_start_is_warm(
    tmp_path: Path, first: int, second: int, status: int
) -> None:
    page = (ROOT / "docs" / "your-server.md").read_text(encoding="utf-8")
    [job] = [block for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "kind: Job" in block]
    [container] = yaml.safe_load(job)["spec"]["template"]["spec"]["containers"]
    (tmp_path / "coldwarm").write_text(f"#!/bin/sh\nif mkdir ran; then exit {first}; else exit {second}; fi\n")
    (tmp_path / "coldwarm").chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    words = [*container["command"], *container["args"]]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert done.returncode == status


def test_the_table_of_versions_is_what_coldwarm_prints_from_the_stored_suites(monkeypatch: pytest.MonkeyPatch) -> None:
    # Links lead to pages that exist there.
    monkeypatch.chdir(ROOT)
    # In any order, as a shell has them.
    suites = sorted((path.parent for path in (ROOT / "records").glob("*/suite.json")), reverse=True)
    printed = versions_as_markdown(compare_versions(suites, Catalog.read()), Path("docs"))
    stored = (ROOT / "docs" / "versions.md").read_text(encoding="utf-8")
    assert printed == stored, "write it again: coldwarm versions records/*/ --output docs/versions.md"


def test_the_picture_is_what_coldwarm_prints_now_and_loads_nothing(tmp_path: Path) -> None:
    pictures = [tmp_path / "first.svg", tmp_path / "second.svg"]
    for picture in pictures:
        subprocess.run([sys.executable, ROOT / "docs" / "images" / "make_run_svg.py", picture], check=True)
    first, second = (picture.read_text(encoding="utf-8") for picture in pictures)
    stored = (ROOT / "docs" / "images" / "run.svg").read_text(encoding="utf-8")
    assert first == second == stored, "draw it again: python docs/images/make_run_svg.py"
    for text in (first, stored):
        assert not re.search(r"@font-face|url\((?!#)|href|<image", text)
        assert not re.search(r"/(tmp|home|root|work|site-packages)/", text)
