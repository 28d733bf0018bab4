"""Shows what was added to a catalog, or why nothing was."""

from __future__ import annotations

from rich.console import Console

from coldwarm.core.exit_codes import ExitCode
from coldwarm.report.findings import as_one_line, short_lines
from coldwarm.suite.adding import Addition


def print_addition(console: Console, addition: Addition, *, is_written: bool, seconds: float) -> None:
    """Print the entry with its files, or the reasons why there is none, and what remains to be done.

    Args:
        console: Where to print.
        addition: The result.
        is_written: Whether the files were written.
        seconds: How long it took.
    """

    def line(text: str) -> None:
        console.print(text, soft_wrap=True)

    entry = addition.model.entry
    if addition.exit_code is ExitCode.HEALTHY:
        line(addition.files[addition.model.path])
        for path in addition.files:
            line(f"{'wrote' if is_written else 'would write'} {path}")
    outcome = "added" if addition.exit_code is ExitCode.HEALTHY and is_written else "not added"
    line(f"{entry.id}: {outcome} ({seconds:.0f} s)")
    for reason in addition.reasons:
        line(as_one_line(reason) if reason.startswith(" ") else f"- {as_one_line(reason)}")
    if addition.reasons:
        for result in addition.results[-1:]:
            for text in short_lines(result.explanation.findings if result.explanation else []):
                line(f"  {text}")
    for to_do in addition.to_do:
        line(f"to do: {to_do}")
