"""Determines which of vLLM's own lookups missed in a warm start, and which components are in the key of each.

vLLM looks for two things (vllm/compilation/decorators.py, backends.py, caching.py; 0.26 to 0.33). The *function* is an
AOT-compiled model (``torch_aot_compile/<key>``): found by its key, then loaded, which compares the sources that it was
traced from. The *artifacts* of its subgraphs are either in that function (bundled), or in a separate folder,
``torch_compile_cache/<key>``, whose key contains the traced sources and the compiler instead of the model. The results
of a nested or standalone torch.compile are in neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import EngineFacts
from coldwarm.engines.vllm.statistics import AOT_COMPILES, AOT_LOADED, AOT_SAVED, INDUCTOR_COMPILES, LOADED, SAVED

ENTRIES = "vllm.num_cache_entries_updated"
"""Artifacts in vLLM's own index; its adaptor for an older Inductor counts no saved ones (compiler_interface.py)."""

# Whether the engine compiled anything; vLLM does not use torch.compile for some models.
_COMPILES = (
    "vllm.num_graphs_seen",
    "vllm.num_backend_compilations",
    INDUCTOR_COMPILES,
    AOT_COMPILES,
    "vllm.stock_torch_compile_count",
)

_COMPILER = frozenset(("system", "torch", "inductor config", "functorch config"))


@dataclass(frozen=True)
class EngineLookups:
    """What a warm start looked up and did not find, as far as the counters show."""

    nothing_saved: bool
    """The engine compiled in the cold start and saved nothing, so that there is nothing to find under any key."""
    function_missed: bool
    """A function was compiled although no file had failed to load: there was none under its key."""
    function_refused: bool
    """A function was there and could not be loaded."""
    refused_by_source: bool
    """A function was refused because one of the sources that it was traced from has changed."""
    function_found: bool
    """Every function was there under its key, loaded or refused, so that the components of this key are unchanged."""
    artifacts_missed: bool
    """Artifacts in a separate folder were not there under its key."""
    bundled: bool
    """Artifacts are in the function."""
    compiled: bool
    """The engine passed something to the compiler, and not only what it had in memory."""

    @classmethod
    def of(cls, cold: EngineFacts, warm: EngineFacts, failures: Sequence[LoadFailure]) -> EngineLookups:
        """Derive the lookups from the counters of both starts and the load failures that the engine logged."""
        saved, loaded = _count(cold, AOT_SAVED), _count(warm, AOT_LOADED)
        compiled = _count(warm, AOT_COMPILES)
        missed = max(compiled, saved - loaded) > len(failures)
        bundled = warm.aot_artifact == "bundled" and saved + loaded + compiled > 0
        re_saved = _count(warm, SAVED) > 0 or _count(warm, ENTRIES) > 0
        nothing_loaded = _count(warm, LOADED) == 0 and _count(warm, INDUCTOR_COMPILES) > 0
        is_compiled = any(_count(cold, name) for name in _COMPILES) or not cold.counters.keys() & set(_COMPILES)
        return cls(
            nothing_saved=is_compiled and not any(_count(cold, name) for name in (SAVED, AOT_SAVED, ENTRIES)),
            function_missed=missed,
            function_refused=bool(failures),
            refused_by_source=any(failure.by_source for failure in failures),
            function_found=not missed and (loaded > 0 or bool(failures)),
            artifacts_missed=not bundled and (re_saved or nothing_loaded or _count(warm, LOADED) < _count(cold, SAVED)),
            bundled=bundled,
            compiled=re_saved or nothing_loaded or compiled > 0,
        )

    @property
    def missed(self) -> bool:
        """Whether anything that the engine compiles was not loaded."""
        return self.nothing_saved or self.function_missed or self.function_refused or self.artifacts_missed

    def can_explain(self, group: str) -> bool:
        """Return whether a changed component of `group` can be why a lookup missed: one that has it in its key."""
        if self.nothing_saved:
            return False
        if self.function_missed and self._is_of_function(group):
            return True
        if group == "source":
            return self.refused_by_source or self.artifacts_missed
        same = self.function_found and self._is_of_function(group)
        return self.artifacts_missed and group != "model" and not same

    def _is_of_function(self, group: str) -> bool:
        return self.bundled or group not in _COMPILER


def _count(facts: EngineFacts, name: str) -> int:
    """Return a counter; 0 if this version does not have it."""
    return facts.counters.get(name, 0)
