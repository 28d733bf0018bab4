"""The rank of this process in torch.distributed."""

from __future__ import annotations

import sys
from contextlib import suppress


class DistributedRank:
    """Remembers the rank of this process, which may leave its process group before its last report."""

    def __init__(self) -> None:
        self._known: int | None = None

    def known(self) -> int | None:
        """Return the rank; None: this process has not been seen in a process group."""
        distributed = getattr(sys.modules.get("torch"), "distributed", None)
        if distributed is not None and distributed.is_available() and distributed.is_initialized():
            with suppress(ValueError):  # another thread has just destroyed the group
                self._known = distributed.get_rank()
        return self._known
