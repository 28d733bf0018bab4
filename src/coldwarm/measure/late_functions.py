"""Functions that torch.compile compiled after the engine was ready for requests."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from coldwarm.core.phases import GENERATE
from coldwarm.core.record import StartRecord

_COMPILER = "torch.compile"


@dataclass(frozen=True)
class LateFunction:
    """A function, with all of its compilations in a start."""

    name: str
    where: str | None
    """The line at which it begins, as ``file:line``."""
    keys: int
    """The number of its compilations; loaded ones are not among them."""
    seconds: float | None
    """Their time; None: not recorded."""

    @property
    def label(self) -> str:
        """The compiler and the name, as for a kernel."""
        return f"{_COMPILER} {self.name}"

    def is_in(self, patterns: Iterable[str]) -> bool:
        """Return whether its line matches one of `patterns`."""
        return any(fnmatchcase(f"/{self.where}", pattern) for pattern in patterns)


def functions_after_ready(record: StartRecord, rank: int | None = None) -> list[LateFunction]:
    """Return the functions of a start that a request waited for, each once.

    Args:
        record: The start.
        rank: Only those of this rank; None: of all.
    """
    ready = next((step.begin for step in record.steps if step.name == GENERATE), None)
    functions = record.compiler_work.functions if record.compiler_work is not None else []
    found: dict[str, LateFunction] = {}
    for each in functions:
        if ready is None or each.compiled_last is None or each.compiled_last < ready or rank not in (None, each.rank):
            continue
        name, _, place = each.name.partition(" (")
        where = place.removesuffix(")") if ":" in place else None
        late = LateFunction(name, where, len(each.missed) + each.bypassed, each.seconds)
        # The ranks compile the same at the same time.
        if each.name not in found or found[each.name].keys < late.keys:
            found[each.name] = late
    return list(found.values())
