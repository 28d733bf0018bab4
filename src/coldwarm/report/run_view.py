"""Shows one run in full: its checks, where its time went, its caches and versions."""

from __future__ import annotations

from rich.console import Console

from coldwarm.core.checks import Check
from coldwarm.core.options import flatten
from coldwarm.core.record import StartRecord
from coldwarm.core.secrets import Secrets
from coldwarm.suite.result import RunResult


def print_run(console: Console, result: RunResult) -> None:
    """Print all that is worth reading of `result`."""

    def line(text: str = "") -> None:
        console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    case, verdict = result.case, result.verdict
    line(f"{case.name} on {case.engine}, {case.device}, {case.compilation}: {verdict.status}")
    for reason in verdict.reasons:
        line(f"  - {reason}")
    for check in verdict.checks:
        line(f"  {_mark(check):5} {check.words}")
        for evidence in check.evidence:
            line(f"          log: {evidence}")
    for note in verdict.notes:
        line(f"  note: {note}")
    for record in (result.cold, result.warm):
        if record is not None:
            for text in _start_lines(record):
                line(text)
    line(f"  again: {result.again}")
    line()


def _start_lines(record: StartRecord) -> list[str]:
    lines = [f"  {record.kind} start: {record.outcome}, {record.seconds:.1f} s"]
    lines.append("    phases  " + ", ".join(f"{phase.name} {phase.seconds:.1f} s" for phase in record.phases))
    caches = (
        f"{name} {content.files} files {content.bytes / 2**20:.1f} MiB" for name, content in record.caches_after.items()
    )
    lines.append("    caches  " + (", ".join(caches) or "empty"))
    if record.peak_memory_bytes:
        lines.append(f"    memory  {record.peak_memory_bytes / 2**30:.1f} GiB at most")
    if record.facts:
        versions = (f"{name} {version}" for name, version in sorted(record.facts.versions.items()))
        lines.append("    versions  " + ", ".join(versions))
    if record.environment:
        variables = Secrets(record.environment).environment(record.environment)
        lines.append("    environment  " + ", ".join(f"{name}={value}" for name, value in variables.items()))
    if record.options:
        options = flatten(Secrets(record.options).options(record.options))
        lines.append("    options  " + ", ".join(f"{name}={value}" for name, value in options.items()))
    if record.overridden:
        lines.append("    replaced to isolate the start  " + ", ".join(record.overridden))
    lines += [f"    {message.level} {message.logger}: {message.text}" for message in record.messages]
    if record.failure:
        lines.append(f"    {record.failure.what}")
        lines += [f"      {text}" for text in record.failure.log_tail]
    return lines


def _mark(check: Check) -> str:
    if not check.is_checked:
        return "-"
    return "ok" if check.holds else "known" if check.accepted_by else "NO"
