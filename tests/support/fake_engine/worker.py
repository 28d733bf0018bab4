"""The half for the worker: "compiles" by writing a file into a cache."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from coldwarm.engines.engine import Worker
from coldwarm.starts.progress import Progress
from coldwarm.starts.record import EngineFacts
from coldwarm.starts.request import StartRequest
from tests.support.records import SAVED, cold_facts, warm_facts

# Carries the start's token, and leaves the worker's session and process group.
SLEEPER = "import os, time; os.setsid(); open({ready!r}, 'w').write(str(os.getpid())); time.sleep(60)"


def create() -> Worker:
    """Return the engine's half for a worker."""
    return FakeWorker()


class FakeWorker:
    """Does what the config says."""

    compiler_loggers: tuple[str, ...] = ("fake.compiler",)

    def start(self, request: StartRequest, progress: Progress) -> EngineFacts:
        """Behave."""
        behaves = json.loads((request.model_folder / "config.json").read_bytes()).get("behaves", "healthy")
        progress.enter("import")
        logging.getLogger("fake.compiler.cache").warning("cannot load %s", "it")
        logging.getLogger("fake.other").warning("not watched")
        progress.enter("compile")
        match behaves:
            case "raises":
                raise ValueError("no such weights\nsecond line")
            case "is killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "hangs":
                ready = Path(os.environ["FAKE_SLEEPER"])
                subprocess.Popen([sys.executable, "-S", "-c", SLEEPER.format(ready=str(ready))])
                time.sleep(60)
        artifact = Path(os.environ["VLLM_CACHE_ROOT"], "artifact")
        Path(os.environ["TORCH_TRACE"], "trace.log").write_text('V0101 00:00:00.000 1 a.py:1] {"str": ["a", 1]}\n')
        if artifact.exists():
            return warm_facts()
        artifact.write_text("compiled")
        return cold_facts(counters={SAVED: 4} if behaves == "compiles too much" else None)
