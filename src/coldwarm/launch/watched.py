"""Runs a user's command in the user's own environment and caches, observes it, and passes signals and its status on."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from coldwarm.core.command import Command, settings_of, shown
from coldwarm.core.errors import UsageError
from coldwarm.core.record import Outcome, StartKind, StartRecord
from coldwarm.core.request import ObservationRequest
from coldwarm.core.secrets import Secrets
from coldwarm.launch import cache_variables
from coldwarm.launch import environment as env
from coldwarm.launch.command_driver import GRACE_SECONDS, late_reports, reports_of_processes
from coldwarm.launch.command_start import of_processes
from coldwarm.launch.observed_processes import Unobserved, failed_to_observe
from coldwarm.launch.process_tree import StartState, Steps, identity_of, kill_tree
from coldwarm.launch.readiness import ready_of
from coldwarm.launch.start import Measured
from coldwarm.launch.terminal import Terminal

_FORWARDED = frozenset(
    {
        *(signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT),
        *(signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH, signal.SIGCONT),
    }
)
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT})
_KERNEL = 1
"""The least ``si_code`` of a signal that the kernel sent, such as that of a Ctrl-C (sigaction(2))."""
_LOOK_SECONDS = 2.0
_LAST_REPORT_SECONDS = 5.0
"""Seconds after which a signal ends the wait for a report on a command that has ended. Before, it may be one that ended
the command."""


class WatchedCommand:
    """A command that runs as if it had been started without coldwarm.

    Its standard streams are those of this process. Signals that this process gets are passed on.

    Args:
        command: The command.
        scratch: A folder of coldwarm's own, for reports and the trace.
        compilation: ``shipped``, or ``piecewise`` for the engine's piecewise compilation on a CPU.
    """

    def __init__(self, command: Command, scratch: Path, *, compilation: str = "shipped") -> None:
        self._command = command
        self._compilation = compilation
        self._reports = scratch / "reports"
        self._trace = scratch / "trace"
        self._observation = scratch / "observation.json"
        for folder in (self._reports, self._trace):
            folder.mkdir()
        self._unobserved = Unobserved()
        self._looked = 0.0
        self._token = uuid.uuid4().hex
        self.lost_report = False
        """Whether a signal ended the wait for a report."""
        self.function_keys: Mapping[str, Sequence[Sequence[str]]] = {}
        """The components of the keys of functions that the command compiled (`Measured.function_keys`)."""

    def run(
        self,
        on_ready: Callable[[Callable[[], StartRecord]], bool],
        on_late: Callable[[float], bool] = lambda seconds: False,
        time_limit: float | None = None,
    ) -> int:
        """Run the command until it exits.

        Args:
            on_ready: Called once it is ready, or at its end if nothing else makes it ready, with a function that
                returns what was observed. Runs in another thread, so that signals are passed on. Must not raise.
                Returns whether to stop it.
            on_late: Called with the time limit if it is not ready within it. Returns whether to stop it.
            time_limit: Seconds in which it should be ready; None: no limit.

        Returns:
            Its exit status, negative for a signal.

        Raises:
            UsageError: It cannot be started.
        """
        pipe = self._order()
        # Blocked, so that each is taken by `sigtimedwait` below and none is lost. The command starts with none blocked.
        # SIGTTOU would stop this process when it reports, in a terminal that does not let jobs in the background write.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {*_FORWARDED, signal.SIGCHLD, signal.SIGTTOU})
        self._terminal = Terminal()
        try:
            self._began = time.monotonic()
            self._steps = Steps(self._began, lambda phase: None)
            process = self._start(before)
            self._terminal.is_of(process.pid)
            self._root = identity_of(process.pid)
            return self._follow(process, pipe, on_ready, on_late, time_limit)
        finally:
            # Those that came after the command had ended, while it was reported on: its status is what counts.
            while signal.sigtimedwait(_FORWARDED, 0) is not None:
                pass
            self._terminal.close()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            os.close(pipe)

    def _order(self) -> int:
        """Write how to observe the command, and return the read end of the pipe for its progress."""
        events = self._reports / "events"
        os.mkfifo(events, mode=0o600)
        request = ObservationRequest(
            reports=self._reports, events=events, users_caches=cache_variables.places(os.environ)
        )
        self._observation.write_text(request.model_dump_json())
        return os.open(events, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)

    def _start(self, mask: set[int | signal.Signals]) -> subprocess.Popen[bytes]:
        variables = env.observed(os.environ, self._trace, self._observation, self._compilation, self._token)
        if "TORCH_TRACE" in os.environ:
            # The user reads it.
            variables["TORCH_TRACE"] = os.environ["TORCH_TRACE"]
        try:
            return subprocess.Popen(
                self._command.words, env={**os.environ, **variables}, preexec_fn=partial(self._begin_process, mask)
            )
        except OSError as error:
            raise UsageError(f"cannot start {self._command.words[0]!r}: {error.strerror}") from error

    def _begin_process(self, mask: set[int | signal.Signals]) -> None:
        # A group of its own, so that a signal to the group of this process reaches the command once, from here.
        os.setpgid(0, 0)
        self._terminal.give(os.getpgrp())
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _follow(
        self,
        process: subprocess.Popen[bytes],
        pipe: int,
        on_ready: Callable[[Callable[[], StartRecord]], bool],
        on_late: Callable[[float], bool],
        time_limit: float | None,
    ) -> int:
        ready = ready_of(self._command, self._reports)
        is_over = False
        report: _InThread | None = None
        late: _InThread | None = None
        stopped_at: float | None = None
        while True:
            self._take_signal(process)
            with suppress(BlockingIOError):
                self._steps.take(os.read(pipe, 65536))
            status = _poll(process)
            seconds = time.monotonic() - self._began
            # Its output is its own, so there is no log.
            if not is_over and ready.is_ready(StartState(status, (), Path(os.devnull))):
                is_over = True
                report = _InThread(partial(on_ready, partial(self._record, process, status)))
            elif not is_over and time_limit is not None and seconds > time_limit:
                late, time_limit = _InThread(partial(on_late, time_limit)), None
            if status is not None and not self._wait_for([each for each in (late, report) if each is not None]):
                self.lost_report = True
                ready.give_up()
                return status
            stop = False
            if late is not None and late.has_ended:
                # Unless it is stopped now, it is still reported on once it is ready.
                stop, late = late.result and not is_over, None
                is_over = is_over or stop
            if report is not None and report.has_ended:
                stop, report = report.result, None
                self._end_observation()
            if status is not None:
                ready.give_up()
                if stopped_at is not None:
                    # What the command left when it was stopped.
                    kill_tree(process.pid, self._root, self._token)
                return status
            if stop:
                stopped_at = time.monotonic()
                _send(process, signal.SIGTERM)
            if stopped_at is not None and time.monotonic() - stopped_at > GRACE_SECONDS:
                kill_tree(process.pid, self._root, self._token)
            if not is_over and time.monotonic() - self._looked > _LOOK_SECONDS:
                self._look()

    def _wait_for(self, threads: Sequence[_InThread]) -> bool:
        """Wait until the threads have ended, as long as no signal comes. Return whether they have."""
        deadline = time.monotonic() + _LAST_REPORT_SECONDS
        is_asked = False
        while any(not thread.has_ended for thread in threads):
            is_asked |= signal.sigtimedwait(_ENDING, 0.05) is not None
            if is_asked and time.monotonic() > deadline:
                return False
        return True

    def _take_signal(self, process: subprocess.Popen[bytes]) -> None:
        taken = signal.sigtimedwait({*_FORWARDED, signal.SIGCHLD}, 0.1)
        if taken is not None and taken.si_signo == signal.SIGCHLD:
            self._terminal.stop_with(process.pid)
        if taken is None or taken.si_signo == signal.SIGCHLD:
            return
        # What the terminal sends reaches the command, which is in its foreground.
        is_typed = taken.si_code >= _KERNEL and self._terminal.is_given
        if not is_typed and _poll(process) is None:
            _send(process, taken.si_signo)

    def _look(self) -> None:
        self._looked = time.monotonic()
        # The command goes on, whatever its processes are.
        with suppress(Exception):
            if self._root is not None:
                self._unobserved.look(self._root, self._reports)

    def _end_observation(self) -> None:
        """Have processes that begin from now on not be observed: a server may start any number of them."""
        self._observation.unlink(missing_ok=True)
        shutil.rmtree(self._reports, ignore_errors=True)

    def _record(self, process: subprocess.Popen[bytes], status: int | None) -> StartRecord:
        """Return what was observed until now."""
        ended = time.monotonic()
        self._look()
        late = [] if status is not None else late_reports(self._reports, lambda: process.returncode is not None)
        seen = of_processes(reports_of_processes(self._reports, self._unobserved, late))
        secrets = Secrets(os.environ, *settings_of(self._command.words))
        measured = Measured.of(self._trace, seen.engine)
        self.function_keys = measured.function_keys
        steps = self._steps.finish(ended)
        return StartRecord(
            kind=StartKind.WARM,
            outcome=Outcome.FINISHED if status in (None, 0) else Outcome.CRASHED,
            began=datetime.fromtimestamp(steps[0].begin, UTC),
            seconds=ended - self._began,
            phases=measured.phases(steps),
            steps=steps,
            engine=seen.engine,
            device=seen.device,
            compilation=self._compilation,
            command=shown(self._command.words),
            environment=env.recorded(os.environ),
            overridden=[],
            caches_before={},
            caches_after={},
            caches_as_left=True,
            processes=[
                type(each).model_validate(secrets.tree(each.model_dump(mode="json"))) for each in seen.processes
            ],
            facts=seen.facts,
            compiler_work=measured.work,
        )

    def failures(self) -> list[str]:
        """Return why processes that tried to be observed failed to, each once."""
        return failed_to_observe(self._reports)


class _InThread:
    """Calls a function in another thread, which does not keep this process alive."""

    def __init__(self, call: Callable[[], bool]) -> None:
        self.result = False
        self._thread = threading.Thread(target=self._run, args=(call,), name="report", daemon=True)
        self._thread.start()

    @property
    def has_ended(self) -> bool:
        """Whether the function has returned; `result` is what it returned."""
        return not self._thread.is_alive()

    def _run(self, call: Callable[[], bool]) -> None:
        self.result = call()


def _send(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(OSError):  # it runs as another user
        process.send_signal(number)


def _poll(process: subprocess.Popen[bytes]) -> int | None:
    """Return the exit status of the command. The first process of a container also reaps those without a parent."""
    if os.getpid() == 1:
        with suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid == process.pid:
                    break
                os.waitpid(ended.si_pid, 0)
    return process.poll()


def exit_status(status: int) -> int:
    """Return the status with which a shell would report that a command ended with `status`."""
    return 128 - status if status < 0 else status
