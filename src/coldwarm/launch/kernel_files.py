"""Determines what compilers without a hook compiled, from the files that a start wrote in its caches."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from coldwarm.core.cache_files import Manifest
from coldwarm.core.kernels import MOST_EVENTS, Compiler, KernelEvent, KernelOutcome, KernelSource
from coldwarm.core.seen_in_process import LongCall
from coldwarm.launch.cache_variables import ALWAYS

_CUDA = ALWAYS["CUDA_CACHE_PATH"]

# The driver stores a module at the end of the call; samples of the call, and the clock of the files, are this exact.
_LATER = 0.2

_PTX_ENTRY = re.compile(rb"\.entry\s+([\w$]+)")
_PTX_TARGET = re.compile(rb"\.target\s+(\w+)")
_LARGEST_MODULE = 64 * 2**20
_MOST_NAMES = 3

# DeepGEMM's csrc/jit/compiler.hpp, `Compiler::build`: a folder for each kernel, named by it and by the digest of its
# source, its flags and the version of the compiler. Its newer library, deep_jit,
# writes TAG.DIGEST.
_DEEP_GEMM = re.compile(r"(?:.*/)?(?:kernel\.)?(?P<name>[^/]+)\.(?P<digest>[0-9a-f]{8,})/kernel\.cubin")


def kernels_by_files(
    root: Path, before: Manifest, after: Manifest, long_calls: Sequence[LongCall] = ()
) -> list[KernelEvent]:
    """Return the kernels that were compiled between two states of the caches, by file; at most `MOST_EVENTS`.

    Args:
        root: The folder of the caches.
        before: The files before the start.
        after: The files after the start, as they still are.
        long_calls: The calls in which the start's processes stayed for long.
    """
    written = (path for path in sorted(after) if before.get(path) != after[path])
    events = list(_kernels(root, written, after))[:MOST_EVENTS]
    by_driver = [event for event in events if event.compiler is Compiler.PTX_JIT]
    return [event for event in events if event not in by_driver] + _within_calls(by_driver, long_calls)


def _within_calls(events: list[KernelEvent], calls: Sequence[LongCall]) -> list[KernelEvent]:
    """Return the `events` of the CUDA driver with the call in which each module was compiled, as far as known.

    The driver stores a module when it has compiled it, so the time of the file is the end. It compiles the modules that
    one call needs one after another.
    """
    found = []
    done = 0.0
    for event in sorted(events, key=lambda event: event.begin or 0.0):
        end = event.begin
        call = next((c for c in calls if end is not None and c.begin <= end <= c.begin + c.seconds + _LATER), None)
        if call is not None and end is not None:
            begin = min(max(call.begin, done), end)
            event = event.model_copy(
                update={
                    "owner": call.operator or call.function,
                    "where": call.where,
                    "begin": begin,
                    "seconds": end - begin,
                }
            )
        done = max(done, end or 0.0)
        found.append(event)
    return found


def _kernels(root: Path, written: Iterator[str], after: Manifest) -> Iterator[KernelEvent]:
    for path in written:
        if found := _DEEP_GEMM.fullmatch(path):
            yield _of_deep_gemm(root / path, found["name"], found["digest"])
        elif path.startswith(f"{_CUDA}/") and not path.endswith("/index"):
            yield _of_driver(root / path, after[path].bytes)


def _of_deep_gemm(binary: Path, name: str, key: str) -> KernelEvent:
    """Return the event of a kernel for which DeepGEMM ran nvcc or NVRTC."""
    source = binary.with_suffix(".cu")
    # DeepGEMM writes the source, compiles it, and moves the folder, which keeps both times.
    begin, end = _modified(source), _modified(binary)
    components = {}
    with suppress(OSError):
        components["source"] = _template_arguments(source.read_text(errors="replace"))
    return KernelEvent(
        compiler=Compiler.DEEP_GEMM,
        kernel=name,
        key=key,
        outcome=KernelOutcome.COMPILED,
        source=KernelSource.FILES,
        begin=begin,
        seconds=None if begin is None or end is None else max(0.0, end - begin),
        components=components,
        cache_folder=str(binary.parent),
    )


def _of_driver(file: Path, size: int) -> KernelEvent:
    """Return the event of a module that the CUDA driver compiled. Its file has the PTX as text, then the machine code.

    The format is not documented; this was read in files of driver 580 (CUDA 13). The only time is that of the file.
    """
    text = b""
    with suppress(OSError), file.open("rb") as opened:
        text = opened.read(_LARGEST_MODULE)
    entries = [found.decode() for found in _PTX_ENTRY.findall(text)]
    names = list(dict.fromkeys(map(qualified_name, entries)))
    components = {"bytes": str(size), "module": file.name}
    if entries:
        components["kernels in the module"] = str(len(entries))
    if target := _PTX_TARGET.search(text):
        components["PTX for"] = target[1].decode()
    return KernelEvent(
        compiler=Compiler.PTX_JIT,
        kernel=", ".join(names[:_MOST_NAMES]) or f"module {file.name}",
        key=file.name,
        outcome=KernelOutcome.COMPILED,
        source=KernelSource.FILES,
        begin=_modified(file),
        components=components,
        cache_folder=str(file.parent),
    )


def qualified_name(symbol: str) -> str:
    """Return the C++ name of a mangled function, without its arguments: ``_ZN6marlin6repackILi4EEEvPKj`` is
    ``marlin::repack``. Other symbols are returned as they are (https://itanium-cxx-abi.github.io/cxx-abi/abi.html)."""
    if not symbol.startswith("_Z"):
        return symbol
    parts, rest = [], symbol[2:].removeprefix("N")
    while digits := re.match(r"\d+", rest):
        end = len(digits[0]) + int(digits[0])
        parts.append(rest[len(digits[0]) : end])
        rest = rest[end:]
    return "::".join(parts) or symbol


def _modified(file: Path) -> float | None:
    try:
        return file.stat().st_mtime
    except OSError:
        return None


def _template_arguments(source: str) -> str:
    """Return what a kernel's source instantiates, without its line breaks; without such a part, the whole source."""
    found = re.search(r"<([^<>;{}]+)>\s*\)", source)
    return " ".join((found[1] if found else source).split())[:400]
