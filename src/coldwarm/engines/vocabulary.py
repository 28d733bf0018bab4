"""What an engine's counters, messages, cache keys, files and trace records mean.

An engine's package has one as ``vocabulary.VOCABULARY``. It needs neither the engine nor torch, so that stored records
can be judged and explained anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.kernels import KernelEvent
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import EngineFacts, Message, StartRecord
from coldwarm.core.stats import CompileStats, LayerCounts
from coldwarm.trace.vocabulary import TraceVocabulary


@dataclass(frozen=True)
class CacheFolders:
    """Where an engine keeps caches."""

    always: Mapping[str, str]
    """Variables that name a cache folder, and the folder below a start's own caches that each is set to."""
    where_set: Mapping[str, str]
    """The same for variables that are replaced only if the user has set them."""
    of_more_than_caches: frozenset[str]
    """Of these, variables of folders that hold more than caches."""
    no_caches: frozenset[str]
    """Variables whose names look like that of a cache, and that a start may see."""
    default: str
    """The folder below ``~/.cache`` that the engine uses by default."""
    rendezvous: tuple[str, ...]
    """How the names of files begin by which processes of one start find each other; these are no caches."""


class Lookups(Protocol):
    """What a warm start looked for in the engine's own caches and did not find."""

    @property
    def nothing_saved(self) -> bool:
        """Whether the engine compiled in the cold start and saved nothing."""

    @property
    def missed(self) -> bool:
        """Whether anything that the engine compiles was not loaded."""

    @property
    def compiled(self) -> bool:
        """Whether the engine passed anything to the compiler that it did not have in memory."""

    def can_explain(self, group: str) -> bool:
        """Return whether a changed component of `group` is part of the key of a lookup that missed."""


@dataclass(frozen=True)
class Vocabulary:
    """What the records of starts with one engine mean."""

    title: str
    """The engine's name as its authors write it."""
    prefix: str
    """How the names of the engine's environment variables begin, without the underscore."""
    subgraphs: str
    """The counter of the subgraphs that the engine compiles."""
    saved: str
    """The counter of the artifacts that a start saved."""
    loaded: str
    """The counter of the artifacts that a start loaded."""
    saved_counters: tuple[str, ...]
    """The counters of everything that a start saves."""
    trace: TraceVocabulary
    caches: CacheFolders
    key_order: tuple[str, ...]
    """Groups of key components that a user can do something about, the most useful first."""
    function_file: str
    """A pattern of the path of a saved function."""
    loading: Mapping[tuple[str, str], str | None]
    """Functions that load from a cache, each by the end of its file's path and its name; and a pattern of the path of
    what it reads, None if its caller decides."""
    compiling: frozenset[tuple[str, str]]
    """Functions that compile, by the end of the file's path and the name."""
    key_folder: re.Pattern[str]
    """Matches the folder of everything under one key, from the start of a path below the caches' folder."""
    load_failure_advice: str
    """What to try if a saved function cannot be loaded."""
    more_logs: str
    """How to have the engine log its cache lookups."""
    compilation_paths: tuple[str, ...]
    """Globs of the files in the engine's repository that decide what is compiled, how, and under which key."""

    compile_stats: Callable[[StartRecord], dict[int, CompileStats]]
    """Returns the statistics of each rank of a start, by rank, in order; empty if the start did not finish."""
    counters_of_trace: Callable[[StartRecord], dict[str, int]]
    """Returns the counters that a start of depth ``trace`` shows, as a whole cold start would have them."""
    cache_layers: Callable[[StartRecord, int], dict[str, LayerCounts]]
    """Returns the counts of the engine's own cache layers in a finished start, by name, the outermost first. The number
    is how many artifacts the compiler's cache was asked for, by the trace."""
    cache_switch: Callable[[Mapping[str, str]], str | None]
    """Returns the assignment in a recorded environment that switches the engine's caches off; None if they are on."""
    load_messages: Callable[[Iterable[Message]], list[Message]]
    """Returns the messages that report that something cached could not be loaded."""
    load_failures: Callable[[Iterable[Message]], list[LoadFailure]]
    """Returns what could not be loaded, by these messages, in their order."""
    lookups: Callable[[EngineFacts, EngineFacts, Sequence[LoadFailure]], Lookups]
    """Returns what a warm start did not find, by the facts of both starts and by what failed to load."""
    describe_key_change: Callable[[ChangedFactor], tuple[str, str]]
    """Returns what changed, and what to try."""
    kernel_advice: Callable[[KernelEvent], str | None]
    """Returns a setting of the engine that avoids compiling a kernel in each start; None if none is known."""
    settings_in: Callable[[Mapping[str, str]], dict[str, str]]
    """Returns the variables of a recorded environment with which a model may be compiled differently."""
    keyed_in: Callable[[Mapping[str, str]], dict[str, str]]
    """Returns the variables of a recorded environment that may be in the key of a compile cache."""
    keep_plugins: Callable[[Mapping[str, str]], dict[str, str]]
    """Returns the variables without which an environment would keep coldwarm's plugins from being loaded."""
