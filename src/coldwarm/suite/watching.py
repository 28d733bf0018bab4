"""Watches one start of a user's command, and judges it if it is a gate."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

from coldwarm.core.cache_keys import CacheEntry, CacheKeys
from coldwarm.core.command import Command
from coldwarm.core.engine import TORCH
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.record import ProcessReport, StartRecord
from coldwarm.diagnose.function_keys import FunctionKeys
from coldwarm.diagnose.warmth import StartWarmth, Warmth, new_entries, warmth_of
from coldwarm.engines.base import command_hints, load_vocabulary, vocabularies
from coldwarm.launch import cache_variables
from coldwarm.launch.caches import temporary_root
from coldwarm.launch.file_systems import cache_uses, files_of, problem_of
from coldwarm.launch.process_tree import signal_name
from coldwarm.launch.watched import WatchedCommand, exit_status
from coldwarm.store.function_keys import KEYS_FILE, read_function_keys, shortened, store_function_keys
from coldwarm.suite.command_case import check_command


class Expected(StrEnum):
    """What a start must be, so that a gate passes."""

    WARM = "warm"
    """It loaded everything that it needed."""
    CACHED = "cached"
    """It loaded everything that a start can load (`StartWarmth.is_unavoidable`)."""


class Watching:
    """One start of a command in the user's own caches.

    Args:
        words: The program and its arguments.
        ready_url: The URL that answers once it is ready; None: that of the engine's server, if it is one, or else its
            exit.
        compilation: ``shipped``, or ``piecewise`` for the engine's piecewise compilation on a CPU.
        expected: What the start must be. The command is stopped once it is ready, and a verdict is returned instead of
            its exit status. None: anything.
        on_report: Called with the report, and with the record that it is about.
        on_problem: Called with a message if the command was not ready.

    Raises:
        UsageError: The command does not exist, the URL is invalid, or its port is in use.
    """

    def __init__(
        self,
        words: Sequence[str],
        *,
        ready_url: str | None = None,
        compilation: str = "shipped",
        expected: Expected | None = None,
        on_report: Callable[[StartWarmth, StartRecord], None],
        on_problem: Callable[[str], None],
    ) -> None:
        hints = command_hints(words)
        if ready_url is None and hints is not None:
            ready_url = hints.ready_url
        check_command(words, ready_url=ready_url)
        self._command = Command(
            words=list(words),
            folder=str(Path.cwd()),
            ready_url=ready_url,
            ready_ranks=hints is not None and ready_url is None,
        )
        self._compilation = compilation
        self._expected = expected
        self._is_gate = expected is not None
        self._on_report = on_report
        self._on_problem = on_problem
        self._verdict: ExitCode | None = None

    def run(self, time_limit: float | None = None) -> int:
        """Run the command until it exits, and return the exit status of this process.

        Args:
            time_limit: Seconds in which it should be ready; None: no limit.

        Raises:
            UsageError: The command cannot be started.
        """
        self._before = {each.title: each.entries(os.environ) for each in vocabularies()}
        self._files = {folder: files_of(folder) for folder in cache_variables.places(os.environ)}
        self._functions_before = self._functions_in_cache()
        with temporary_root(has_users_command=True) as root:
            watched = WatchedCommand(self._command, root, compilation=self._compilation)
            status = watched.run(lambda observe: self._report_safely(observe, watched), self._late, time_limit)
            shutil.rmtree(root, ignore_errors=True)
        if watched.lost_report:
            self._on_problem("the report on the start is lost: a signal came while it was being made")
            return int(ExitCode.CRASHED) if self._is_gate else exit_status(status)
        before = "" if self._command.ends_itself else " before it was ready"
        has_failed = self._command.ends_itself and status != 0 and self._verdict is not ExitCode.INTERNAL_ERROR
        if self._verdict is None or has_failed:
            how = f"was killed by {signal_name(-status)}" if status < 0 else f"exited with status {status}"
            self._on_problem(f"the command {how}{before}")
            self._verdict = ExitCode.CRASHED
        return int(self._verdict or ExitCode.HEALTHY) if self._is_gate else exit_status(status)

    def _report_safely(self, observe: Callable[[], StartRecord], watched: WatchedCommand) -> bool:
        """Report as `_report` does; the command goes on even if that fails."""
        try:
            return self._report(observe(), watched)
        except Exception as error:
            self._verdict = ExitCode.INTERNAL_ERROR
            self._on_problem(f"internal error: cannot report on the start: {type(error).__name__}: {error}")
            return self._is_gate

    def _report(self, record: StartRecord, watched: WatchedCommand) -> bool:
        """Report on a start that is ready, and return whether to stop the command."""
        vocabulary = load_vocabulary(record.engine)
        before: list[CacheEntry] = self._before.get(vocabulary.title, [])
        after = vocabulary.entries(os.environ)
        keys = _keys_of_first_rank(record.processes)
        if keys is not None:
            after = [
                entry.model_copy(update={"keys": keys}) if entry in new_entries(before, after) else entry
                for entry in after
            ]
            for entry in new_entries(before, after):
                with suppress(OSError):  # the cache may be read-only; the start was what it was
                    vocabulary.remember(entry, keys)
        folder = vocabulary.cache_folder(os.environ)
        problem = problem_of(folder) if folder is not None else None
        uses = cache_uses(self._files, record.outside.caches_read)
        functions = None
        # A program may choose another folder than its environment says.
        if record.engine == TORCH and folder is not None and files_of(folder).states:
            functions = replace(self._functions_before, now=shortened(watched.function_keys))
        warmth = warmth_of(record, before, after, watched.failures(), problem, uses, functions)
        if "TORCH_TRACE" in os.environ:
            warmth.unobserved.append("PyTorch's trace: it is in the folder that TORCH_TRACE names, so unset that")
        problem = None if self._expected is None else not_as_expected(warmth, self._expected)
        self._verdict = ExitCode.HEALTHY if problem is None else ExitCode.FAILED
        self._on_report(warmth, record)
        if problem is not None:
            self._on_problem(problem)
        if functions is not None and functions.now and folder is not None:
            with suppress(OSError, ValueError):  # the cache may be read-only; the start was what it was
                store_function_keys(folder, functions.now)
        return self._is_gate

    def _functions_in_cache(self) -> FunctionKeys:
        """Return what is known of the functions of programs without an engine, before the start."""
        folder = load_vocabulary(TORCH).cache_folder(os.environ)
        if folder is None:
            return FunctionKeys({}, {}, found_nothing=False)
        files = self._files.get(folder) or files_of(folder)
        others = [path for path in files.states if Path(path).name != KEYS_FILE]
        return FunctionKeys(read_function_keys(folder), {}, found_nothing=not others)

    def _late(self, seconds: float) -> bool:
        if self._is_gate:
            self._verdict = ExitCode.CRASHED
        later = "" if self._is_gate else "; the report follows once it is"
        self._on_problem(f"the command was not ready after {seconds:g} s{later}")
        return self._is_gate


def not_as_expected(start: StartWarmth, expected: Expected) -> str | None:
    """Return a message if a start is not as expected; None if it is."""
    if start.unobserved:
        why = "not everything could be observed"
    elif start.warmth is Warmth.NOTHING:
        why = "nothing was loaded from a cache"
    elif start.warmth is Warmth.WARM or (expected is Expected.CACHED and start.is_unavoidable):
        return None
    elif start.is_unavoidable:
        why = "something was compiled that no start can load; --expect cached accepts it"
    else:
        why = "something was compiled"
    return f"expected a warm start, but {why} (exit code {int(ExitCode.FAILED)})"


def _keys_of_first_rank(processes: Sequence[ProcessReport]) -> CacheKeys | None:
    ranks = [process for process in processes if process.rank is not None and process.cache_keys is not None]
    first = min(ranks, key=lambda process: process.rank or 0, default=None)
    return first.cache_keys if first is not None and first.cache_keys and first.cache_keys.factors else None
