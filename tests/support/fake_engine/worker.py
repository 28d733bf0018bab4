"""The half for the worker: "compiles" by writing a file into a cache."""

from __future__ import annotations

import _thread
import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from coldwarm.core.cache_keys import CacheKeys
from coldwarm.core.depth import Depth
from coldwarm.core.options import flatten
from coldwarm.core.record import EngineFacts, Message, ProcessReport
from coldwarm.core.request import StartRequest
from coldwarm.engines.base import Worker
from coldwarm.observe.probes import Observer, process_probes
from coldwarm.observe.progress import Progress
from tests.support.fake_engine.release import installed
from tests.support.records import MISSES, SAVED, cold_facts, warm_facts
from tests.support.traces import digested, span_event, trace_text

# Carries the start's token, and leaves the worker's session and process group.
SLEEPER = "import os, time; os.setsid(); open({ready!r}, 'w').write(str(os.getpid())); time.sleep(60)"


def create() -> Worker:
    """Return the engine's half for a worker."""
    return FakeWorker()


class FakeWorker:
    """Does what the config says."""

    compiler_loggers: tuple[str, ...] = ("fake.compiler",)
    shared_folders: tuple[str, ...] = ("shared",)

    def __init__(self) -> None:
        self._keys = CacheKeys()
        self._preloaded: list[str] = []

    def preload(self, depth: Depth) -> None:
        """Fail where the environment says so; else note that it was done, and where the caches were."""
        if "FAKE_LEAKS" in os.environ:
            sys.stdout.write(f"preloading with {dict(os.environ)}\n")
        if problem := os.environ.get("FAKE_PRELOAD_FAILS"):
            raise ImportError(problem)
        if "FAKE_SERVER_EXITS" in os.environ:
            os._exit(1)
        if "FAKE_NATIVE_THREAD" in os.environ:
            _start_native_thread(os.environ["FAKE_NATIVE_THREAD"])
        # Not as a path, which would be moved in a forked process.
        self._preloaded.append(f"from:{os.environ['VLLM_CACHE_ROOT']}")
        # Remembered from now on.
        tempfile.gettempdir()

    def after_fork(self) -> None:
        """Note where the caches are now."""
        self._preloaded += [os.environ["VLLM_CACHE_ROOT"], tempfile.gettempdir()]

    def start(self, request: StartRequest, progress: Progress, observer: Observer) -> EngineFacts:
        """Behave."""
        facts = self._start(request, progress, observer)
        observer.install(FakeProbe(facts.processes[0]))
        return facts

    def _start(self, request: StartRequest, progress: Progress, observer: Observer) -> EngineFacts:
        observer.install(KeyProbe(self._keys))
        for name, value in flatten(request.options).items():
            self._keys.add("options", name, value)
        for name in sorted(os.environ):
            if name.startswith("VLLM_FAKE_"):
                self._keys.add("environment", name, os.environ[name])
        sys.stdout.write(f"preloaded: {' '.join(self._preloaded)}\n")
        behaves = json.loads((request.model_folder / "config.json").read_bytes()).get("behaves", "healthy")
        progress.enter("import")
        logging.getLogger("fake.compiler.cache").warning("cannot load %s", "it")
        logging.getLogger("fake.other").warning("not watched")
        progress.enter("compile")
        if "FAKE_LEAKS" in os.environ:
            self._leak(request, raises=behaves == "raises")
        match behaves:
            case "raises":
                with progress.within("weights"):
                    raise ValueError("no such weights\nsecond line")
            case "is unsupported":
                raise_ = "raise NotImplementedError('Sparse Attention is not supported on CPU.')"
                exec(compile(raise_, "/packages/vllm/platforms/cpu.py", "exec"))
            case "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hangs":
                ready = Path(os.environ["FAKE_SLEEPER"])
                subprocess.Popen([sys.executable, "-S", "-c", SLEEPER.format(ready=str(ready))])
                time.sleep(60)
            case "leaves a fork behind":
                if os.fork() == 0:
                    try:
                        os.setsid()
                        Path(os.environ["FAKE_SLEEPER"]).write_text(str(os.getpid()))
                        time.sleep(60)
                    finally:
                        os._exit(0)
                while not Path(os.environ["FAKE_SLEEPER"]).exists():
                    time.sleep(0.01)
            case "has two ranks":
                self._run_second_rank(request)
            case "has ranks with different keys":
                self._run_second_rank(request, VLLM_OF_RANK="1")
            case "has broken probes":
                observer.install(BrokenProbe(installs=False), BrokenProbe(installs=True))
            case "writes elsewhere":
                Path(os.environ["FAKE_FILE"]).write_text("x")
            case "reads elsewhere":
                Path(os.environ["FAKE_FILE"]).read_text()
            case "has a child write elsewhere":
                write = "import sys; open(sys.argv[1], 'w').write('x')"
                subprocess.run([sys.executable, "-S", "-c", write, os.environ["FAKE_FILE"]], check=True)
            case "prints its variables":
                sys.stdout.writelines(f"{name}={value}\n" for name, value in os.environ.items())
            case "keeps to its parents caches":
                parents = Path(self._preloaded[0].removeprefix("from:")).parent
                file = parents / os.environ["FAKE_FILE"]
                file.parent.mkdir(exist_ok=True)
                file.write_text("x")
        began = time.time()
        time.sleep(0.01)
        artifact = Path(os.environ["VLLM_CACHE_ROOT"], "artifact")
        spans = span_event("dynamo", "B", began), span_event("dynamo", "E", time.time())
        trace = trace_text(({"str": ["a", 1]}, None), *spans)
        with Path(os.environ["TORCH_TRACE"], "trace.log").open("a") as trace_file:
            trace_file.write(trace)
        layout = os.environ.get("VLLM_FAKE_AOT_ARTIFACT")
        if artifact.exists():
            return warm_facts(aot_artifact=layout)
        artifact.write_text("compiled")
        counters = {SAVED: 4} if behaves == "compiles too much" else {}
        if behaves == "misses more each time":
            with Path(os.environ["FAKE_FILE"]).open("a") as earlier:
                earlier.write("x")
                counters = {MISSES: earlier.tell()}
        if behaves == "as released":
            release = installed()
            assert release is not None
            counters = {SAVED: release.start(Path(os.environ["TORCH_TRACE"]))}
        return cold_facts(counters=counters, aot_artifact=layout)

    def _run_second_rank(self, request: StartRequest, **of_key: str) -> None:
        """Have a new process do as rank 1 what this one does as rank 0, with variables `of_key` in its cache keys."""
        child = os.fork()
        if child == 0:
            try:
                for name, value in of_key.items():
                    self._keys.add("environment", name, value)
                observer = Observer(request.reports)
                observer.install(*process_probes(request, self.compiler_loggers))
                observer.install(KeyProbe(self._keys), FakeProbe(warm_facts().processes[0], rank=1))
                logging.getLogger("fake.compiler").warning("of rank 1")
                observer.write()
            finally:
                os._exit(0)
        os.waitpid(child, 0)

    def _leak(self, request: StartRequest, *, raises: bool) -> None:
        """Write all variables and options wherever an engine may; as they are, to the file that FAKE_LEAKS names."""
        known = {"environment": dict(os.environ), "options": request.options}
        seen = Path(os.environ["FAKE_LEAKS"])
        seen.write_text(json.dumps([*json.loads(seen.read_text() if seen.exists() else "[]"), known]))
        sys.stdout.write(f"config: {known}\nas JSON: {json.dumps(known)}\n")
        for value in [*os.environ.values(), *flatten(request.options).values()]:
            sys.stdout.write(f"one value: {value}\n")
        logging.getLogger("fake.compiler.cache").warning("cannot load it with %s", known)
        for name, value in os.environ.items():
            if not name.startswith("VLLM_FAKE_"):
                self._keys.add("environment", name, value)
        self._keys.add("config.model", "options", repr(request.options))
        self._keys.hints["config.model"] = {"environment": str(known)}
        self._keys.problems.append(f"cannot hash {known}")
        records = digested({"artifact": {"name": "vllm_compilation_config", "encoding": "json"}}, json.dumps(known))
        dumped = digested({"graph_dump": {"name": "vllm_submod_0"}}, "\n".join(map(str, known["environment"].values())))
        text = trace_text(({"str": [str(known), 1]}, None), records, dumped)
        Path(os.environ["TORCH_TRACE"], "trace.log").write_text(text)
        if raises:
            raise ValueError(f"no such weights with {known}")


class KeyProbe:
    """Reports all options, and the variables that begin with ``VLLM_FAKE_``."""

    name = "fake keys"

    def __init__(self, keys: CacheKeys) -> None:
        self._keys = keys

    def install(self) -> None: ...

    def report(self, report: ProcessReport) -> None:
        report.cache_keys = self._keys


class FakeProbe:
    """Reports what is the same in each healthy start, with that of one rank."""

    name = "fake counters"

    def __init__(self, seen: ProcessReport, rank: int = 0) -> None:
        self._seen, self._rank = seen, rank

    def install(self) -> None: ...

    def report(self, report: ProcessReport) -> None:
        report.rank = self._rank
        report.counters, report.layer_kinds = self._seen.counters, self._seen.layer_kinds


class BrokenProbe:
    """Fails at its installation, or later."""

    def __init__(self, *, installs: bool) -> None:
        self.name = "breaks later" if installs else "breaks at once"

    def install(self) -> None:
        if self.name == "breaks at once":
            raise OSError("no hook")

    def report(self, report: ProcessReport) -> None:
        report.messages.append(Message(logger="broken", level="WARNING", text="taken before it broke"))
        raise ValueError("no such thing")


def _start_native_thread(name: str) -> None:
    """Start a thread that `threading` does not know; one named ``pool`` ends itself before a fork, like OpenBLAS's."""
    named, stop = threading.Event(), threading.Event()

    def run() -> None:
        pr_set_name = 15
        ctypes.CDLL(None).prctl(pr_set_name, name.encode(), 0, 0, 0)
        named.set()
        stop.wait()

    _thread.start_new_thread(run, ())
    named.wait()
    if name == "pool":
        os.register_at_fork(before=stop.set)
