"""Measures candidates: runs a model with each, or reads what an earlier bisection stored."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from coldwarm.bisection.candidates import Candidate, Say, Source, UnavailableError, file_name
from coldwarm.bisection.child import child
from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.verdict import Status
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.record import Outcome
from coldwarm.core.run_folder import RunFolder
from coldwarm.engines.base import load_vocabulary
from coldwarm.store.suite_folder import read_runs
from coldwarm.suite.result import RunResult
from coldwarm.suite.stored import judge_run

STARTS = "starts"
"""The check whether both starts finish."""
UNIQUE = "unique"
"""The number of unique subgraphs of the cold start."""
HOLDS, BROKEN = "holds", "broken"


@dataclass(frozen=True)
class Measurement:
    """A candidate at one depth."""

    name: str
    depth: Depth
    values: dict[str, str]
    """The result of each check: of the starts, the invariants, and the counters, by name; in this order."""
    default_checks: tuple[str, ...]
    """The checks to choose from if the user names none, the most telling first."""
    why_not: str | None
    """Why it cannot be judged: its starts did not finish, or it cannot run the model; None: it can."""
    folder: Path | None = None
    """The folder of the run; None: nothing was started."""
    result: RunResult | None = None
    """None: nothing was started."""
    needs_kernels: bool = False
    """Whether only a depth with kernels can judge it, because the engine does not compile it with torch.compile."""

    def value(self, check: str) -> str | None:
        """Return the result of `check`; None if it has none at this depth, or cannot be judged."""
        if self.why_not is not None and check != STARTS:
            return None
        return self.values.get(check)


class Measurements:
    """Measures candidates of `source`, and stores each run below `folder`.

    Args:
        source: The candidates.
        model: The model as named on the command line.
        options: Further arguments of ``coldwarm run``.
        folder: Where runs are stored, and read again instead of being repeated.
        catalog: The catalog that judges them.
        say: Receives what is being done.
    """

    def __init__(
        self, source: Source, model: str, options: Sequence[str], folder: Path, catalog: Catalog, say: Say
    ) -> None:
        self._source = source
        self._model = model
        self._options = list(options)
        self._folder = folder
        self._catalog = catalog
        self._say = say
        self.made: dict[tuple[str, Depth], Measurement] = {}
        """All of them, in the order in which they were made."""

    def candidate(self, name: str) -> Candidate:
        """Return a candidate that is ready."""
        return self._source.prepare(name, self._say)

    def measure(self, name: str, depth: Depth) -> Measurement:
        """Return the measurement of the candidate `name` at `depth`, which is made if it is not stored."""
        if (name, depth) not in self.made:
            self.made[name, depth] = self._measure(name, depth)
        return self.made[name, depth]

    def _measure(self, name: str, depth: Depth) -> Measurement:
        folder = self._folder / file_name(name) / depth
        stored = self._read(name, depth, folder)
        if stored is not None:
            self._say(f"{name} at depth {depth}: measured before")
            return stored
        try:
            candidate = self.candidate(name)
        except UnavailableError as error:
            return Measurement(name, depth, {}, (), str(error))
        shutil.rmtree(folder, ignore_errors=True)
        problem = self._run(candidate, depth, folder)
        made = self._read(name, depth, folder)
        return made or Measurement(name, depth, {STARTS: "not started"}, (STARTS,), problem or "nothing was started")

    def _run(self, candidate: Candidate, depth: Depth, folder: Path) -> str | None:
        """Run ``coldwarm run``; return why it started nothing, if it did not.

        Raises:
            RuntimeError: coldwarm failed.
        """
        line = [str(candidate.python), "-P", "-m", "coldwarm", "run", self._model, "--depth", depth]
        line += [*self._options, "--output", str(folder)]
        last: list[str] = []
        with child(line, orderly=True, environment=candidate.environment()) as run:
            assert run.stderr is not None
            with run.stderr as lines:
                for text in lines:
                    last = [*last[-9:], text.rstrip()]
                    self._say(f"{candidate.name} at depth {depth}: {text.rstrip().removeprefix('[1/1] ')}")
            status = run.wait()
        if status == ExitCode.USAGE:
            return "\n".join(last).removeprefix("coldwarm: ")
        if status not in (ExitCode.HEALTHY, ExitCode.FAILED, ExitCode.CRASHED):
            raise RuntimeError("\n".join([f"coldwarm run with {candidate.name} ended with exit code {status}", *last]))
        return None

    def _read(self, name: str, depth: Depth, folder: Path) -> Measurement | None:
        """Return what is stored in `folder`; None if that is no finished run."""
        if not folder.is_dir():
            return None
        try:
            [run] = read_runs(folder)
        except (UsageError, ValueError):
            return None
        if not RunFolder(run.folder).verdict.is_file():
            return None
        return measurement(name, depth, judge_run(run, self._catalog), run.folder)


def measurement(name: str, depth: Depth, result: RunResult, folder: Path) -> Measurement:
    """Return the results of all checks in a run."""
    verdict = result.verdict
    if verdict.status is Status.ERROR:
        reason = verdict.reasons[0]
        return Measurement(name, depth, {STARTS: BROKEN}, (STARTS,), reason, folder, result)
    if verdict.status is Status.UNSUPPORTED:
        # A device that cannot run the model has no finished start.
        ran = result.cold is not None and result.cold.outcome is Outcome.FINISHED
        reason = f"unsupported: {verdict.reasons[0]}"
        return Measurement(name, depth, {}, (), reason, folder, result, needs_kernels=ran)
    values = {STARTS: HOLDS}
    invariants = {check.id: check for check in verdict.checks if check.id in set(InvariantId) and check.is_checked}
    # A failure that a known issue accepts is one nevertheless.
    values |= {id_: HOLDS if check.holds else BROKEN for id_, check in invariants.items()}
    telling = list(values)
    for record in (result.cold, result.warm):
        if record is None or record.facts is None:
            continue
        vocabulary = load_vocabulary(record.engine)
        stats = vocabulary.compile_stats(record)
        if record is result.cold and stats and (unique := next(iter(stats.values())).unique) is not None:
            values[UNIQUE] = str(unique)
            telling.append(UNIQUE)
        for counter, count in sorted(record.facts.counters.items()):
            values[f"{record.kind}.{counter}"] = str(count)
            if counter in (vocabulary.saved, vocabulary.loaded):
                telling.append(f"{record.kind}.{counter}")
    return Measurement(name, depth, values, tuple(telling), None, folder, result)
