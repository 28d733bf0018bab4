"""What each compiler did in the cold and the warm start, and which kernels took most time."""

from __future__ import annotations

from pydantic import BaseModel

from coldwarm.core.record import StartRecord
from coldwarm.core.stats import CompileStats, KernelCounts, KernelWork
from coldwarm.diagnose.costs import seconds_compiling
from coldwarm.engines.base import load_vocabulary

_MOST_KERNELS = 10
TORCH_COMPILE = "torch.compile"


class CompilerCell(BaseModel):
    """What a compiler did in one start."""

    compiled: int
    """Artifacts saved by torch.compile; kernels compiled by other compilers."""
    loaded: int
    listed: int = 0
    """Keys of which nothing was compiled at this depth."""
    seconds: float | None
    """Wall time in which it compiled; None: not known. Compilers may work at the same time."""


class CompilerRow(BaseModel):
    """One compiler; a start is None if it did not finish or kernel compilers were not observed in it."""

    compiler: str
    cold: CompilerCell | None
    warm: CompilerCell | None


class KernelCell(BaseModel):
    """How a start compiled one kernel."""

    keys: int
    seconds: float | None


class KernelRow(BaseModel):
    """One kernel; a start is None if it did not compile it."""

    compiler: str
    kernel: str
    cold: KernelCell | None
    warm: KernelCell | None


def compiler_rows(cold: StartRecord | None, warm: StartRecord | None) -> list[CompilerRow]:
    """Return what each compiler did in the first rank, torch.compile first; empty if no kernels were recorded."""
    cells = [_cells(record) for record in (cold, warm)]
    names = dict.fromkeys(name for each in cells for name in each)
    of_kernels = [name for name in names if name != TORCH_COMPILE]
    if not any(cells):
        return []
    return [
        CompilerRow(compiler=name, cold=_cell(cells[0], name), warm=_cell(cells[1], name))
        for name in (TORCH_COMPILE, *of_kernels)
    ]


def slowest_kernels(cold: StartRecord | None, warm: StartRecord | None) -> list[KernelRow]:
    """Return the kernels that took most time to compile in the first rank, in the start in which they took most."""
    works = [_work(record) for record in (cold, warm)]
    found = [{each.label: each for each in work.kernels} if work else {} for work in works]
    rows = []
    for label in dict.fromkeys(label for each in found for label in each):
        before, after = (each.get(label) for each in found)
        either = before or after
        assert either is not None
        rows.append(
            KernelRow(compiler=either.compiler, kernel=either.kernel, cold=_kernel(before), warm=_kernel(after))
        )
    rows.sort(key=lambda row: -max(cell.seconds or 0.0 for cell in (row.cold, row.warm) if cell is not None))
    return rows[:_MOST_KERNELS]


def _kernel(counts: KernelCounts | None) -> KernelCell | None:
    return None if counts is None else KernelCell(keys=counts.keys, seconds=counts.seconds)


def _cell(cells: dict[str, CompilerCell], name: str) -> CompilerCell | None:
    return cells.get(name, CompilerCell(compiled=0, loaded=0, seconds=None)) if cells else None


def _stats(record: StartRecord | None) -> CompileStats | None:
    if record is None:
        return None
    return next(iter(load_vocabulary(record.engine).compile_stats(record).values()), None)


def _work(record: StartRecord | None) -> KernelWork | None:
    stats = _stats(record)
    return None if stats is None else stats.kernels


def _cells(record: StartRecord | None) -> dict[str, CompilerCell]:
    stats = _stats(record)
    if record is None or stats is None or stats.kernels is None:
        return {}
    found = {
        TORCH_COMPILE: CompilerCell(compiled=stats.saved, loaded=stats.loaded, seconds=seconds_compiling(record)),
    }
    for each in stats.kernels.compilers:
        found[each.compiler] = CompilerCell(
            compiled=each.compiled, loaded=each.loaded, listed=each.listed, seconds=each.seconds
        )
    return found
