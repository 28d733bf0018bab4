"""How commands store what they measured in the history.

Imports inside the functions keep `coldwarm --help` fast.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from coldwarm.core.errors import UsageError

if TYPE_CHECKING:
    from coldwarm.report.console import PlainConsole


def requested_store(store: str | None) -> str | None:
    """Return the store of --store, or of the variable COLDWARM_STORE; None: nothing is to be stored.

    Raises:
        UsageError: It cannot be used: nothing should be started whose results cannot be stored.
    """
    from coldwarm.store.history.history import History
    from coldwarm.store.history.location import VARIABLE

    store = store or os.environ.get(VARIABLE)
    if store:
        History.open(store).close()
    return store or None


def store_suite(store: str, folder: Path, console: PlainConsole) -> None:
    """Store the runs of the suite in `folder`, and print how many.

    Raises:
        UsageError: They could not be stored; the message has the command that repeats it.
    """
    from coldwarm.store.history.history import History
    from coldwarm.store.history.location import VARIABLE, locate

    try:
        with History.open(store) as history:
            added = history.add(folder)
    except UsageError as error:
        words = ["coldwarm", "history", "add", str(folder)]
        if store != os.environ.get(VARIABLE):
            words += ["--store", str(locate(store))]
        raise UsageError(
            f"{error}\nThe runs are not in the history; their records are complete. To store them: {shlex.join(words)}"
        ) from error
    number = len(added.stored)
    console.print(f"stored: {number} run{'' if number == 1 else 's'} in {locate(store)}", soft_wrap=True)
