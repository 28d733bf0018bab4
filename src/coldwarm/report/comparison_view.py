"""Writes a comparison of two groups of runs as Markdown, for a terminal, a job summary or a pull request."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from coldwarm.comparison.compare import FailOn, RunComparison, SidesComparison
from coldwarm.comparison.exact import CountChange, Direction
from coldwarm.comparison.seconds import Answer, SecondsChange
from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.record import StartKind
from coldwarm.report.findings import as_one_line, finding_in_one_line
from coldwarm.report.markdown_text import markdown_table, on_one_line
from coldwarm.report.versions_view import changed_verdicts, changed_versions

_WORDS = {FailOn.COUNTS: "counts", FailOn.FINDINGS: "findings", FailOn.TIME: "seconds"}
_MOST_KEYS = 12
_MOST_OPEN = 8
"""Findings that are gone are collapsed if they are more."""
_LONGEST_VALUE = 80


def comparison_as_markdown(
    comparison: SidesComparison, folder: Path, *, title: str, fail_on: Collection[FailOn] = tuple(FailOn)
) -> str:
    """Return what changed: the answer in one line, then versions, verdicts, counts, seconds, findings and cache keys.

    Args:
        comparison: The comparison.
        folder: The folder of the file to be written, from which links lead to pages of a checkout of coldwarm, if that
            is the current folder.
        title: The heading.
        fail_on: The regressions that the answer is about.
    """
    parts = [
        f"## {title}",
        "**{}**{}".format(*answer(comparison, fail_on)),
        *changed_versions(comparison.verdicts),
        *_settings(comparison.runs),
        *changed_verdicts(comparison.verdicts, folder),
        *_counts(comparison.runs),
        *_seconds(comparison),
        *_findings(comparison.runs),
        *_keys(comparison.runs),
    ]
    for heading, names in (
        ("New", comparison.verdicts.added),
        ("Not run", comparison.verdicts.missing),
        ("Not started", comparison.not_started),
    ):
        parts += [f"{heading}: {', '.join(map(on_one_line, names))}."] if names else []
    return "\n\n".join(parts) + "\n"


def answer(comparison: SidesComparison, fail_on: Collection[FailOn]) -> tuple[str, str]:
    """Return the answer in one line of plain text, and the rest of that line, which is less important."""
    regressions = comparison.regressions()
    worse = [each.value for each in FailOn if each in regressions]
    runs = len(comparison.runs)
    compared = f"{runs} {'run' if runs == 1 else 'runs'}"
    if not comparison.runs:
        return "Nothing was compared: the two sides have no run in common.", ""
    if not comparison.measured:
        return f"Nothing was measured in {compared}.", ""
    if worse:
        return f"Regression in {' and '.join(worse)}", f", in {compared}."
    unknown = _unknown(comparison)
    if missing := [word for kind, word in unknown.items() if kind in fail_on]:
        known = " or ".join(word for kind, word in _WORDS.items() if kind not in unknown)
        return f"No regression of {known} in {compared}; {' and '.join(missing)} could not be compared.", ""
    return f"No regression in {compared}.", ""


def _unknown(comparison: SidesComparison) -> dict[FailOn, str]:
    """Return the words for what could not be compared in some of the runs."""
    unknown = {FailOn.COUNTS: comparison.uncounted(), FailOn.TIME: comparison.untold()}
    return {kind: _WORDS[kind] for kind, of_runs in unknown.items() if of_runs}


def _settings(runs: Sequence[RunComparison]) -> Iterator[str]:
    lines = [
        f"- {on_one_line(run.name)}: {on_one_line(name)}: {_value(before)}, now {_value(after)}"
        for run in runs
        for name, (before, after) in run.settings.items()
    ]
    if lines:
        yield "\n".join(["Settings:", "", *lines])


def _counts(runs: Sequence[RunComparison]) -> Iterator[str]:
    changes = [(run.name, change) for run in runs for change in run.counts]
    rows = [
        [name, change.name, _values(change.before), _values(change.after), _direction(change)]
        for direction in (Direction.WORSE, Direction.NEITHER, Direction.BETTER)
        for name, change in changes
        if change.direction is direction
    ]
    uncounted = [run for run in runs if run.is_uncounted]
    if rows or uncounted:
        yield "### Counts"
    if rows:
        yield markdown_table(["run", "count", "before", "now", ""], rows)
    if uncounted:
        names = ", ".join(on_one_line(run.name) for run in uncounted)
        yield f"Not comparable: {names}: the two sides have no count in common."


def _values(values: Sequence[int]) -> str:
    return " or ".join(map(str, values)) or "not counted"


def _direction(change: CountChange) -> str:
    return "" if change.direction is Direction.NEITHER else str(change.direction)


def _seconds(comparison: SidesComparison) -> Iterator[str]:
    rows = [
        _row(run.name, change)
        for run in comparison.runs
        for change in run.seconds
        if change.difference is not None and (change.is_total or change.answer is not Answer.NO_DIFFERENCE)
    ]
    too_few = [run for run in comparison.runs if any(_is_too_few(each) for each in run.seconds)]
    elsewhere = [run for run in comparison.runs if run.conditions and run.seconds]
    if rows or too_few or elsewhere:
        yield "### Seconds"
    if rows:
        yield markdown_table(["run", "", "before", "now", "change", "95 % interval", "p", ""], rows)
    if too_few:
        need = comparison.starts_needed
        runs = ", ".join(f"{on_one_line(run.name)} ({_starts(run)})" for run in too_few)
        if len({_starts(run) for run in too_few}) == 1:
            runs = f"{_starts(too_few[0])}{f' in each of {len(too_few)} runs' if len(too_few) > 1 else ''}"
        yield f"Not enough starts to tell ({runs}; at least {need} each are needed: `coldwarm run --repeat {need}`)."
    for run in elsewhere:
        yield f"Not comparable: {on_one_line(run.name)}: {on_one_line('; '.join(run.conditions))}."
    for run in comparison.runs:
        answers = {change.quantity: change.answer for change in run.seconds}
        for kind in StartKind:
            if (answers.get(kind), answers.get(f"{kind} CPU")) == (Answer.SLOWER, Answer.NO_DIFFERENCE):
                yield (
                    f"{on_one_line(run.name)}: the {kind} start is slower and needs no more CPU time: it waited, for "
                    "example for a disk, or for a core that was busy with something else."
                )
        old, new = run.before.most_in_parallel, run.after.most_in_parallel
        if old != new and not run.conditions:
            yield f"{on_one_line(run.name)}: up to {old} starts ran in parallel, now {new}, which affects seconds."


def _row(name: str, change: SecondsChange) -> list[str]:
    difference = change.difference
    assert difference is not None and change.p is not None
    is_unbounded = difference.low == 0 or difference.high == float("inf")
    interval = "any" if is_unbounded else f"{_percent(difference.low)} to {_percent(difference.high)}"
    return [
        name,
        change.quantity,
        f"{difference.before:.2f}",
        f"{difference.after:.2f}",
        _percent(difference.ratio) if difference.before else "new",
        interval if difference.before and difference.after else "",
        f"{change.p:.2g}",
        "" if change.answer is Answer.NO_DIFFERENCE else str(change.answer),
    ]


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.0f} %"


def _is_too_few(change: SecondsChange) -> bool:
    return change.is_total and change.answer is Answer.TOO_FEW


def _starts(run: RunComparison) -> str:
    change = next(each for each in run.seconds if _is_too_few(each))
    return f"{len(change.before)} and {len(change.after)}"


def _findings(runs: Sequence[RunComparison]) -> Iterator[str]:
    for direction, heading in ((Direction.WORSE, "New findings"), (Direction.BETTER, "Findings that are gone")):
        found: dict[tuple[str, str], list[str]] = {}
        for run in runs:
            for each in run.findings:
                if each.direction is direction:
                    found.setdefault((each.finding.start, finding_in_one_line(each.finding)), []).append(run.name)
        lines = [
            f"- {', '.join(map(on_one_line, names))}, {start}: {on_one_line(what)}"
            for (start, what), names in found.items()
        ]
        if direction is Direction.BETTER and len(lines) > _MOST_OPEN:
            summary = f"<details><summary>{len(lines)} findings are gone</summary>"
            yield "\n".join([summary, "", *lines, "", "</details>"])
        elif lines:
            yield f"### {heading}"
            yield "\n".join(lines)


def _keys(runs: Sequence[RunComparison]) -> Iterator[str]:
    lines = []
    for run in runs:
        shown = (run.keys or [])[:_MOST_KEYS]
        lines += [f"- {on_one_line(run.name)}: {_factor(each)}" for each in shown]
        if (more := len(run.keys or []) - len(shown)) > 0:
            lines.append(f"- {on_one_line(run.name)}: and {more} more")
    if lines:
        yield "### Cache keys"
        yield "A cache that was filled before is not used now, because these components of its key differ:"
        yield "\n".join(lines)


def _factor(factor: ChangedFactor) -> str:
    return f"{on_one_line(f'{factor.group}: {factor.name}')}: {_value(factor.cold)}, now {_value(factor.warm)}"


def _value(value: str | None) -> str:
    if value is None:
        return "nothing"
    text = as_one_line(value)
    return on_one_line(text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}…") or "(empty)"
