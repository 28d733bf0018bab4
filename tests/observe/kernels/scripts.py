"""Runs scripts in processes of their own, observed by the probes of kernel compilers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from coldwarm.core.kernels import KernelEvent, KernelEvents
from coldwarm.core.record import ProcessReport

_BEGINNING = """
import os, sys
from pathlib import Path
from coldwarm.observe.kernels.all import kernel_probes
from coldwarm.observe.probes import Observer

observer = Observer(Path(sys.argv[1]))
observer.install(*kernel_probes(lambda: "weights"))
sys.path.insert(0, sys.argv[1])

def in_fork(name, act, *args):
    child = os.fork()
    if child == 0:
        try:
            act(*args)
            Path(sys.argv[1], f"{name}.json").write_text(observer.report().model_dump_json())
        finally:
            sys.stdout.flush(); sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)
"""


def reports(script: str, folder: Path, **environment: str) -> dict[str, ProcessReport]:
    """Run a script that calls ``in_fork(NAME, FUNCTION, *ARGUMENTS)``; return the report of each fork by its name."""
    file = folder / "script.py"
    file.write_text(_BEGINNING + script)
    result = subprocess.run(
        [sys.executable, str(file), str(folder)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    found = {path.stem: ProcessReport.model_validate(json.loads(path.read_bytes())) for path in folder.glob("*.json")}
    assert all(report.failed_probes == {} for report in found.values()), result.stderr
    return found


def kernels(report: ProcessReport) -> KernelEvents:
    """What kernel compilers did in the process."""
    assert report.kernels is not None
    return report.kernels


def only_event(report: ProcessReport) -> KernelEvent:
    """The only event of the process."""
    [event] = kernels(report).events
    return event
