"""Models with coldwarm at each depth, beside the reference, in one run; do all count the same?

python benchmarks/suite_speed.py FOLDER [--model MODEL]... [--rounds N] [--only NAME]...
                                 [--arguments "ARGUMENTS of coldwarm run"]

FOLDER keeps everything; a later call adds to what is there, and goes on with a reference that was cut off. NAME:
reference, full, count or trace.
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from coldwarm.catalog.catalog import Catalog
from coldwarm.checks.expectations import is_reported_at
from coldwarm.core.depth import Depth
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.engines.vllm.statistics import LOADED, SAVED
from coldwarm.store.suite_folder import read_runs
from coldwarm.suite.stored import judge_run

_REFERENCE = "reference"
_DEPTHS = ("full", "count", "trace")

# What is compared, of which model, and of which of its starts.
Comparison = tuple[str, ...]


def main() -> None:
    """Run what is asked for, in turns, then print the table of all that FOLDER holds."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", action="append", default=[], help="by default, the representative models")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", action="append", choices=[_REFERENCE, *_DEPTHS])
    parser.add_argument("--arguments", default="", help="options of coldwarm run")
    asked = parser.parse_args()
    asked.folder.mkdir(parents=True, exist_ok=True)
    for _ in range(asked.rounds):
        for name in asked.only or (_REFERENCE, *_DEPTHS):
            _run(name, _next(asked.folder, name), asked.model, shlex.split(asked.arguments))
    _print_times(asked.folder)
    if _print_differences(asked.folder):
        raise SystemExit(1)


def _next(folder: Path, name: str) -> Path:
    for begun in folder.glob(f"{_REFERENCE}-*.json"):
        if name == _REFERENCE and not begun.with_suffix(".seconds").exists():
            return begun.with_suffix("")
    # A run that failed is kept, and left out of what is compared.
    taken = [
        int(number) for each in folder.glob(f"{name}-*") if (number := each.name[len(name) + 1 :].partition(".")[0])
    ]
    return folder / f"{name}-{max(taken, default=0) + 1}"


def _run(name: str, output: Path, models: list[str], arguments: list[str]) -> None:
    if name == _REFERENCE:
        program = Path(__file__).with_name("reference.py")
        command = [sys.executable, str(program), f"{output}.json", *models]
    else:
        command = [sys.executable, "-m", "coldwarm", "run", *models, "--depth", name, "--output", str(output)]
        command += arguments
    began = time.monotonic()
    with Path(f"{output}.log").open("ab") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, check=False)
    seconds = time.monotonic() - began
    print(f"{output.name}: {seconds:.1f} s, exit status {done.returncode}", flush=True)
    if done.returncode != 0:
        raise SystemExit(f"see {output}.log")
    if name == _REFERENCE:
        # It may have been made by several calls.
        seconds = json.loads(Path(f"{output}.json").read_text())["seconds"]
    Path(f"{output}.seconds").write_text(f"{seconds:.2f}")


def _print_times(folder: Path) -> None:
    medians = {}
    print(f"{'':10} {'median s':>9} {'ratio':>6}  all")
    for name in (_REFERENCE, *_DEPTHS):
        times = [float(file.read_text()) for file in sorted(folder.glob(f"{name}-*.seconds"))]
        if times:
            medians[name] = statistics.median(times)
            ratio = medians[_REFERENCE] / medians[name] if _REFERENCE in medians else float("nan")
            print(f"{name:10} {medians[name]:9.1f} {ratio:6.2f}  {', '.join(f'{each:.1f}' for each in times)}")


def _print_differences(folder: Path) -> int:
    """Compare every run with the first of its kind; how many comparisons differ.

    Saved and loaded are the same everywhere; what `count` tells of, as at `full`; all counters, and the verdict, in
    every run of a depth.
    """
    known: dict[Comparison, tuple[str, object]] = {}
    differences = compared = 0
    for where, what, seen in _seen(folder):
        first, expected = known.setdefault(what, (where, seen))
        compared += first != where
        if expected != seen:
            differences += 1
            print(f"{' '.join(what)}: {expected} in {first}, {seen} in {where}")
    print(f"{compared} comparisons of counts and verdicts, {differences} differences")
    return differences


def _seen(folder: Path) -> Iterator[tuple[str, Comparison, object]]:
    """What there is to compare: in which run, what, and its value there."""
    finished = {file.stem for file in folder.glob("*.seconds")}
    for file in sorted(file for file in folder.glob(f"{_REFERENCE}-*.json") if file.stem in finished):
        for each in json.loads(file.read_text())["starts"]:
            yield file.stem, ("saved, loaded", each["model"], each["kind"]), (each["saved"], each["loaded"])
    catalog = Catalog.read()
    for depth in _DEPTHS:
        for output in sorted(each for each in folder.glob(f"{depth}-*") if each.name in finished and each.is_dir()):
            for run in read_runs(output):
                model = run.case.name
                yield output.name, (f"verdict at {depth}", model), judge_run(run, catalog).verdict.status.value
                for record in (run.cold, run.warm):
                    if record is not None:
                        yield from ((output.name, what, value) for what, value in _seen_in(model, record))


def _seen_in(model: str, record: StartRecord) -> Iterator[tuple[Comparison, object]]:
    assert record.facts is not None and record.compiler_work is not None
    start, counters = (model, str(record.kind)), record.facts.counters
    yield (f"all counters at {record.depth}", *start), counters
    if record.kind is StartKind.COLD:
        yield ("unique subgraphs", *start), record.compiler_work.subgraphs_unique
    if record.depth is not Depth.TRACE:
        yield ("saved, loaded", *start), (counters[SAVED], counters[LOADED])
        told = {name: count for name, count in counters.items() if is_reported_at(name, Depth.COUNT, counters)}
        yield ("counters without kernels", *start), told


if __name__ == "__main__":
    main()
