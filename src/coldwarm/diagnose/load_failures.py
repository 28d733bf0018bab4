"""What vLLM logs when it finds a saved function and cannot load it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.record import Message, StartKind
from coldwarm.core.run_folder import log_name

# vllm/compilation/decorators.py, `_try_load_aot_compiled_fn` (0.26 to 0.32).
_MESSAGE = re.compile(r"load failure from (?P<path>.+?), reason: (?P<reason>.*)", re.DOTALL)
_SOURCE_CHANGED = "Source code has changed"


@dataclass(frozen=True)
class LoadFailure:
    """A saved function that was there and could not be loaded."""

    path: str
    reason: str
    """The exception's text, as vLLM logged it."""

    def is_by_source(self) -> bool:
        """Whether vLLM refused it because a traced source file is not what it was."""
        return _SOURCE_CHANGED in self.reason

    def headline(self) -> str:
        """The first line of the reason."""
        return self.reason.splitlines()[0] if self.reason else "(no text)"

    def evidence(self) -> Evidence:
        """Where it stands."""
        return Evidence(
            file=log_name(StartKind.WARM), record=f"Compiling model again due to a load failure: {self.headline()}"
        )


def load_failures(messages: Iterable[Message]) -> list[LoadFailure]:
    """All that `messages` tell, in their order."""
    found = (_MESSAGE.search(message.text) for message in messages)
    return [LoadFailure(each["path"], each["reason"].strip()) for each in found if each]


def load_failure_finding(failure: LoadFailure) -> Finding:
    """Explain a failure that nothing else explains."""
    return Finding(
        kind=FindingKind.LOAD_FAILED,
        start=StartKind.WARM,
        what=f"the saved function was there and failed to load: {failure.headline()}",
        details=[f"the file: {failure.path}", *failure.reason.splitlines()[1:]],
        evidence=[failure.evidence()],
        next="fill the cache anew with every change of the code; which file it was is not recorded"
        if failure.is_by_source()
        else "a defect of the engine or of torch: VLLM_FORCE_AOT_LOAD=1 shows the exception with its traceback; "
        "report that",
    )
