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
        options = {option for parameter in group.commands[name].params for option in parameter.opts}
        assert {word.split("=")[0] for word in words if word.startswith("-")} <= options | BEING_ADDED | {"--help"}, (
            line
        )


def test_the_table_of_versions_is_what_coldwarm_prints_from_the_stored_suites() -> None:
    suites = sorted(path.parent for path in (ROOT / "records").glob("*/suite.json"))
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
