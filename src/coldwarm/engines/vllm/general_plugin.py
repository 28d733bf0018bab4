"""coldwarm's general plugin for vLLM: does nothing unless the process belongs to a start made by coldwarm.

vLLM calls `install` in every process that it starts (vllm/plugins/__init__.py, `load_general_plugins`), so this module
imports nothing heavy.
"""

from __future__ import annotations

import os

from coldwarm.core.variables import OBSERVATION_VARIABLE, REQUEST_VARIABLE, TOKEN_VARIABLE


def install() -> None:
    """Observe this process; the entry point in vLLM's group ``vllm.general_plugins``."""
    if TOKEN_VARIABLE not in os.environ:
        return
    if OBSERVATION_VARIABLE in os.environ:
        # Usually it is observed since it began; not if Python ignores PYTHONPATH, as with ``-I``.
        from coldwarm.engines.observed import begin

        begin()
    elif REQUEST_VARIABLE in os.environ:
        from coldwarm.engines.vllm.rank import set_up_from_environment

        set_up_from_environment()
