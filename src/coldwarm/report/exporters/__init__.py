"""The formats of `--report FORMAT=FILE`. Each is a module of this package with ``render(summary) -> str``.

To add a format, add a module.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from coldwarm.core.errors import UsageError, nearest
from coldwarm.report.files import check_writable, remove_stale, write_report

if TYPE_CHECKING:
    from coldwarm.report.summary import SuiteSummary

STDOUT = "-"


def formats() -> list[str]:
    """Return the names of all formats."""
    return sorted(path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith("_"))


def render(format_: str, summary: SuiteSummary) -> str:
    """Return `summary` in one of the `formats`."""
    text: str = import_module(f"{__name__}.{format_}").render(summary)
    return text


@dataclass(frozen=True)
class Report:
    """A report that the user requested."""

    format: str
    path: Path | None
    """None: on stdout, instead of the table."""

    def check(self) -> None:
        """Check, before the suite runs, that the report can be written.

        Raises:
            UsageError: It cannot be written.
        """
        if self.path is not None:
            check_writable(self.path)

    def remove_stale(self) -> None:
        """Remove the report of an earlier run.

        Raises:
            UsageError: It cannot be removed.
        """
        if self.path is not None:
            remove_stale(self.path)

    def write(self, summary: SuiteSummary) -> None:
        """Write the report to its file, atomically.

        Raises:
            UsageError: The file cannot be written.
        """
        if self.path is not None:
            remove_stale(self.path)
            text = render(self.format, summary)
            write_report(self.path, lambda file: file.write_text(text, encoding="utf-8", errors="replace"))


def parse_reports(words: Sequence[str]) -> list[Report]:
    """Parse reports that were requested as ``FORMAT=FILE``.

    Raises:
        UsageError: A format is unknown, a file is missing, or two reports have the same target.
    """
    reports = [_parse(word) for word in words]
    seen: dict[Path | None, str] = {}
    for word, report in zip(words, reports, strict=True):
        target = None if report.path is None else report.path.absolute()
        if target in seen:
            raise UsageError(f"--report {word}: same target as --report {seen[target]}")
        seen[target] = word
    return reports


def _parse(word: str) -> Report:
    name, equals, file = word.partition("=")
    known = formats()
    if name not in known:
        raise UsageError(f"--report {word}: unknown format {name!r}{nearest(name, known)}; formats: {', '.join(known)}")
    if not equals or not file:
        raise UsageError(
            f"--report {word}: the file is missing; write --report {name}=FILE, or {name}={STDOUT} for stdout "
            f"(formats: {', '.join(known)})"
        )
    return Report(name, None if file == STDOUT else Path(file))
