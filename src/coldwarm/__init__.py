"""coldwarm: starts a model cold, then warm, and verifies what was compiled, saved and loaded.

This is the public Python API. Importing the package imports neither torch nor an engine; each name is imported when it
is first used. `expect` reads the counters of the engine and compiler that the process itself has imported.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coldwarm.api import judge as judge
    from coldwarm.api import run as run
    from coldwarm.checks.verdict import Status as Status
    from coldwarm.checks.verdict import Verdict as Verdict
    from coldwarm.core.checks import Check as Check
    from coldwarm.core.errors import CatalogError as CatalogError
    from coldwarm.core.errors import ColdwarmError as ColdwarmError
    from coldwarm.core.errors import UsageError as UsageError
    from coldwarm.core.exit_codes import ExitCode as ExitCode
    from coldwarm.core.finding import Finding as Finding
    from coldwarm.core.finding import FindingKind as FindingKind
    from coldwarm.core.record import Outcome as Outcome
    from coldwarm.core.record import StartRecord as StartRecord
    from coldwarm.diagnose.explanation import Explanation as Explanation
    from coldwarm.engines.counters import expect as expect
    from coldwarm.suite.observer import ProgressObserver as ProgressObserver
    from coldwarm.suite.result import RunResult as RunResult
    from coldwarm.suite.result import SuiteResult as SuiteResult
    from coldwarm.suite.result import UnhealthyRunsError as UnhealthyRunsError

    __version__: str

_MODULES = {
    "CatalogError": "coldwarm.core.errors",
    "Check": "coldwarm.core.checks",
    "ColdwarmError": "coldwarm.core.errors",
    "ExitCode": "coldwarm.core.exit_codes",
    "Explanation": "coldwarm.diagnose.explanation",
    "Finding": "coldwarm.core.finding",
    "FindingKind": "coldwarm.core.finding",
    "Outcome": "coldwarm.core.record",
    "RunResult": "coldwarm.suite.result",
    "StartRecord": "coldwarm.core.record",
    "Status": "coldwarm.checks.verdict",
    "SuiteResult": "coldwarm.suite.result",
    "UnhealthyRunsError": "coldwarm.suite.result",
    "UsageError": "coldwarm.core.errors",
    "Verdict": "coldwarm.checks.verdict",
    "ProgressObserver": "coldwarm.suite.observer",
    "expect": "coldwarm.engines.counters",
    "judge": "coldwarm.api",
    "run": "coldwarm.api",
}

__all__ = ["__version__", *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    if name == "__version__":
        # Not at import: it takes a fifth of the time of `coldwarm --help`, which does not need it.
        from importlib.metadata import version

        return version("coldwarm")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
