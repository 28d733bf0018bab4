"""Makes a start of a user's command, in caches of coldwarm's own."""

from __future__ import annotations

import os
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Event

from coldwarm.core.case import Case, Changes
from coldwarm.core.command import Command
from coldwarm.core.engine import TORCH
from coldwarm.core.record import EngineFacts, Failure, ProcessReport
from coldwarm.core.request import ObservationRequest
from coldwarm.core.run_folder import RunFolder
from coldwarm.launch import cache_variables
from coldwarm.launch import environment as env
from coldwarm.launch.command_driver import CommandDriver
from coldwarm.launch.completion import Completion
from coldwarm.launch.observed_processes import failed_to_observe
from coldwarm.launch.process_tree import Ended, signal_name
from coldwarm.launch.spawn import WorkerOrder
from coldwarm.launch.start import Seen, Settings, Starter, StartFiles, log_tail


class CommandStarter(Starter):
    """Starts a user's command cold, then warm, in caches of its own. The arguments are those of `Starter`."""

    def __init__(
        self, case: Case, scratch: Path, output: Path, *, time_limit: float, stop: Event | None = None
    ) -> None:
        assert case.command is not None, "not the case of a command"
        self._command: Command = case.command
        self._then_log = RunFolder(output).log("then")
        self._commands_driver = CommandDriver(case.command, self._then_log, stop)
        super().__init__(case, scratch, output, time_limit=time_limit, driver=self._commands_driver, stop=stop)

    def _settings(self, changed: Changes) -> Settings:
        user = {**os.environ, **changed.environment}
        places = cache_variables.places(user)
        return Settings(
            user=user,
            chosen={},
            engine_defaults={},
            share={},
            options={},
            options_of_start={},
            options_replaced=[],
            users_caches=places,
            kept=cache_variables.DOWNLOADS,
        )

    def _pipe(self, files: StartFiles) -> tuple[int, int]:
        # A named pipe, because processes of a command inherit no descriptors. It is opened for writing, too, so that it
        # has no end while no process of the command has it open.
        pipe = _events(files)
        os.mkfifo(pipe, mode=0o600)
        return os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC), os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)

    def _order(self, settings: Settings, files: StartFiles, events: int) -> WorkerOrder:
        files.request.touch(mode=0o600)
        request = ObservationRequest(
            reports=files.reports.absolute(),
            events=_events(files).absolute(),
            own_folders=[self._scratch.absolute(), self._output.path.absolute()],
            users_caches=settings.users_caches,
        )
        files.request.write_text(request.model_dump_json())
        variables = env.environment_of_command(
            self._caches,
            files.trace.resolve(),
            files.request.absolute(),
            compilation=self._case.compilation,
            token=uuid.uuid4().hex,
            user=settings.user,
        )
        return WorkerOrder(
            engine=self._case.engine,
            depth=self._case.depth,
            request=files.request,
            environment=variables,
            events=events,
            folder=Path(self._command.folder),
            reports=files.reports.absolute(),
        )

    def _seen(self, files: StartFiles, ended: Ended) -> Seen:
        driver = self._commands_driver
        driver.give_up()
        self._case.secrets().remove_from_files([self._then_log])
        processes = driver.processes()
        seen = of_processes(processes, driver.completion)
        failure = (
            self._failure(ended, driver.problem)
            or _nothing_observed(processes, files.reports)
            or _same_ranks(processes, seen.engine)
        )
        if failure is not None:
            failure = failure.model_copy(update={"log_tail": log_tail(files.log)})
        return Seen(seen.engine, seen.device, processes, seen.facts, failure)

    def _failure(self, ended: Ended, problem: str | None) -> Failure | None:
        """Return why the start failed; None if it did not."""
        phase = next((step.name for step in reversed(ended.steps) if step.name != "exit"), None)
        what = signal = None
        if ended.timed_out:
            ready = "still running" if self._command.ends_itself else "not ready"
            what = f"{ready} after {self._time_limit:g} s, killed"
        elif ended.stopped:
            what = problem
        else:
            before = "" if self._command.ends_itself else " before it was ready"
            if ended.exit_status < 0:
                signal = signal_name(-ended.exit_status)
                what = f"the command was killed by {signal}{before}"
            elif ended.exit_status > 0 or before:
                what = f"the command exited with status {ended.exit_status}{before}"
        if what is not None and (lost := self._commands_driver.lost.first) is not None:
            process = f"process {lost.pid} ({lost.role}, rank {lost.rank})"
            after = self._commands_driver.lost.after_it
            what += f", after {process} had ended" if after else f"; {process} ended at about the same time"
        return None if what is None else Failure(what=what, phase=phase, signal=signal)


def of_processes(processes: Sequence[ProcessReport], completion: Completion | None = None) -> Seen:
    """Return what the reports of a command's processes say about its engine.

    Args:
        processes: The reports.
        completion: What it generated on request.
    """
    observed = [each for each in processes if each.program is not None and each.program.engine]
    programs = [each.program for each in sorted(observed, key=_rank) if each.program is not None]
    engine = next((program.engine for program in programs if program.engine != TORCH), TORCH)
    of_engine = [program for program in programs if program.engine == engine]
    hardware: Mapping[str, str] = of_engine[0].hardware if of_engine else {}
    facts = EngineFacts(
        versions=of_engine[0].versions if of_engine else {},
        hardware=dict(hardware),
        aot_artifact=of_engine[0].aot_artifact if of_engine else None,
        prompt_token_ids=completion.prompt if completion is not None and completion.generated else [],
        generated=completion.generated if completion is not None else [],
    )
    device = "cuda" if any("gpu" in program.hardware for program in programs) else "cpu"
    return Seen(engine, device, list(processes), facts, None)


def _rank(report: ProcessReport) -> tuple[bool, int]:
    return report.rank is None, report.rank or 0


def _nothing_observed(processes: Sequence[ProcessReport], reports: Path) -> Failure | None:
    if any(report.rank is not None for report in processes):
        return None
    if reasons := failed_to_observe(reports):
        return Failure(what=f"no process of the command could be observed: {'; '.join(reasons)}")
    if any(report.program is not None and not report.program.engine for report in processes):
        [first, *_] = (report for report in processes if report.program is not None and not report.program.engine)
        assert first.program is not None
        why = "; ".join(first.failed_probes.values())
        return Failure(what=f"process {first.pid} could not be observed: {why} ({first.program.command})")
    if not processes:
        return Failure(what="no Python process of the command imported torch, so there is nothing to check")
    return Failure(what="no process of the command compiled a model or a function, so there is nothing to check")


def _same_ranks(processes: Sequence[ProcessReport], engine: str) -> Failure | None:
    """Return a failure if processes of an engine have the same rank, so that their traces cannot be distinguished."""
    ranks = Counter(process.rank for process in processes if process.rank is not None)
    same = [rank for rank, number in ranks.items() if number > 1]
    if engine == TORCH or not same:
        return None
    return Failure(
        what=f"{ranks[same[0]]} processes run rank {same[0]} of a model, as with data parallelism, and coldwarm cannot "
        "tell them apart; start one replica"
    )


def _events(files: StartFiles) -> Path:
    return files.reports / "events"
