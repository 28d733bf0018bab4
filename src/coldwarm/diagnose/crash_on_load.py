"""Explains a start that crashed inside something that it had loaded from a cache: what it is, and who wrote it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from coldwarm.core.cache_keys import ChangedFactor
from coldwarm.core.finding import Evidence, Finding, FindingKind
from coldwarm.core.options import flatten
from coldwarm.core.record import Failure, Outcome, StartRecord
from coldwarm.core.run_folder import log_name, record_name
from coldwarm.core.stage import Stage
from coldwarm.engines.base import load_vocabulary
from coldwarm.engines.vocabulary import Vocabulary

_MOST_SETTINGS = 12

# Functions of PyTorch (2.11 to 2.14) that load what an earlier start saved, with a pattern of the path that they read;
# None if a function that calls them decides. Those of the engine are in its vocabulary.
_LOADING: dict[tuple[str, str], str | None] = {
    ("torch/compiler/__init__.py", "load_compiled_function"): None,
    ("torch/_dynamo/aot_compile.py", "deserialize"): None,
    ("torch/fx/_graph_pickler.py", "loads"): None,
    ("torch/_inductor/standalone_compile.py", "load"): None,
    ("torch/_inductor/standalone_compile.py", "_load_impl"): None,
    ("torch/_inductor/standalone_compile.py", "deserialize"): None,
    ("torch/_functorch/_aot_autograd/autograd_cache.py", "_lookup"): None,
    ("torch/_functorch/_aot_autograd/aot_autograd_result.py", "load"): None,
    ("torch/_inductor/codecache.py", "load_with_key"): None,
    ("torch/_inductor/codecache.py", "_lookup_graph"): None,
    ("torch/_inductor/codecache.py", "cache_hit_post_compile"): None,
    ("torch/_inductor/output_code.py", "after_deserialization"): None,
    ("torch/_inductor/runtime/autotune_cache.py", "read_best"): r"\.best_config$",
}
# Functions that compile; what they load in turn, they have just written.
_COMPILING = frozenset(
    (
        ("torch/_inductor/compile_fx.py", "codegen_and_compile"),
        ("torch/_inductor/compile_fx.py", "fx_codegen_and_compile"),
        ("torch/_inductor/graph.py", "compile_to_module"),
        ("torch/_inductor/graph.py", "codegen"),
    )
)

# A frame, as Python's tracebacks and `faulthandler` write it.
_FRAME = re.compile(r'File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?:,? in (?P<function>[^\s]+))?')
_SECTION = re.compile(r"^(?:Traceback|Current thread|Thread|Fatal Python error).*$", re.MULTILINE)
_NEWEST_FIRST = "most recent call first"
_PATH = re.compile(r"/[^\s\"':,]+")


@dataclass(frozen=True)
class _Frame:
    file: str
    line: str
    function: str

    def among(self, functions: Iterable[tuple[str, str]]) -> tuple[str, str] | None:
        """Return which of `functions`, each the end of a file's path and a name, the frame is in."""
        return next((each for each in functions if each[1] == self.function and _ends(self.file, each[0])), None)


@dataclass(frozen=True)
class _Crash:
    """A failure of a start inside something that it had loaded."""

    frame: _Frame | None
    """None: only the phase of the start shows it."""
    pattern: str | None = None
    """A pattern of the path that it reads."""
    is_run: bool = False
    """Whether it failed while it ran the loaded code."""


@dataclass(frozen=True)
class _Artifact:
    """What was loaded."""

    name: str
    path: str | None = None
    """Below the caches' folder."""
    folder: str | None = None


def crash_on_load_findings(
    start: StartRecord, writer: StartRecord | None, changed: list[ChangedFactor]
) -> list[Finding]:
    """Explain in one finding that `start` failed inside something that it had loaded from a cache; empty if it did not.

    Args:
        start: A start, finished or not.
        writer: The start that filled its caches; None: unknown.
        changed: The components of their cache keys that differ.
    """
    failure, engine = start.failure, load_vocabulary(start.engine)
    known = _known(start, writer)
    if failure is None or (crash := _crash(failure, known, engine)) is None:
        return []
    artifact, frame = _artifact(failure, crash, start, known), crash.frame
    what = f"loading {artifact.name} from its cache"
    if crash.is_run:
        what = f"in {artifact.name}, which it had loaded from its cache"
    ended = "was still" if start.outcome is Outcome.TIMED_OUT else "crashed"
    where = f"{frame.file}:{frame.line}" if frame else None
    return [
        Finding(
            kind=FindingKind.LOAD_FAILED,
            start=start.kind,
            what=f"the {start.kind} start {ended} {what}: {failure.what}",
            where=where,
            details=[
                *(f"the file {change.describe()}" for change in start.caches_changed if change.path == artifact.path),
                _written_by(artifact.path, start, writer),
                *_settings(start, writer, changed),
                *_rest_of_exception(failure),
            ],
            evidence=[
                Evidence(
                    file=record_name(start.kind),
                    record=f"failure.traceback: {frame.function} ({where})"
                    if frame
                    else f"failure.phase: {failure.phase}",
                ),
                Evidence(file=log_name(start.kind), record=failure.what),
            ],
            next=f"delete {artifact.folder or 'the cache'} and start cold again; until then, every start with this "
            "cache may fail in the same way",
        )
    ]


def _crash(failure: Failure, known: list[str], engine: Vocabulary) -> _Crash | None:
    """Return where a start failed inside something that it had loaded; None if it failed elsewhere."""
    loading, compiling = {**_LOADING, **engine.loading}, _COMPILING | engine.compiling
    for frames in _sections(_text(failure)):
        for number, frame in enumerate(frames):
            if frame.among(loading) is not None:
                # PyTorch does not know which of the engine's files it reads; its caller does.
                callers = (each.among(loading) for each in frames[number:])
                patterns = (loading[function] for function in callers if function is not None)
                return _Crash(frame, next((pattern for pattern in patterns if pattern is not None), None))
            if frame.among(compiling) is not None:
                break
            if _below_caches(frame.file, known) is not None:
                return _Crash(frame, is_run=True)
    return _Crash(None, engine.function_file) if failure.traceback is None and failure.phase == Stage.LOAD else None


def _text(failure: Failure) -> str:
    """Return the text that may contain a traceback: for a process that was killed, the end of its log."""
    return failure.traceback or "\n".join(failure.log_tail)


def _sections(text: str) -> list[list[_Frame]]:
    """Return the frames of each traceback in `text`, innermost first."""
    starts = [match.start() for match in _SECTION.finditer(text)] or [0]
    sections = []
    for begin, end in zip(starts, [*starts[1:], len(text)], strict=True):
        section = text[begin:end]
        frames = [_Frame(each["file"], each["line"], each["function"] or "") for each in _FRAME.finditer(section)]
        sections.append(frames if _NEWEST_FIRST in section.split("\n", 1)[0] else frames[::-1])
    return sections


def _known(start: StartRecord, writer: StartRecord | None) -> list[str]:
    """Return the recorded files that were in the caches when `start` began and that it did not write itself."""
    changed = [change.path for change in start.caches_changed if change.how != "missing"]
    own = set(start.files_written) - set(changed)
    before = writer.files_written if writer is not None else []
    return [path for path in dict.fromkeys([*changed, *before]) if path not in own]


def _ends(file: str, path: str) -> bool:
    return f"/{file}".endswith(f"/{path}")


def _below_caches(file: str, known: list[str]) -> str | None:
    """Return the path below the caches of `file` if it is one of the `known` files."""
    return next((path for path in known if _ends(file, path)), None)


def _artifact(failure: Failure, crash: _Crash, start: StartRecord, known: list[str]) -> _Artifact:
    """Return what was loaded: a file named in the traceback, else a damaged one, else one that matches the pattern."""
    mentions = [*_PATH.findall(_text(failure)), *([crash.frame.file] if crash.frame else [])]
    named = [path for mention in mentions if (path := _below_caches(mention, known)) is not None]
    damaged = [change.path for change in start.caches_changed if change.how not in ("new", "missing")]
    matching = [
        [path for path in paths if crash.pattern is None or re.search(crash.pattern, f"/{path}")]
        for paths in (damaged, known if crash.pattern is not None else [])
    ]
    found = named[-1:] or matching[0] or matching[1]
    folders = {_folder(path, load_vocabulary(start.engine)) for path in found}
    folder = folders.pop() if len(folders) == 1 else None
    if len(found) == 1:
        return _Artifact(found[0], found[0], folder)
    return _Artifact(
        f"one of {len(found)} files{f' in {folder}' if folder else ''}" if found else "a file", None, folder
    )


def _folder(path: str, engine: Vocabulary) -> str:
    """Return what to delete: everything that the engine cached under one key, else the file's own folder."""
    found = engine.key_folder.match(path)
    return found[0] if found else str(PurePosixPath(path).parent)


def _written_by(path: str | None, start: StartRecord, writer: StartRecord | None) -> str:
    if writer is None or (path is not None and path not in writer.files_written and _is_new(path, start)):
        return "not written by any start of this run"
    facts = writer.facts
    versions = facts.versions if facts is not None else {}
    named = [f"{name} {versions[name]}" for name in (start.engine, "torch", "python") if name in versions]
    hardware = facts.hardware if facts is not None else {}
    device = next(
        (hardware[name] for name in (("gpu",) if writer.device == "cuda" else ("cpu",)) if name in hardware), None
    )
    return (
        f"written by the {writer.kind} start of {writer.began:%Y-%m-%d %H:%M:%S %Z}"
        + (f" with {', '.join(named)}" if named else "")
        + f" on {writer.device}"
        + (f" ({device})" if device else "")
    )


def _is_new(path: str, start: StartRecord) -> bool:
    return any(change.path == path and change.how == "new" for change in start.caches_changed)


def _settings(start: StartRecord, writer: StartRecord | None, changed: list[ChangedFactor]) -> list[str]:
    """Describe which settings differ between the start that wrote and the one that read."""
    if writer is None:
        return []
    found = _differences(writer.environment, start.environment)
    found.update(_differences(flatten(writer.options), flatten(start.options)))
    for factor in changed:
        if factor.group not in ("source", "model"):
            name = (
                factor.name
                if factor.group == "environment"
                else f"{factor.group}.{factor.name}".removeprefix("config.")
            )
            found.setdefault(name, (factor.cold, factor.warm))
    if not found:
        return ["read with the same settings as when it was written"]
    lines = [
        f"read with a different setting: {name} was {_or_unset(before)}, is {_or_unset(after)}"
        for name, (before, after) in list(found.items())[:_MOST_SETTINGS]
    ]
    more = len(found) - _MOST_SETTINGS
    return [*lines, f"and {more} more settings differ"] if more > 0 else lines


def _differences(before: dict[str, str], after: dict[str, str]) -> dict[str, tuple[str | None, str | None]]:
    return {
        name: (before.get(name), after.get(name))
        for name in sorted(before.keys() | after.keys())
        if before.get(name) != after.get(name)
    }


def _or_unset(value: str | None) -> str:
    return "unset" if value is None else value or "(empty)"


def _rest_of_exception(failure: Failure) -> list[str]:
    """Return the lines of the exception's message after its first."""
    _, found, rest = (failure.traceback or "").rpartition(failure.what)
    return [line.strip() for line in rest.splitlines() if line.strip()][:3] if found else []
