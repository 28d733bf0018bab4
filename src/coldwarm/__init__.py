"""coldwarm: starts a model cold, then warm, and proves what was compiled, shared, saved and loaded.

Importing this package imports neither torch nor an engine; `expect` reads the counters of those that the
process itself has imported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coldwarm.engines.counters import expect

    __version__: str

__all__ = ["__version__", "expect"]


def __getattr__(name: str) -> Any:
    if name == "expect":
        from coldwarm.engines.counters import expect

        return expect
    if name == "__version__":
        # Here, because it takes a fifth of the time of `coldwarm --help`, which does not ask for it.
        from importlib.metadata import version

        return version("coldwarm")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
