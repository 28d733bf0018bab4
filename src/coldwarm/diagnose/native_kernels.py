"""Reports C++ kernels of Inductor that the warm start recompiled, although it loaded every artifact."""

from __future__ import annotations

import re

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import StartKind, StartRecord
from coldwarm.core.run_folder import record_name
from coldwarm.core.stage import Stage
from coldwarm.engines.base import load_vocabulary

_NATIVE_LIBRARY = re.compile(r"\.main\.so$")
_MOST_FILES = 3


def native_kernel_findings(cold: StartRecord, warm: StartRecord) -> list[Finding]:
    """Report in one finding the new libraries of a warm start that generated no code and loaded everything."""
    stats = [next(iter(load_vocabulary(each.engine).compile_stats(each).values()), None) for each in (cold, warm)]
    before, after = stats
    if before is None or after is None or not before.saved or after.loaded != before.saved:
        return []
    if after.saved or after.misses or after.code_generations != 0:
        return []
    known = {path for path in cold.files_written if _NATIVE_LIBRARY.search(path)}
    new = [path for path in warm.files_written if _NATIVE_LIBRARY.search(path) and path not in known]
    if not new or not known:
        return []
    kernels = "1 C++ kernel" if len(new) == 1 else f"{len(new)} C++ kernels"
    return [
        Finding(
            kind=FindingKind.KERNEL_RECOMPILED,
            start=StartKind.WARM,
            what=f"Inductor recompiled {kernels} under other keys, although all artifacts were loaded and no code was "
            f"generated (the cold start compiled {len(known)})",
            where="torch/_inductor/cpu_vec_isa.py",
            details=[
                "a likely cause is that PyTorch's check of the CPU's instructions is not thread-safe: VecAMX.__bool__ "
                "changes the compiler's flags while it runs, and threads that load artifacts put them into their keys"
            ],
            evidence=[
                Evidence(file=record_name(StartKind.WARM), record=f"files_written: {path}")
                for path in new[:_MOST_FILES]
            ],
            seconds=sum(phase.seconds for phase in warm.phases if phase.name == Stage.NATIVE) or None,
            next="call torch._inductor.cpu_vec_isa.pick_vec_isa() in one thread before the engine starts",
        )
    ]
