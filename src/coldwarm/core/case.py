"""One model on one engine and device, with its options."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field, field_serializer

from coldwarm.core.depth import Depth
from coldwarm.core.engine import DEFAULT_ENGINE
from coldwarm.core.isolation import IsolationKind
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.options import flatten
from coldwarm.core.secrets import Secrets, to_set_again


class Changes(BaseModel):
    """What a warm start has otherwise than its cold start."""

    environment: dict[str, str] = Field(default_factory=dict)
    options: dict[str, Any] = Field(default_factory=dict)
    """Of the engine."""

    @field_serializer("environment")
    def _without_secrets(self, environment: dict[str, str]) -> dict[str, str]:
        return Secrets(environment).environment(environment)

    @field_serializer("options")
    def _options_without_secrets(self, options: dict[str, Any]) -> dict[str, Any]:
        return Secrets(options).options(options)


class Case(BaseModel):
    """What is started, whole: enough to start it again and to judge its records later."""

    entry: ModelEntry
    argument: str
    """What names the model on a command line: its id, or a path."""
    named_by_id: bool | None = None
    """Whether `argument` is an id of a catalog; None: not recorded, and `argument` is the id of a packaged model, or a
    path, also if the model of a user's catalog was named by its id."""
    catalog: str | None = None
    """The user's folder whose model `argument` is the id of; None: it is a packaged model's, or a path."""
    engine: str
    device: str
    compilation: str
    config: dict[str, Any]
    """The config.json that is started: the published one with the deviations for the device."""
    overrides: dict[str, Any]
    """Values that the engine puts over it, to shrink the model."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The user's options of the engine, over those that coldwarm sets."""
    aot_artifact: str | None = None
    """``bundled`` or ``separate``; None: as the engine has it by default, or by the user's environment."""
    depth: Depth = Depth.FULL
    warm_changes: Changes = Field(default_factory=Changes)

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
        """What tells the case from others of its suite; names its folder."""
        return self.model_id if self.aot_artifact is None else f"{self.model_id}+{self.aot_artifact}"

    def secrets(self, *changes: Changes) -> Secrets:
        """The values of the secrets that a start of this case may print.

        Args:
            changes: Settings of a start that differ from those of the case.
        """
        settings: list[Mapping[str, Any]] = [os.environ, self.options]
        for each in (self.warm_changes, *changes):
            settings += [each.environment, each.options]
        return Secrets(*settings)

    def reproduce(self, environment: Mapping[str, str], isolation: IsolationKind = IsolationKind.FORK) -> str:
        """The shell command that runs this case alone, with the user's variables that change compilation, in processes
        that are made alike.

        Secrets are left out, whether variables or options: they are not recorded, and have to be set again by hand.
        """
        secrets = self.secrets()
        variables = to_set_again(secrets.environment(environment))
        words = [f"{name}={shlex.quote(value)}" for name, value in variables.items()]
        words += ["coldwarm", "run", shlex.quote(self.argument)]
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
        words += _as_words("--set", flatten(secrets.options(self.options)))
        words += _as_words("--warm-set", flatten(secrets.options(self.warm_changes.options)))
        words += _as_words("--warm-env", secrets.environment(self.warm_changes.environment))
        return " ".join(words)


def _as_words(flag: str, values: Mapping[str, str]) -> list[str]:
    return [word for name, value in to_set_again(values).items() for word in (flag, shlex.quote(f"{name}={value}"))]
