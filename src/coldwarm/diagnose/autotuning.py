"""Reports Triton kernels that the warm start re-autotuned."""

from __future__ import annotations

from fnmatch import fnmatchcase

from coldwarm.core.cache_files import rewritten_files
from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import record_name

# torch/_inductor/runtime/autotune_cache.py: the configuration chosen for one kernel.
_CHOICE = "*.best_config"


def autotuning_findings(cold: StartRecord, warm: StartRecord) -> list[Finding]:
    """Report in one finding how many of the cold start's autotuning results the warm start rewrote."""
    rewritten = rewritten_files(cold.files_written, warm.files_written, _CHOICE)
    if not rewritten:
        return []
    autotuned = sum(1 for path in cold.files_written if fnmatchcase(path, _CHOICE))
    return [
        Finding(
            kind=FindingKind.TUNED_AGAIN,
            start=StartKind.WARM,
            what=f"Inductor re-autotuned {len(rewritten)} of the {autotuned} kernels that the cold start autotuned; "
            "a different config can change the reduction order, and so the rounding of the outputs",
            evidence=[
                Evidence(file=record_name(StartKind.WARM), record=f"files_written: {path}") for path in rewritten
            ],
            next="use bundled artifacts, which include the chosen configs: --aot-artifact bundled",
        )
    ]
