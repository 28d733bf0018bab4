"""The base class of the probes of kernel compilers."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any, ClassVar

from coldwarm.core.kernels import Compiler, CompilerStatus, KernelEvents
from coldwarm.core.record import ProcessReport
from coldwarm.observe.after_import import after_import
from coldwarm.observe.kernels.recorder import Recorder

Observation = Generator[None, Any, None]
"""Observes one call of a wrapped function: it yields once, where the function runs, and gets what that returned. It is
closed if the function raised. One that ends without yielding has nothing to observe."""


class CompilerProbe(ABC):
    """Observes the compilers of one library from its import on.

    No method that the library calls raises: the first error is raised by `report`.
    """

    name: str
    compilers: ClassVar[tuple[Compiler, ...]]
    module: ClassVar[str]
    """The module after whose import all hooks can be added."""
    distribution: ClassVar[str]
    """The name under which the library is installed."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.setup_seconds: float | None = None
        """See `CompilerStatus`, of the first of the compilers."""
        self._began = False
        self._imported = False
        self._missing: dict[Compiler, list[str]] = {compiler: [] for compiler in self.compilers}
        self._error: Exception | None = None

    @abstractmethod
    def hook(self, module: ModuleType) -> None:
        """Add the hooks, now that `module` is imported."""

    def install(self) -> None:
        """Wait for the library's import; if it is imported already, add the hooks."""
        if not self._began:
            self._began = True
            after_import([self.module], self._hook)

    def _hook(self, module: ModuleType) -> None:
        self._imported = True
        self.safely(self.hook, module)

    def report(self, report: ProcessReport) -> None:
        """Report the state of each compiler.

        Raises:
            Exception: What a hook raised, the first of these.
        """
        if report.kernels is None:
            report.kernels = KernelEvents()
        for compiler in self.compilers:
            report.kernels.compilers.append(
                CompilerStatus(
                    compiler=compiler,
                    version=self._version() if self._imported else None,
                    missing=self._missing[compiler],
                    setup_seconds=self.setup_seconds if compiler is self.compilers[0] else None,
                )
            )
        if self._error is not None:
            raise self._error

    def _version(self) -> str:
        try:
            return version(self.distribution)
        except PackageNotFoundError:
            return "unknown"

    def lacks(self, compiler: Compiler, hook: str) -> None:
        """Record that this version of the library does not have a `hook`."""
        self._missing[compiler].append(hook)

    def wrap(self, compiler: Compiler, owner: Any, name: str, observe: Callable[..., Observation]) -> None:
        """Have `observe` see each call of a function; if this version does not have it, record that.

        Args:
            compiler: The compiler that the function belongs to.
            owner: The module or class that has the function; None: this version does not have the owner.
            name: The function's name.
            observe: Called with the function's arguments.
        """
        inner = getattr(owner, name, None)
        if inner is None:
            self.lacks(compiler, name if owner is None else f"{owner.__name__}.{name}")
            return

        @functools.wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            observation = self._begin(observe, args, kwargs)
            try:
                result = inner(*args, **kwargs)
            except BaseException:
                if observation is not None:
                    self.safely(observation.close)
                raise
            if observation is not None:
                self._end(observation, result)
            return result

        setattr(owner, name, outer)

    def safely(self, function: Callable[..., object], *args: Any, **kwargs: Any) -> None:
        """Call a function, and record what it raises."""
        try:
            function(*args, **kwargs)
        except Exception as error:
            self._error = self._error or error

    def _begin(
        self, observe: Callable[..., Observation], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Observation | None:
        try:
            observation = observe(*args, **kwargs)
            next(observation)
        except StopIteration:
            return None
        except Exception as error:
            self._error = self._error or error
            return None
        return observation

    def _end(self, observation: Observation, result: object) -> None:
        try:
            observation.send(result)
        except StopIteration:
            pass
        except Exception as error:
            self._error = self._error or error
