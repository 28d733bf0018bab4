"""Only one module contains the names of a run's files."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import coldwarm
from coldwarm.core.record import StartKind
from coldwarm.core.run_folder import RunFolder, SuiteFolder, start_name

SOURCES = Path(coldwarm.__file__).parent
OWNER = SOURCES / "core" / "run_folder.py"

WHOLE = re.compile(r"\b(case|verdict|explanation|suite|cold|warm)\.(json|log|trace|keys)\b|\bfork-server-\*")
"""A literal name."""
ENDING = re.compile(r"^\.(json|log|trace|keys\.json|request\.json|result\.json)\b")
"""The suffix that makes a file name from the name of a start, in an f-string."""


def names_in(source: str) -> list[str]:
    """Return the strings of `source`, except docstrings, that contain the name of a run's file."""
    tree = ast.parse(source)
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [text for text, pattern in _strings(tree, docstrings) if pattern.search(text)]


def _strings(tree: ast.AST, docstrings: set[int]) -> Iterator[tuple[str, re.Pattern[str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            for before, part in zip(node.values, node.values[1:], strict=False):
                if isinstance(before, ast.FormattedValue) and isinstance(part, ast.Constant):
                    yield str(part.value), ENDING
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value, WHOLE


def test_names_are_found_in_strings_and_not_in_docstrings() -> None:
    code = '"""cold.log"""\na = "x/cold.trace/y"\nb = f"{a}.keys.json: {a}.example"\nc = "config.json"\n'
    assert names_in(code) == ["x/cold.trace/y", ".keys.json: "]


def test_no_other_module_contains_the_name_of_a_file() -> None:
    found = {
        path.relative_to(SOURCES).as_posix(): names
        for path in sorted(SOURCES.rglob("*.py"))
        if path != OWNER and (names := names_in(path.read_text(encoding="utf-8")))
    }
    assert found == {}


def test_the_names_match_those_of_stored_runs() -> None:
    run = SuiteFolder(Path("suite")).run("tiny")
    assert run == RunFolder(Path("suite/tiny"))
    assert [path.name for path in (run.case, run.verdict, run.explanation)] == [
        "case.json",
        "verdict.json",
        "explanation.json",
    ]
    files = [run.record(StartKind.COLD), run.log(StartKind.COLD), run.trace(StartKind.COLD), run.keys(StartKind.COLD)]
    assert [path.name for path in files] == ["cold.json", "cold.log", "cold.trace", "cold.keys.json"]
    assert run.keys(StartKind.COLD, 1).name == "cold.rank-1.keys.json"


def test_only_starts_after_the_first_are_numbered() -> None:
    assert [start_name(StartKind.WARM, number) for number in (1, 2)] == ["warm", "warm-2"]


def test_a_trace_exists_if_it_has_a_file(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.trace("cold").mkdir()
    assert not run.has_trace("cold")
    (run.trace("cold") / "rank_0.log").touch()
    assert run.has_trace("cold")
    assert not run.has_trace("warm")
