"""The packages of coldwarm import one another in one direction only."""

from __future__ import annotations

import ast
import re
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
    "comparison",
    "bisection",
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


ENGINE = re.compile("vllm", re.IGNORECASE)

MAY_NAME_THE_ENGINE = {
    "core/engine.py": "the default engine",
    "core/conditions.py": "the key of a version range in a catalog file",
    "core/model_entry.py": "an example in an error message on a catalog file",
    "engines/base.py": "the list of engines",
    "cli": "help",
    "pytest_plugin/plugin.py": "help",
}
"""Where sources outside its package name vLLM, and why."""


def names_of_the_engine() -> Iterator[tuple[str, int, str]]:
    """Yield each identifier, import and string, docstrings aside, that names vLLM outside its package."""
    for path in sorted(SOURCES.rglob("*.py")):
        place = path.relative_to(SOURCES).as_posix()
        if place.startswith("engines/vllm/"):
            continue
        for node, name in _names_and_texts(ast.parse(path.read_text(encoding="utf-8"))):
            if ENGINE.search(name):
                yield place, node.lineno, name


def _names_and_texts(tree: ast.Module) -> Iterator[tuple[ast.expr | ast.stmt | ast.arg | ast.alias, str]]:
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if id(node) not in docstrings:
                yield node, text
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name) | ast.alias(name=name):
                yield node, name
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield node, name
            case ast.ImportFrom(module=str(name)):
                yield node, name


def test_only_its_own_package_knows_the_engine() -> None:
    wrong = [
        f"coldwarm/{place}:{line}: {name}"
        for place, line, name in names_of_the_engine()
        if not {place, place.split("/")[0]} & MAY_NAME_THE_ENGINE.keys()
    ]
    assert wrong == []


def test_each_exception_is_needed() -> None:
    named = {place for place, _, _ in names_of_the_engine()}
    assert {
        each for each in MAY_NAME_THE_ENGINE if not any(f"{place}/".startswith(f"{each}/") for place in named)
    } == set()
