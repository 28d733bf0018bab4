"""Reads catalog files. Errors name the file, the line if known, the key, and the fix."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from coldwarm.catalog.engine_issues import ENGINE_ISSUES, engine_issues
from coldwarm.core.conditions import Conditions
from coldwarm.core.engine import DEFAULT_ENGINE
from coldwarm.core.errors import CatalogError, nearest
from coldwarm.core.model_entry import (
    Deviation,
    Drafter,
    Expectation,
    KnownIssue,
    ModelEntry,
    Shrink,
    Unsupported,
    architectures_of,
)
from coldwarm.engines.base import load_vocabulary


def read_entry(path: Path) -> ModelEntry:
    """Read a model's TOML file.

    Raises:
        CatalogError: The file cannot be read, is not valid TOML, or does not describe a model.
    """
    text = read_text(path)
    try:
        data = tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # TOMLDecodeError; a number too long; nested too deep
        line = re.search(r"at line (\d+)", str(error))
        raise CatalogError(path, f"not valid TOML: {error}", line=int(line[1]) if line else None) from error
    try:
        entry = ModelEntry.model_validate(data)
    except ValidationError as error:
        raise _first_problem(path, text, error.errors()) from error
    _check_issues_of_the_engine(path, text, entry)
    _check_environments(path, text, entry)
    return entry


def _check_issues_of_the_engine(path: Path, text: str, entry: ModelEntry) -> None:
    known = [issue.id for issue in engine_issues()]
    for number, row in enumerate(entry.expect):
        for name in row.shows:
            if name not in known:
                raise CatalogError(
                    path,
                    f"{name!r} is not a known issue of the engine{nearest(name, known)}; see {ENGINE_ISSUES}",
                    key=f"expect.{number}.shows",
                    line=_line_of(text, ["expect", number, "shows"]),
                )


def _check_environments(path: Path, text: str, entry: ModelEntry) -> None:
    tables: list[tuple[str, Sequence[Expectation | KnownIssue]]] = [
        ("expect", entry.expect),
        ("known_issue", entry.known_issue),
    ]
    settings_in = load_vocabulary(DEFAULT_ENGINE).settings_in
    for table, rows in tables:
        for number, row in enumerate(rows):
            if ignored := row.when.environment.keys() - settings_in(row.when.environment).keys():
                raise CatalogError(
                    path,
                    f"{min(ignored)} does not change what is compiled, so it cannot be a condition; remove it",
                    key=f"{table}.{number}.when.environment",
                    line=_line_of(text, [table, number, "when", "environment"]),
                )


def read_config(path: Path) -> dict[str, Any]:
    """Read a model's config.json.

    Raises:
        CatalogError: The file cannot be read, is not a JSON object, or names no architecture.
    """
    text = read_text(path)
    try:
        config = json.loads(text)
    except json.JSONDecodeError as error:
        raise CatalogError(path, f"not valid JSON: {error.msg} (column {error.colno})", line=error.lineno) from error
    except (ValueError, RecursionError) as error:  # a number too long; nested too deep
        raise CatalogError(path, f"not valid JSON: {error}") from error
    if not isinstance(config, dict):
        raise CatalogError(path, f"a config.json must contain an object, not a {type(config).__name__}")
    try:
        architectures_of(config, path)
    except CatalogError as error:
        raise CatalogError(path, error.problem, key=error.key, line=_line_of(text, ["architectures"])) from None
    return config


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        CatalogError: The file cannot be read, or is not UTF-8.
    """
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeDecodeError as error:
        raise CatalogError(path, f"not UTF-8 text: {error.reason} at byte {error.start}") from error
    except (OSError, ValueError) as error:
        raise CatalogError(path, getattr(error, "strerror", None) or str(error)) from error


def _first_problem(path: Path, text: str, problems: list[ErrorDetails]) -> CatalogError:
    # A misspelled key causes two problems, an unknown and a missing key; the unknown one is more helpful.
    problem = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
    location = list(problem["loc"])
    key = ".".join(str(part) for part in location)
    match problem["type"]:
        case "extra_forbidden":
            message = f"unknown key{nearest(str(location[-1]), _known_keys(location))}"
        case "missing":
            message = "missing key"
        case _:
            message = problem["msg"].removeprefix("Value error, ")
            if not message.startswith(repr(problem["input"])):
                message += f" (got {problem['input']!r})"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return CatalogError(path, message + more, key=key, line=_line_of(text, location))


_TABLES: dict[str, type[BaseModel]] = {
    "shrink": Shrink,
    "deviation": Deviation,
    "drafter": Drafter,
    "unsupported": Unsupported,
    "expect": Expectation,
    "known_issue": KnownIssue,
}


def _known_keys(location: list[str | int]) -> list[str]:
    """Return the valid keys of the table that contains the last part of `location`."""
    table: type[BaseModel] = ModelEntry if len(location) == 1 else _TABLES.get(str(location[0]), ModelEntry)
    if "when" in location[:-1]:
        table = Conditions
    return list(table.model_fields)


def _line_of(text: str, location: list[str | int]) -> int | None:
    """Return the line (from 1) of the key at `location`, or else of its table; None if unknown."""
    lines = text.split("\n")
    headers = [number for number, line in enumerate(lines) if re.match(r"\s*\[", line)]
    match location:
        case [str() as table, int() as index, *_]:
            of_table = [n for n in headers if re.match(rf"\s*\[\[\s*{re.escape(table)}\s*\]\]", lines[n])]
            if index >= len(of_table):
                return None
            start = of_table[index]
            inside = re.compile(rf"\s*\[\s*{re.escape(table)}\s*\.")
            end = next((n for n in headers if n > start and not inside.match(lines[n])), len(lines))
        case _:
            start, end = 0, headers[0] if headers else len(lines)
    # A counter's name is one part of the location, but may be written with dots.
    for name in reversed([part for part in location if isinstance(part, str)]):
        key = rf"[\"']?{re.escape(name)}[\"']?\s*"
        for pattern, last in (
            (rf"(?<![\w-]){key}[=:]", end),
            (rf"^\s*{key}\.", end),
            (rf"^\s*\[[^\]]*\.\s*{key}\]", end),
            (rf"^\s*\[+\s*{key}\]", len(lines)),
        ):
            for number in range(start, last):
                if not lines[number].lstrip().startswith("#") and re.search(pattern, lines[number]):
                    return number + 1
    return start + 1 if start else None
