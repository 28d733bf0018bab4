"""What the commands that judge end with: reports, the table, the exit code.

Imports inside the functions keep `coldwarm --help` fast.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from coldwarm.core.errors import UsageError

if TYPE_CHECKING:
    from coldwarm.report.console import PlainConsole
    from coldwarm.suite.result import RunResult


def write_results(results: list[RunResult], *, json: bool, junit: Path | None, markdown: Path | None) -> None:
    """Write the files that were asked for, then print the results as one object or as the table.

    Raises:
        UsageError: A file cannot be written; the others are, and the results are printed.
    """
    # Files first: whoever reads stdout may stop reading (`| head`).
    unwritten = []
    for path, write in ((junit, _write_junit), (markdown, _write_markdown)):
        if path is not None:
            try:
                write(path, results)
            except UsageError as error:
                unwritten.append(str(error))
    if json:
        from coldwarm.report.json_report import to_json

        sys.stdout.write(to_json(results) + "\n")
    elif results:
        from coldwarm.report.table import print_results

        print_results(stdout(), results)
    if unwritten:
        raise UsageError("\n".join(unwritten))


def _write_junit(path: Path, results: list[RunResult]) -> None:
    from coldwarm.report.junit import write_junit

    write_junit(path, results)


def _write_markdown(path: Path, results: list[RunResult]) -> None:
    from coldwarm.report.markdown import write_markdown

    write_markdown(path, results)


def exit_with(results: list[RunResult]) -> NoReturn:
    """End the command with the exit code that tells the worst of `results`."""
    from coldwarm.suite.result import exit_code

    raise typer.Exit(exit_code(results))


def stdout() -> PlainConsole:
    """Where the answers of commands go."""
    from coldwarm.report.console import PlainConsole

    return PlainConsole()
