"""Formats how warm a start of a user's command was."""

from __future__ import annotations

from coldwarm.diagnose.warmth import StartWarmth

_SHORTEST_PHASE = 0.05


def watch_text(start: StartWarmth) -> str:
    """Return the report as text."""
    lines = [f"coldwarm: {start.warmth} after {start.seconds:.1f} s"]
    for process in start.processes:
        rank = "" if process.rank is None else f", rank {process.rank}"
        blocks = [] if process.kv_cache_blocks is None else [f"{process.kv_cache_blocks} KV cache blocks"]
        details = [*process.did, *blocks]
        did = f" ({', '.join(details)})" if details else ""
        lines.append(f"  process {process.pid}, {process.role}{rank}: {process.warmth}{did}")
    if not start.processes:
        lines.append("  no process imported torch")
    for reason in start.reasons:
        lines.append(f"  why: {reason.what}")
        if reason.next is not None:
            lines.append(f"    possible fix: {reason.next}")
    for cache in start.caches:
        kind = f" ({cache.file_system})" if cache.file_system else ""
        found = f"{cache.found} files" if cache.found_all else f"more than {cache.found} files"
        written = "" if cache.written is None else f", {cache.written} written"
        lines.append(f"  cache {cache.folder}{kind}: {found} found, {cache.read} read{written}")
        if cache.problem is not None:
            lines.append(f"    {cache.problem}")
    lines += [f"  not observed: {text}" for text in start.unobserved]
    phases = [f"{name} {seconds:.1f} s" for name, seconds in start.phases.items() if seconds >= _SHORTEST_PHASE]
    if phases:
        lines.append(f"  time: {', '.join(phases)}")
    return "\n".join(lines) + "\n"
