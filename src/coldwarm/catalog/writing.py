"""Writes TOML files of models: expectations into existing ones, and new ones.

Everything else in an existing file keeps its layout and its comments.
"""

from __future__ import annotations

import os
import re
import tempfile
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from coldwarm.catalog.catalog import PACKAGED
from coldwarm.core.conditions import Conditions
from coldwarm.core.errors import CatalogError, UsageError
from coldwarm.core.model_entry import Expectation, KnownIssue, ModelEntry, Unsupported

_HEADER = re.compile(r"^\s*\[")
_OF_EXPECTATION = re.compile(r"^\s*\[\[\s*expect\s*\]\]")
_OF_ISSUE = re.compile(r"^\s*\[\[\s*known_issue\s*\]\]")


@dataclass(frozen=True)
class Edit:
    """An expectation to write."""

    expectation: Expectation
    row: int | None
    """The number of the expectation that it replaces, from 0; None: it is added."""
    note: str
    """A comment beside the seconds and the memory."""


def with_expectations(path: Path, text: str, edits: Sequence[Edit]) -> str:
    """Return the `text` of the model's TOML file at `path` with the `edits`.

    Raises:
        CatalogError: The file has a layout in which they cannot be made.
    """
    before = ModelEntry.model_validate(tomllib.loads(text))
    rows = list(before.expect)
    edits = [edit for edit in edits if edit.row is None or edit.expectation != rows[edit.row]]
    if not edits:
        return text
    try:
        document = tomlkit.parse(text)
        for edit in edits:
            if edit.row is not None:
                _replace(document["expect"][edit.row], rows[edit.row], edit)
                rows[edit.row] = edit.expectation
        text = tomlkit.dumps(document)
    except (TOMLKitError, KeyError) as error:
        raise _by_hand(path, edits) from error
    for edit in edits:
        if edit.row is None:
            place = _place(edit.expectation, rows)
            text = _insert(text, place, expectation_block(edit.expectation, edit.note))
            rows.insert(place, edit.expectation)
    try:
        after = ModelEntry.model_validate(tomllib.loads(text))
    except ValueError as error:
        raise _by_hand(path, edits) from error
    if after != before.model_copy(update={"expect": tuple(rows)}):
        raise _by_hand(path, edits)
    return text


def expectation_block(expectation: Expectation, note: str) -> str:
    """Return `expectation` as a table of a model's TOML file, with a `note` beside its seconds and memory."""
    lines = [
        "[[expect]]",
        f"when = {_conditions(expectation.when)}",
        f"measured = {toml_value(expectation.measured)}",
    ]
    for name in ("seconds", "memory"):
        if (measured := getattr(expectation, name)) is not None:
            lines.append(f"{name} = {toml_value(measured.model_dump(exclude_none=True))}  # {note}")
    if expectation.shows:
        lines.append(f"shows = {toml_value(list(expectation.shows))}")
    for kind, counters in (("cold", expectation.cold), ("warm", expectation.warm)):
        lines += [f"{kind}.{name} = {count}" for name, count in counters.items()]
    return "\n".join(lines) + "\n"


def entry_text(entry: ModelEntry, comments: Sequence[str] = ()) -> str:
    """Return the TOML file of a new `entry` without expectations, with `comments` below its names.

    Raises:
        ValueError: A value of the entry has no representation in TOML.
    """
    head = entry.model_dump(mode="json", include={"id", "name", "config", "source", "source_note"})
    lines = [f"{name} = {toml_value(value)}" for name, value in head.items() if value]
    if entry.layer_kinds:
        lines.append(f"layer_kinds = {toml_value(list(entry.layer_kinds))}")
    lines += [f"# {comment}" for comment in comments]
    for shrink in entry.shrink:
        table = shrink.model_dump(mode="json", exclude_defaults=True, exclude={"overrides"})
        lines += ["", "[[shrink]]", *(f"{name} = {toml_value(value)}" for name, value in table.items())]
        lines += ["[shrink.overrides]"]
        lines += [f"{tomlkit.key(name).as_string()} = {toml_value(value)}" for name, value in shrink.overrides.items()]
    for unsupported in entry.unsupported:
        lines += ["", unsupported_block(unsupported).rstrip()]
    for issue in entry.known_issue:
        lines += ["", known_issue_block(issue).rstrip()]
    return "\n".join(lines) + "\n"


def unsupported_block(unsupported: Unsupported) -> str:
    """Return `unsupported` as a table of a model's TOML file."""
    table = unsupported.model_dump(mode="json", exclude_none=True)
    keys = (key for key in ("devices", "compilation", "reason") if key in table)
    return "\n".join(["[[unsupported]]", *(f"{key} = {toml_value(table[key])}" for key in keys)]) + "\n"


def known_issue_block(issue: KnownIssue) -> str:
    """Return `issue` as a table of a model's TOML file."""
    lines = ["[[known_issue]]", *(f"{name} = {toml_value(getattr(issue, name))}" for name in ("id", "title", "link"))]
    lines.append(f"when = {_conditions(issue.when)}")
    breaks = [str(each) for each in issue.breaks]
    lines.append(f"breaks = {toml_value(breaks if len(breaks) > 1 else breaks[0])}")
    for kind, counters in (("cold", issue.cold), ("warm", issue.warm)):
        lines += [f"{kind}.{name} = {count}" for name, count in counters.items()]
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """Return `value` in TOML, in one line."""
    if isinstance(value, dict):
        pairs = (f"{tomlkit.key(name).as_string()} = {toml_value(inner)}" for name, inner in value.items())
        return f"{{ {', '.join(pairs)} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(toml_value(each) for each in value)}]"
    text: str = tomlkit.item(value).as_string()
    return text


def check_writable(path: Path) -> None:
    """Check that the catalog file `path` may be written.

    Raises:
        UsageError: It is part of an installed coldwarm, its folder is a file, or its permissions do not allow it.
    """
    # In a checkout, the sources are in `src/coldwarm` next to pyproject.toml.
    if path.parent.resolve() == PACKAGED.resolve() and not (PACKAGED.parents[3] / "pyproject.toml").is_file():
        raise UsageError(
            f"{path} belongs to the installed coldwarm, and the next installation would replace it; use a checkout of "
            "coldwarm (pip install --editable), or copy the entry with its config to a folder and give --catalog"
        )
    folder = path.parent if path.exists() else next(each for each in path.parents if each.exists())
    if not folder.is_dir():
        raise UsageError(f"cannot write {path}: {folder} is not a folder")
    if not os.access(folder, os.W_OK) or (path.exists() and not os.access(path, os.W_OK)):
        raise UsageError(f"no permission to write {path}")


def write_file(path: Path, text: str) -> None:
    """Write `text` to the file `path` with its own line endings, or leave the file as it is if that fails.

    Raises:
        UsageError: It cannot be written.
    """
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask()
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as file:
            unfinished = Path(file.name)
            try:
                file.write(text.encode("utf-8"))
                file.close()
                unfinished.chmod(mode)
                unfinished.replace(path)
            except BaseException:
                unfinished.unlink(missing_ok=True)
                raise
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _conditions(when: Conditions) -> str:
    return toml_value(when.model_dump(mode="json", exclude_none=True, exclude_defaults=True))


def _replace(row: Any, old: Expectation, edit: Edit) -> None:
    new = edit.expectation
    if new.measured != old.measured:
        row["measured"] = new.measured
    for name in ("seconds", "memory"):
        if (measured := getattr(new, name)) is not None and measured != getattr(old, name):
            for key, value in measured.model_dump(exclude_none=True).items():
                row[name][key] = value
            row[name].comment(edit.note)
            row[name].trivia.comment_ws = "  "
    if new.shows != old.shows:
        if new.shows:
            row["shows"] = list(new.shows)
        else:
            del row["shows"]
    for kind, counters in (("cold", new.cold), ("warm", new.warm)):
        for name, count in counters.items():
            if count != getattr(old, kind)[name]:
                _set(row[kind], name.split("."), count)


def _set(table: Any, parts: list[str], count: int) -> None:
    """Set a counter, whose name may be written as nested tables, dotted keys or a quoted key."""
    for number in range(1, len(parts) + 1):
        name = ".".join(parts[:number])
        if name not in table:
            continue
        if number == len(parts):
            table[name] = count
        else:
            _set(table[name], parts[number:], count)
        return
    raise KeyError(".".join(parts))


def _place(added: Expectation, rows: Sequence[Expectation]) -> int:
    """Return the number that the `added` expectation gets: after those of the same device."""
    same = [number for number, row in enumerate(rows) if row.when.device == added.when.device]
    return same[-1] + 1 if same else len(rows)


def _insert(text: str, place: int, block: str) -> str:
    """Insert `block` so that it becomes the expectation number `place`."""
    lines = text.splitlines(keepends=True)
    headers = [number for number, line in enumerate(lines) if _HEADER.match(line)]
    rows = [number for number in headers if _OF_EXPECTATION.match(lines[number])]
    if rows:
        at = next((number for number in headers if number > rows[place - 1] and "expect." not in lines[number]), None)
    else:
        at = next((number for number in headers if _OF_ISSUE.match(lines[number])), None)
    end = len(lines) if at is None else at
    # Comments directly above the next table belong to it.
    while at is not None and end > 0 and lines[end - 1].lstrip().startswith("#"):
        end -= 1
    while end > 0 and not lines[end - 1].strip():
        end -= 1
    head, rest = "".join(lines[:end]), "".join(lines[end:])
    newline = "" if head.endswith("\n") or not head else "\n"
    return f"{head}{newline}\n{block}{rest if rest.strip() else ''}"


def _by_hand(path: Path, edits: Sequence[Edit]) -> CatalogError:
    blocks = "\n".join(expectation_block(edit.expectation, edit.note) for edit in edits)
    return CatalogError(path, f"its layout does not allow changing it automatically; write this by hand:\n{blocks}")
