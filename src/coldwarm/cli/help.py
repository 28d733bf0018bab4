"""Help screens in plain text: options in groups, wrapped to the terminal, with examples as they are laid out.

typer's own are drawn with rich, whose tables leave a third of 80 columns to the text, and which takes longer to import
than all the rest of ``--help``.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import Any

import typer
from typer.core import TyperCommand

from coldwarm.core.exit_codes import ExitCode

# Longer lines are hard to read.
_MAX_WIDTH = 100
_MIN_WIDTH = 40
# Columns of the names of options; a longer name has a line of its own.
_MAX_NAMES = 22
# A space that no line is broken at.
_NO_BREAK = "\N{NO-BREAK SPACE}"
_MEANINGS = {
    ExitCode.HEALTHY: "All models passed, showed a known issue, or cannot run here.",
    ExitCode.FAILED: "A model failed, or a known issue is unexpectedly fixed.",
    ExitCode.USAGE: "Usage or catalog error. Nothing was started.",
    ExitCode.CRASHED: "A start crashed or timed out.",
    ExitCode.INTERNAL_ERROR: "Internal error or full disk. There is no verdict.",
    ExitCode.INTERRUPTED: "Interrupted.",
}


class PlainHelp:
    """For commands and groups of typer: help in plain text.

    In a help text, blank lines separate paragraphs. An indented line is left as it is; if it is too long, it goes on
    below what comes after its last gap of two spaces. A line that begins with ``- `` is an item of a list.
    """

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help screen."""
        formatter.write(_help(self, ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what comes after the name of the command in a line that begins with ``Usage:``."""
        command: Any = self
        arguments = [param.metavar for param in command.params if param.param_type_name == "argument"]
        required = [
            f"{each.opts[0]} {each.metavar}" for each in command.params if each.required and each.opts[0][0] == "-"
        ]
        return ["[OPTIONS]", *required, *(["COMMAND [ARGS]..."] if hasattr(command, "commands") else arguments)]


class Command(PlainHelp, TyperCommand):
    """A command with help in plain text."""


def exit_codes(meanings: Mapping[ExitCode, str] | None = None) -> str:
    """Return a list of exit codes for the end of a help screen; of a command with a verdict unless given."""
    lines = (f"  {code:<4} {meaning}" for code, meaning in (meanings or _MEANINGS).items())
    return "\n".join(["Exit codes:", *lines])


def codes_of_running() -> str:
    """Return the list of exit codes for a command that starts models."""
    return exit_codes(
        {
            **_MEANINGS,
            ExitCode.USAGE: "Usage or catalog error, or the catalog says that no model can run here. Nothing was "
            "started.",
        }
    )


def codes_of_bisection() -> str:
    """Return the list of exit codes for a bisection."""
    return exit_codes(
        {
            ExitCode.HEALTHY: "The first bad version was found.",
            ExitCode.FAILED: "It is one of several, because some cannot be judged.",
            ExitCode.USAGE: "Usage or catalog error, or the ends do not differ.",
            ExitCode.INTERNAL_ERROR: "Internal error or full disk.",
            ExitCode.INTERRUPTED: "Interrupted.",
        }
    )


def codes_of_watching() -> str:
    """Return the list of exit codes for a command that is watched."""
    return (
        exit_codes(
            {
                ExitCode.HEALTHY: "With --expect: it was as expected.",
                ExitCode.FAILED: "With --expect: it compiled something, loaded nothing, or could not be observed.",
                ExitCode.USAGE: "Usage error. The command was not started.",
                ExitCode.CRASHED: "With --expect: it ended before it was ready, or was not ready in time.",
                ExitCode.INTERNAL_ERROR: "Internal error or full disk.",
            }
        )
        + "\n\nWithout --expect, the exit code is that of the command; 128 + N if signal N ended it."
    )


def codes_of_comparison() -> str:
    """Return the list of exit codes for a command that compares runs."""
    return exit_codes(
        {
            ExitCode.HEALTHY: "No regression.",
            ExitCode.FAILED: "A regression.",
            ExitCode.USAGE: "Usage error, nothing was measured, or counts or seconds cannot be compared.",
            ExitCode.CRASHED: "A start of AFTER crashed, or its suite was not finished.",
            ExitCode.INTERNAL_ERROR: "Internal error or full disk.",
            ExitCode.INTERRUPTED: "Interrupted.",
        }
    )


def codes_without_verdict(success: str) -> str:
    """Return the list of exit codes for a command that gives no verdict."""
    return exit_codes(
        {
            ExitCode.HEALTHY: success,
            ExitCode.USAGE: "Usage or catalog error.",
            ExitCode.INTERNAL_ERROR: "Internal error or full disk.",
            ExitCode.INTERRUPTED: "Interrupted.",
        }
    )


def codes_of_acceptance() -> str:
    """Return the list of exit codes for a command that may refuse a run."""
    return exit_codes(
        {
            ExitCode.HEALTHY: "No run was refused.",
            ExitCode.FAILED: "A run was refused. What the others measured was written.",
            ExitCode.USAGE: "Usage or catalog error, or no permission to write. Nothing was written.",
            ExitCode.INTERNAL_ERROR: "Internal error or full disk.",
            ExitCode.INTERRUPTED: "Interrupted.",
        }
    )


def codes_of_adding() -> str:
    """Return the list of exit codes for a command that adds a model."""
    return exit_codes(
        {
            ExitCode.HEALTHY: "The entry was written.",
            ExitCode.FAILED: "The model breaks an invariant, its runs disagree, or the device cannot run it.",
            ExitCode.USAGE: "Usage or catalog error, or no permission to write. Nothing was started.",
            ExitCode.CRASHED: "A start crashed or timed out.",
            ExitCode.INTERNAL_ERROR: "Internal error or full disk.",
            ExitCode.INTERRUPTED: "Interrupted. Nothing was written to the catalog.",
        }
    )


def _help(command: Any, ctx: Any) -> str:
    width = max(_MIN_WIDTH, min(shutil.get_terminal_size().columns, _MAX_WIDTH))
    groups: dict[str, list[tuple[str, str]]] = {}
    for name, each in getattr(command, "commands", {}).items():
        groups.setdefault("Commands", []).append((name, each.help.partition("\n\n")[0]))
    for param in command.get_params(ctx):
        if not getattr(param, "hidden", False):
            group = getattr(param, "rich_help_panel", None) or _default_group(param)
            groups.setdefault(group, []).append((_name(param), _text(param)))
    # Last, as in other tools: --help and --version.
    groups = {title: groups[title] for title in sorted(groups, key="Options".__eq__)}
    names = min(_MAX_NAMES, max(len(name) for rows in groups.values() for name, _ in rows))
    parts = [command.get_usage(ctx).strip(), _prose(command.help or "", width)]
    for title, rows in groups.items():
        parts.append("\n".join([_title(f"{title}:"), *(line for row in rows for line in _row(*row, names, width))]))
    parts.append(_prose(command.epilog or "", width))
    return "\n\n".join(part for part in parts if part).replace(_NO_BREAK, " ") + "\n"


def _default_group(param: Any) -> str:
    return "Arguments" if param.param_type_name == "argument" else "Options"


def _name(param: Any) -> str:
    if param.param_type_name == "argument":
        return str(param.metavar)
    flags = ", ".join(sorted(param.opts, key=len))
    return flags if param.is_flag else f"{flags} {param.metavar}"


def _text(param: Any) -> str:
    """What `param` does, with its default at the end of the first paragraph."""
    first, newline, rest = (param.help or "").partition("\n")
    shown = getattr(param, "show_default", False)
    default = shown if isinstance(shown, str) else param.default
    if shown and not param.required and isinstance(default, str | float | int) and not isinstance(default, bool):
        first += f" [default: {default}]"
    return first + newline + rest


def _row(name: str, text: str, names: int, width: int) -> list[str]:
    left = " " * (2 + names + 2)
    room = width - len(left)
    # A default is not broken at its spaces if it fits into a line.
    text = re.sub(rf"\[default: .{{,{room - 11}}}\]", lambda default: default[0].replace(" ", _NO_BREAK), text)
    lines = [left + line for line in _wrapped(text, room)]
    if len(name) > names:
        return [f"  {name}", *lines]
    return [f"  {name:<{names}}  {lines[0].strip()}", *lines[1:]]


def _prose(text: str, width: int) -> str:
    lines = "\n\n".join("\n".join(_wrapped(paragraph, width)) for paragraph in text.split("\n\n"))
    return re.sub(r"^[A-Z][a-z ]+:$", lambda title: _title(title[0]), lines, flags=re.MULTILINE)


def _wrapped(paragraph: str, width: int) -> Iterator[str]:
    """Yield lines of at most `width` columns, unless a word is longer."""
    # Lines that are neither indented nor items belong together.
    for line in re.sub(r"\n(?! |- )", " ", paragraph).split("\n"):
        hang = 2 if line.startswith("- ") else max((gap.end() for gap in re.finditer("  +", line)), default=0)
        if hang > width / 2:  # an example, with a comment
            yield line
            continue
        yield from wrap(line, width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False)


def _title(text: str) -> str:
    # Where there is no terminal, click removes it.
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else typer.style(text, bold=True)
