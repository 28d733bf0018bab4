"""The rank of this process in torch.distributed."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any


class DistributedRank:
    """Remembers the rank of this process, which may leave its process group before its last report.

    A process that is forked from a rank has a copy of its process group, but is no rank.
    """

    def __init__(self) -> None:
        self._known: int | None = None
        self._inherited: Callable[[], object] = lambda: None
        """Returns the process group of the process from which this one is forked, and does not keep it alive."""
        os.register_at_fork(after_in_child=self._forget)

    def known(self) -> int | None:
        """Return the rank; None: this process has not been seen in a process group of its own."""
        distributed, group = _group()
        if group is not None and group is not self._inherited():
            with suppress(ValueError):  # another thread has just destroyed the group
                self._known = distributed.get_rank()
        return self._known

    def _forget(self) -> None:
        self._known = None
        _, group = _group()
        self._inherited = _reference(group)


def _reference(group: object) -> Callable[[], object]:
    with suppress(TypeError):
        return weakref.ref(group)
    return lambda: group


def _group() -> tuple[Any, object]:
    """Return the module `torch.distributed` and the default process group; None for what there is not."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    return distributed, getattr(getattr(distributed, "group", None), "WORLD", None)
