"""Reports Triton kernels that a warm start re-autotuned, with a different result."""

from __future__ import annotations

from fnmatch import fnmatchcase

from coldwarm.core.cache_files import written_again
from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import record_name

# torch/_inductor/runtime/autotune_cache.py: the configuration chosen for one kernel.
_CHOICE = "*.best_config"


def autotuning_findings(cold: StartRecord, warm: StartRecord) -> list[Finding]:
    """Report in one finding how many files with the cold start's choices the warm start rewrote."""
    again = written_again(cold.files_written, warm.files_written, _CHOICE)
    if not again:
        return []
    tuned = sum(1 for path in cold.files_written if fnmatchcase(path, _CHOICE))
    kernels = "1 kernel" if len(again) == 1 else f"{len(again)} kernels"
    return [
        Finding(
            kind=FindingKind.TUNED_AGAIN,
            start=StartKind.WARM,
            what=f"Inductor re-autotuned {kernels} of the {tuned} that the cold start had autotuned; a different config can "
            "change the reduction order, and so the rounding of the outputs",
            evidence=[Evidence(file=record_name(StartKind.WARM), record=f"files_written: {path}") for path in again],
            next="use bundled artifacts, which include the chosen configs: --aot-artifact bundled",
        )
    ]
