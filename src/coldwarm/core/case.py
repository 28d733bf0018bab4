"""A model on an engine and a device, with its options."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, field_serializer

from coldwarm.core.command import Command, settings_of
from coldwarm.core.depth import Depth
from coldwarm.core.engine import DEFAULT_ENGINE
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.options import flatten
from coldwarm.core.secrets import Secrets, unmasked


class Changes(BaseModel):
    """Settings of a warm start that differ from those of its cold start."""

    environment: dict[str, str] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    """Options of the engine."""

    @field_serializer("environment")
    def _without_secrets(self, environment: dict[str, str]) -> dict[str, str]:
        return Secrets(environment).environment(environment)

    @field_serializer("options")
    def _options_without_secrets(self, options: dict[str, Any]) -> dict[str, Any]:
        return Secrets(options).options(options)


class Case(BaseModel):
    """All settings of a run: enough to repeat it, and to judge its records later."""

    entry: ModelEntry
    argument: str
    """The model as named on the command line: an id or a path."""
    named_by_id: bool | None = None
    """Whether `argument` is an id in a catalog. None: not recorded; `argument` is then the id of a packaged model or a
    path, even if a model of the user's catalog was named by its id."""
    catalog: str | None = None
    """The user's catalog folder if `argument` is the id of a model in it; None: a packaged model, or a path."""
    engine: str
    device: str
    compilation: str
    config: dict[str, Any]
    """The published config.json with the deviations for the device, and with the shrinks that edit it."""
    overrides: dict[str, Any]
    """Values with which the engine overrides the config, to shrink the model."""
    drafter: dict[str, Any] | None = None
    """The config of the drafter, with its deviations and shrunk; None: no separate drafter."""
    files: dict[str, str] = Field(default_factory=dict)
    """The contents of other files in the folder of the config, by file name."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The user's options of the engine, which override those that coldwarm and the entry set."""
    aot_artifact: str | None = None
    """``bundled`` or ``separate``; None: the default of the engine, or of the user's environment."""
    depth: Depth = Depth.FULL
    repeat: int = Field(default=1, ge=1)
    """How many times the cold and the warm start are made, each time with caches of their own."""
    warm_changes: Changes = Field(default_factory=Changes)
    command: Command | None = None
    """The user's command that is started; None: coldwarm's worker starts the model."""

    @field_serializer("options")
    def _options_without_secrets(self, options: dict[str, Any]) -> dict[str, Any]:
        return self.secrets().options(options)

    @field_serializer("warm_changes")
    def _changes_without_secrets(self, changes: Changes) -> dict[str, Any]:
        content: dict[str, Any] = self.secrets().tree(changes.model_dump())
        return content

    @property
    def model_id(self) -> str:
        """The id of the model in the catalog."""
        return self.entry.id

    @property
    def name(self) -> str:
        """The name of the case, unique in its suite; also the name of its folder."""
        return self.model_id if self.aot_artifact is None else f"{self.model_id}+{self.aot_artifact}"

    def secrets(self, *changes: Changes) -> Secrets:
        """Return the values of secrets that a start of this case may print.

        Args:
            changes: Settings of a start that differ from those of the case.
        """
        settings: list[Mapping[str, Any]] = [os.environ, self.options]
        if self.command is not None:
            settings += [*settings_of(self.command.words), *settings_of(self.command.then)]
            settings.append({"": self.command.ready_url or ""})
        for each in (self.warm_changes, *changes):
            settings += [each.environment, each.options]
        return Secrets(*settings)

    def reproduce(self, environment: Mapping[str, str], isolation: IsolationKind = IsolationKind.FORK) -> str:
        """Return the shell command that repeats this case, with the user's variables and the same start method.

        Secrets in variables and options are left out: they are not recorded, and must be set manually.
        """
        secrets = self.secrets()
        variables = unmasked(secrets.environment(environment))
        words = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
        words += ["coldwarm", "run"]
        if self.command is not None:
            words += ["--compilation", self.compilation] if self.compilation != "shipped" else []
            words += self._repeated()
            words += _as_arguments("--warm-env", secrets.environment(self.warm_changes.environment))
            return " ".join([*words, *self.command.as_arguments()])
        words.append(shlex.quote(self.argument))
        if self.catalog is not None:
            words += ["--catalog", shlex.quote(self.catalog)]
        if self.engine != DEFAULT_ENGINE:
            words += ["--engine", shlex.quote(self.engine)]
        words += ["--device", self.device]
        if self.compilation != "piecewise":
            words += ["--compilation", self.compilation]
        if self.aot_artifact is not None:
            words += ["--aot-artifact", self.aot_artifact]
        if self.depth is not Depth.FULL:
            words += ["--depth", self.depth]
        if isolation is not IsolationKind.FORK:
            words += ["--isolation", isolation]
        words += self._repeated()
        words += _as_arguments("--set", flatten(secrets.options(self.options)))
        words += _as_arguments("--warm-set", flatten(secrets.options(self.warm_changes.options)))
        words += _as_arguments("--warm-env", secrets.environment(self.warm_changes.environment))
        return " ".join(words)

    def _repeated(self) -> list[str]:
        return ["--repeat", str(self.repeat)] if self.repeat > 1 else []


def _as_arguments(flag: str, values: Mapping[str, str]) -> list[str]:
    return [word for name, value in unmasked(values).items() for word in (flag, shlex.quote(f"{name}={value}"))]
