"""Explains a saved function that the engine found and could not load."""

from __future__ import annotations

from coldwarm.core.finding import Finding, FindingKind
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import StartKind
from coldwarm.engines.vocabulary import Vocabulary


def load_failure_finding(failure: LoadFailure, engine: Vocabulary) -> Finding:
    """Explain a failure that nothing else explains."""
    return Finding(
        kind=FindingKind.LOAD_FAILED,
        start=StartKind.WARM,
        what=f"the saved function was found but failed to load: {failure.headline()}",
        details=[f"the file: {failure.path}", *failure.reason.splitlines()[1:]],
        evidence=[failure.evidence()],
        next="refill the cache after every change of the code; which file changed is not recorded"
        if failure.by_source
        else engine.load_failure_advice,
    )
