"""`coldwarm watch`: observes one start of a command in the user's own caches."""

from __future__ import annotations

import sys
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coldwarm.cli.after_dashes import command_after_dashes
from coldwarm.cli.options import CompilationChoice, CompilationOption, ReadyOption
from coldwarm.core.errors import UsageError

if TYPE_CHECKING:
    from coldwarm.diagnose.warmth import StartWarmth


class Expected(StrEnum):
    """What a start must be."""

    WARM = "warm"


def watch(
    ctx: typer.Context,
    ready: ReadyOption = None,
    expect: Annotated[
        Expected | None,
        typer.Option(
            metavar="warm",
            help="Stop the command once it is ready, and exit with 1 unless it loaded everything that it needed.",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Write the report to this file, as JSON if its name ends with .json.",
            show_default="stderr",
        ),
    ] = None,
    compilation: CompilationOption = CompilationChoice.SHIPPED,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Report if the command is not ready by then. With --expect, stop it.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Start a command in your own environment and caches, and report whether it compiled anything, and why.

    The command runs as it would without coldwarm: its streams and its exit status are its own, signals are passed on,
    and a server keeps serving after the report. So it can be the entry point of a container. Entries of the compile
    cache that it makes get a file with the components of their key, with which a later start is compared.

    Examples:
      coldwarm watch -- vllm serve my/model                # and keep serving
      coldwarm watch --expect warm -- vllm serve my/model  # a gate for an image
      coldwarm watch --report r.json -- python script.py   # with a report in a file
    """
    from coldwarm.suite.watching import Watching

    words = command_after_dashes(ctx)
    if words is None:
        raise UsageError("no command; for example: coldwarm watch -- vllm serve my/model")
    watching = Watching(
        words,
        ready_url=ready,
        compilation=compilation,
        is_gate=expect is not None,
        on_report=partial(_report, report),
        on_problem=lambda problem: _print(f"coldwarm: {problem}\n"),
    )
    if report is not None:
        # If it cannot be written, the command is not started.
        _write(report, "")
    raise typer.Exit(watching.run(time_limit=timeout))


def _report(file: Path | None, start: StartWarmth) -> None:
    from coldwarm.report.watch_view import watch_text

    if file is None:
        _print(watch_text(start))
        return
    is_json = file.suffix == ".json"
    try:
        _write(file, start.model_dump_json(indent=2) + "\n" if is_json else watch_text(start))
    except UsageError as error:
        # The command is running, and goes on.
        _print(f"coldwarm: {error}\n{watch_text(start)}")


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error


def _print(text: str) -> None:
    # The command's own output comes first, and must not fail if nobody reads this.
    with suppress(OSError):
        sys.stderr.write(text)
        sys.stderr.flush()
