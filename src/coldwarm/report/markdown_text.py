"""Text in Markdown: tables, and text on one line with its markup escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

_MARKUP = "\\`*_{}[]<>|"


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table, with the text of each cell on one line and escaped."""
    return "\n".join(map(_row, [headings, ["---"] * len(headings), *rows]))


def on_one_line(text: str) -> str:
    """Return `text` on one line, with Markdown and HTML markup escaped."""
    text = " ".join(text.split())
    for character in _MARKUP:
        text = text.replace(character, f"\\{character}")
    return text


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(on_one_line, cells)) + " |"
