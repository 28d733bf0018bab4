"""Tells of Triton kernels whose launch configuration a warm start chose anew, by timing them again."""

from __future__ import annotations

from fnmatch import fnmatchcase

from coldwarm.core.cache_files import rewritten_files
from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import record_name

# torch/_inductor/runtime/autotune_cache.py: what was chosen for one kernel.
_CHOICE = "*.best_config"


def tuned_again_findings(cold: StartRecord, warm: StartRecord) -> list[Finding]:
    """Tell, in one finding, how many choices of the cold start the warm start made again and kept otherwise."""
    again = rewritten_files(cold.files_written, warm.files_written, _CHOICE)
    if not again:
        return []
    tuned = sum(1 for path in cold.files_written if fnmatchcase(path, _CHOICE))
    kernels = "1 kernel" if len(again) == 1 else f"{len(again)} kernels"
    return [
        Finding(
            kind=FindingKind.TUNED_AGAIN,
            start=StartKind.WARM,
            what=f"Inductor tuned {kernels} again, of {tuned} that the cold start had tuned: another choice may "
            "add up in another order, so that the outputs of the two starts round otherwise",
            evidence=[Evidence(file=record_name(StartKind.WARM), record=f"files_written: {path}") for path in again],
            next="artifacts that are bundled keep what was chosen: --aot-artifact bundled",
        )
    ]
