"""`coldwarm watch`: observes one start of a command in the user's own caches."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coldwarm.cli.after_dashes import command_after_dashes
from coldwarm.cli.options import CompilationChoice, CompilationOption, ReadyOption, StoreOption
from coldwarm.core.errors import UsageError

if TYPE_CHECKING:
    from coldwarm.core.record import StartRecord
    from coldwarm.diagnose.warmth import StartWarmth


class Expectation(StrEnum):
    """A `coldwarm.suite.watching.Expected`, without importing it."""

    WARM = "warm"
    CACHED = "cached"


def watch(
    ctx: typer.Context,
    ready: ReadyOption = None,
    expect: Annotated[
        Expectation | None,
        typer.Option(
            metavar="warm|cached",
            help="Stop the command once it is ready, and exit with 1 unless it is as expected.\n"
            "- warm: It loaded everything that it needed, and compiled nothing.\n"
            "- cached: The same, but it may compile what no start can load: kernels whose compiler has no cache on "
            "disk, and functions that miss their cache because of a known issue of the engine.",
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
    store: StoreOption = None,
    compilation: CompilationOption = CompilationChoice.SHIPPED,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=1,
            metavar="SECONDS",
            help="Say so if the command is not ready by then. With --expect, stop it.",
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
      coldwarm watch --store URL -- vllm serve my/model    # and in a history
    """
    from coldwarm.suite.watching import Expected, Watching

    words = command_after_dashes(ctx)
    if words is None:
        raise UsageError("no command; for example: coldwarm watch -- vllm serve my/model")
    store_to = _store(store)
    watching = Watching(
        words,
        ready_url=ready,
        compilation=compilation,
        expected=None if expect is None else Expected(expect),
        on_report=partial(_report, report, store_to, words),
        on_problem=lambda problem: _print(f"coldwarm: {problem}\n"),
    )
    if report is not None:
        # If it cannot be written, the command is not started.
        _write(report, "")
    try:
        status = watching.run(time_limit=timeout)
    finally:
        # Nothing to report leaves no file.
        if report is not None and report.is_file() and not report.stat().st_size:
            report.unlink()
    raise typer.Exit(status)


def _store(store: str | None) -> str | None:
    """Return the store to use. A server is started also if its store cannot be reached."""
    from coldwarm.store.history.location import VARIABLE, locate

    store = store or os.environ.get(VARIABLE) or None
    if store is not None:
        locate(store)
    return store


def _report(
    file: Path | None, store: str | None, words: Sequence[str], start: StartWarmth, record: StartRecord
) -> None:
    _show(file, start)
    if store is None:
        return
    from coldwarm.store.history.history import History
    from coldwarm.store.history.watched import watched_entry
    from coldwarm.suite.checkout import checkout_under_test
    from coldwarm.suite.command_case import id_of

    try:
        with History.open(store) as history:
            checkout = checkout_under_test(None, Path.cwd())
            history.add_entries([watched_entry(id_of(words), words, start, record, checkout)])
    except UsageError as error:
        # The command is running, and goes on.
        _print(f"coldwarm: {error}\ncoldwarm: the start is not in the history\n")


def _show(file: Path | None, start: StartWarmth) -> None:
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
