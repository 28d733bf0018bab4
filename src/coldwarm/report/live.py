"""Shows progress: live lines on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections import Counter
from types import TracebackType

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from coldwarm.core.case import Case
from coldwarm.core.record import Outcome, StartKind, StartRecord
from coldwarm.suite.result import RunResult


class _Repetitions:
    """Counts the starts of each run, to name them."""

    def __init__(self) -> None:
        self._begun: Counter[tuple[str, StartKind]] = Counter()

    def start(self, case: Case, kind: StartKind) -> None:
        """Count a start that begins."""
        self._begun[case.name, kind] += 1

    def name(self, case: Case, kind: StartKind) -> str:
        """Return the name of the latest start: ``cold``, or ``cold 2/4`` if the run is repeated."""
        return f"{kind} {self._begun[case.name, kind]}/{case.repeat}" if case.repeat > 1 else str(kind)


class PlainLines:
    """Prints a line when a start begins, enters a phase, or ends."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._total = total
        self._numbers: dict[str, int] = {}
        self._repetitions = _Repetitions()

    def __enter__(self) -> PlainLines:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Do nothing."""

    def start_began(self, case: Case, kind: StartKind) -> None:
        """Print that the start began."""
        self._repetitions.start(case, kind)
        self._line(case, f" {self._repetitions.name(case, kind)}: process start")

    def phase_began(self, case: Case, kind: StartKind, phase: str) -> None:
        """Print the phase."""
        self._line(case, f" {self._repetitions.name(case, kind)}: {phase}")

    def start_ended(self, case: Case, record: StartRecord) -> None:
        """Print the outcome and the time that it took."""
        self._line(case, f" {self._repetitions.name(case, record.kind)}: {_ended(record)}")

    def run_ended(self, result: RunResult) -> None:
        """Print the verdict."""
        self._line(result.case, f": {result.verdict.status}")

    def _line(self, case: Case, text: str) -> None:
        number = self._numbers.setdefault(case.name, len(self._numbers) + 1)
        self._console.print(Text(f"[{number}/{self._total}] {case.name}{text}"), soft_wrap=True)


class LiveLines:
    """Shows a live line for each running start: model, kind, phase, elapsed time. Finished starts stay above."""

    def __init__(self, console: Console, total: int) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._total = total
        self._done = 0
        self._repetitions = _Repetitions()
        self._suite = self._progress.add_task(self._count())
        self._starts: dict[str, TaskID] = {}

    def __enter__(self) -> LiveLines:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._progress.stop()

    def start_began(self, case: Case, kind: StartKind) -> None:
        """Show a new line for the start."""
        self._repetitions.start(case, kind)
        name = f"{case.name} {self._repetitions.name(case, kind)}"
        self._starts[case.name] = self._progress.add_task(f"{name}: process start", total=None)

    def phase_began(self, case: Case, kind: StartKind, phase: str) -> None:
        """Show the phase."""
        if case.name in self._starts:
            name = f"{case.name} {self._repetitions.name(case, kind)}"
            self._progress.update(self._starts[case.name], description=f"{name}: {phase}")

    def start_ended(self, case: Case, record: StartRecord) -> None:
        """Print the outcome above the live lines."""
        if case.name in self._starts:
            self._progress.remove_task(self._starts.pop(case.name))
        name = f"{case.name} {self._repetitions.name(case, record.kind)}"
        self._progress.console.print(Text(f"{name}: {_ended(record)}"))

    def run_ended(self, result: RunResult) -> None:
        """Print the verdict above the live lines."""
        self._done += 1
        self._progress.update(self._suite, description=self._count())
        self._progress.console.print(Text(f"{result.case.name}: {result.verdict.status}"))

    def _count(self) -> str:
        return f"{self._done} of {self._total} runs done"


def live_view(console: Console, total: int) -> PlainLines | LiveLines:
    """Return the view that suits `console`."""
    return LiveLines(console, total) if console.is_terminal else PlainLines(console, total)


def _ended(record: StartRecord) -> str:
    if record.outcome is Outcome.FINISHED:
        return f"done in {record.seconds:.1f} s"
    return f"{record.outcome} after {record.seconds:.1f} s" + (f": {record.failure.what}" if record.failure else "")
