"""The meaning of an engine's counters, messages, cache keys, files and trace records.

The package of an engine defines ``vocabulary.VOCABULARY``. It imports neither the engine nor torch, so that stored
records can be judged and explained on any machine.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from coldwarm.core.cache_keys import CacheEntry, CacheKeys, ChangedFactor
from coldwarm.core.crash_cause import CrashCause
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.kernels import KernelEvent
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import EngineFacts, Message, StartKind, StartRecord
from coldwarm.core.stats import CompileStats, LayerCounts
from coldwarm.trace.vocabulary import TraceVocabulary


@dataclass(frozen=True)
class CacheFolders:
    """The cache folders of an engine."""

    always: Mapping[str, str]
    """Variables that name a cache folder, each with the folder below a start's own caches that it is set to."""
    where_set: Mapping[str, str]
    """The same for variables that are replaced only if the user has set them."""
    of_more_than_caches: frozenset[str]
    """Of these, the variables whose folders contain more than caches."""
    no_caches: frozenset[str]
    """Variables that only look like those of a cache, and are passed to a start."""
    default: str
    """The folder below ``~/.cache`` that the engine uses by default."""
    sockets: tuple[str, ...]
    """Variables that name the folder for sockets, which is otherwise the temporary folder."""
    rendezvous: tuple[str, ...]
    """Prefixes of the names of files with which the processes of one start find each other; these are not caches."""


@dataclass(frozen=True)
class CommandHints:
    """What a command line says about the server that it starts."""

    name: str
    """A name for it, such as that of its model."""
    ready_url: str | None
    """The URL that answers once it is ready; None: it has no API, and is ready once its ranks have warmed up."""


class Lookups(Protocol):
    """The misses of a warm start in the engine's own caches."""

    @property
    def nothing_saved(self) -> bool:
        """Whether the engine compiled in the cold start and saved nothing."""

    @property
    def missed(self) -> bool:
        """Whether the engine did not load something that it compiles."""

    @property
    def compiled(self) -> bool:
        """Whether the engine passed anything to the compiler, because it was not in memory either."""

    def can_explain(self, group: str) -> bool:
        """Return whether a changed component of `group` is part of the key of a lookup that missed."""


@dataclass(frozen=True)
class Vocabulary:
    """The meaning of the records of starts with one engine."""

    title: str
    """The engine's name in its usual spelling."""
    package: str
    """The name of the engine's Python package."""
    prefix: str
    """The prefix of the engine's environment variables, without the underscore."""
    subgraphs: str
    """The counter of the subgraphs that the engine compiles."""
    saved: str
    """The counter of the artifacts that a start saved."""
    loaded: str
    """The counter of the artifacts that a start loaded."""
    misses: str
    """The counter of what a start passed to the compiler because the compiler's cache did not have it."""
    saved_counters: tuple[str, ...]
    """The counters of everything that a start saves."""
    expected_counters: Mapping[StartKind, tuple[str, ...]]
    """The counters of a new expectation, by start, in order."""
    trace: TraceVocabulary
    caches: CacheFolders
    key_order: tuple[str, ...]
    """Groups of key components that a user can change, the most useful first."""
    function_file: str
    """A pattern that matches the path of a saved function."""
    loading: Mapping[tuple[str, str], str | None]
    """Functions that load from a cache, by the end of the path of their source file and their name. Each value is a
    pattern that matches the path of the loaded file; None if that depends on the caller."""
    compiling: frozenset[tuple[str, str]]
    """Functions that compile, by the end of the path of their source file and their name."""
    key_folder: re.Pattern[str]
    """Matches the folder of all files under one key, at the beginning of a path relative to the caches' folder."""
    load_failure_advice: str
    """Advice if a saved function cannot be loaded."""
    more_logs: str
    """How to make the engine log its cache lookups."""
    install_newest: Mapping[str, tuple[str, ...]]
    """Shell commands that install the newest release and the newest torch that fits it, by device; empty: none are
    known."""
    compilation_paths: tuple[str, ...]
    """Globs of the files in the engine's repository that affect what is compiled, how, and under which key."""

    without: frozenset[InvariantId]
    """The invariants that do not apply to programs of this engine."""
    compile_stats: Callable[[StartRecord], dict[int, CompileStats]]
    """Returns the statistics of each rank of a start, by rank, in order; empty if the start did not finish."""
    counters_of_trace: Callable[[StartRecord], dict[str, int]]
    """Returns the counters of a full cold start, as far as a start of depth ``trace`` shows them."""
    cache_layers: Callable[[StartRecord, int], dict[str, LayerCounts]]
    """Returns the counts of the engine's own cache layers in a finished start, by name, the outermost first. The second
    argument is the number of artifacts that the compiler's cache was asked for, according to the trace."""
    cache_switch: Callable[[Mapping[str, str]], str | None]
    """Returns the assignment in a recorded environment that switches the engine's caches off; None if they are on."""
    load_messages: Callable[[Iterable[Message]], list[Message]]
    """Returns the messages that report that something cached could not be loaded."""
    load_failures: Callable[[Iterable[Message]], list[LoadFailure]]
    """Returns the load failures that these messages report, in the same order."""
    crash_cause: Callable[[StartRecord], CrashCause | None]
    """Returns the cause of a crashed start, if the engine's error states it; None for any other crash, and if it did
    not crash."""
    lookups: Callable[[EngineFacts, EngineFacts, Sequence[LoadFailure]], Lookups]
    """Returns the misses of a warm start, given the facts of the cold and the warm start and the load failures."""
    cache_folder: Callable[[Mapping[str, str]], Path | None]
    """Returns the folder of the engine's compile cache in a user's environment; None: it has none of its own."""
    entries: Callable[[Mapping[str, str]], list[CacheEntry]]
    """Returns the entries of the engine's compile cache in a user's environment."""
    remember: Callable[[CacheEntry, CacheKeys], None]
    """Stores all components of its key with an entry. Raises OSError if the cache cannot be written."""
    describe_key_change: Callable[[ChangedFactor], tuple[str, str]]
    """Returns what changed, and what to try."""
    differs_by_rank: tuple[str, ...]
    """Patterns of the source files whose operations differ from rank to rank by design."""
    compiled_on_request: tuple[str, ...]
    """Patterns of the source files whose functions are compiled for the first request for log-probabilities, as
    coldwarm's is, because the engine's warm-up makes no such request."""
    kernel_advice: Callable[[KernelEvent], str | None]
    """Returns a setting of the engine that avoids compiling a kernel in each start; None if none is known."""
    """Returns a description of the change, and advice."""
    settings_in: Callable[[Mapping[str, str]], dict[str, str]]
    """Returns the variables of a recorded environment that may change how a model is compiled."""
    keyed_in: Callable[[Mapping[str, str]], dict[str, str]]
    """Returns the variables of a recorded environment that may be part of a compile cache's key."""
    keep_plugins: Callable[[Mapping[str, str]], dict[str, str]]
    """Returns the variables to add to an environment so that the engine loads coldwarm's plugins."""
