"""The packages of coldwarm import one another in one direction only."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import coldwarm

SOURCES = Path(coldwarm.__file__).parent

ORDER = (
    "core",
    "trace",
    "graphs",
    "measure",
    "observe",
    "engines",
    "catalog",
    "launch",
    "checks",
    "diagnose",
    "store",
    "suite",
    "report",
    "ci",
    "cli",
    "pytest_plugin",
)
"""A package may import itself and those before it."""


def imports() -> Iterator[tuple[str, str, str]]:
    """Yield, for each import in the sources, the importing package, the imported one, and where it stands."""
    for path in sorted(SOURCES.rglob("*.py")):
        importer = path.relative_to(SOURCES).parts[0]
        if importer == path.name:  # __init__.py, __main__.py and api.py may import anything
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Import | ast.ImportFrom):
                continue
            modules = []
            if isinstance(node, ast.ImportFrom):
                modules = (
                    [node.module or ""] if node.module != "coldwarm" else [f"coldwarm.{a.name}" for a in node.names]
                )
            else:
                modules = [alias.name for alias in node.names]
            for module in modules:
                match module.split("."):
                    case ["coldwarm", package, *_]:
                        yield importer, package, f"{path.relative_to(SOURCES.parent)}:{node.lineno}"


def test_each_package_imports_only_those_before_it() -> None:
    wrong = [
        f"{where}: {importer} imports {imported}"
        for importer, imported, where in imports()
        if imported in ORDER and ORDER.index(imported) > ORDER.index(importer)
    ]
    assert wrong == []


def test_every_package_has_its_place_in_the_order() -> None:
    packages = {path.parent.name for path in SOURCES.glob("*/__init__.py")}
    assert packages == set(ORDER)
