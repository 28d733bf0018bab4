"""coldwarm's general plugin for vLLM: does nothing unless the process belongs to a start made by coldwarm.

vLLM calls `install` in every process that it starts (vllm/plugins/__init__.py, `load_general_plugins`), so this module
imports nothing heavy.
"""

from __future__ import annotations

import os

from coldwarm.core.variables import REQUEST_VARIABLE, TOKEN_VARIABLE


def install() -> None:
    """Observe this process; the entry point in vLLM's group ``vllm.general_plugins``."""
    if REQUEST_VARIABLE not in os.environ or TOKEN_VARIABLE not in os.environ:
        return
    from coldwarm.engines.vllm.rank import set_up_from_environment

    set_up_from_environment()
