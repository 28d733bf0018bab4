"""A user's command that is started cold and warm, and when its start is ready."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from pydantic import Field, field_serializer

from coldwarm.core.deferred_model import DeferredModel
from coldwarm.core.secrets import Secrets, masked_argv


class Command(DeferredModel):
    """A command, and the end of its start: a URL that answers, a line of its log, ranks that are warm, or its exit."""

    words: list[str] = Field(min_length=1)
    """The program and its arguments."""
    folder: str = "."
    """Its working directory."""
    ready_url: str | None = None
    """It is ready once this URL answers with status 200."""
    ready_log: str | None = None
    """It is ready once a line of its output matches this regular expression."""
    ready_ranks: bool = False
    """It is ready once the engine has warmed up in each of its ranks."""
    then: list[str] = Field(default_factory=list)
    """A command that is run once it is ready, and must succeed; empty: a request to its OpenAI API, if it has one."""

    @property
    def ends_itself(self) -> bool:
        """Whether the start ends when the command exits, so that there is nothing to stop."""
        return self.ready_url is None and self.ready_log is None and not self.ready_ranks

    @field_serializer("words", "then")
    def _without_secrets(self, words: list[str]) -> list[str]:
        return shown(words)

    @field_serializer("ready_url")
    def _url_without_secrets(self, url: str | None) -> str | None:
        return None if url is None else shown([url])[0]

    def as_arguments(self) -> list[str]:
        """Return the arguments of ``coldwarm run`` for this command, quoted for a shell, without secrets."""
        flags = (("--ready", self._url_without_secrets(self.ready_url)), ("--ready-log", self.ready_log))
        words = [word for flag, value in flags if value is not None for word in (flag, shlex.quote(value))]
        if self.then:
            words += ["--then", shlex.quote(shlex.join(shown(self.then)))]
        return [*words, "--", *map(shlex.quote, shown(self.words))]


def settings_of(words: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the words of a command set, by flag, for `Secrets`: ``--flag VALUE`` and ``--flag=VALUE``."""
    pairs = [(flag, value) for flag, value in pairwise(words) if flag.startswith("-") and "=" not in flag]
    pairs += [(flag, value) for flag, separator, value in (word.partition("=") for word in words) if separator]
    return [{"": list(words)}, *({flag: value} for flag, value in pairs)]


def shown(words: Sequence[str]) -> list[str]:
    """Return the words of a command for storing and printing: without secrets."""
    secrets = Secrets(os.environ, *settings_of(words))
    return [secrets.text(word) for word in masked_argv(words)]
