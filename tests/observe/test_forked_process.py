"""A process that is forked to run another program is not observed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import os, subprocess, sys
from pathlib import Path
from coldwarm.engines.observed import _ObservedProcess
from coldwarm.observe.probes import Observer
from coldwarm.observe.report_writer import ReportWriter

_ObservedProcess({"reports": "."}).begin()
ReportWriter(Observer(Path()), Path()).begin()

def write_threads():
    Path("threads").write_text(str(len(os.listdir("/proc/self/task"))))

done = subprocess.Popen([sys.executable, "-S", "-c", "pass"], preexec_fn=write_threads)
done.wait()
Path("of the next program").write_text(str(done.pid))
if not (child := os.fork()):
    Path("threads of the fork").write_text(str(len(os.listdir("/proc/self/task"))))
    os._exit(0)
os.waitpid(child, 0)
Path("of the fork").write_text(str(child))
"""


def test_a_process_about_to_run_another_program_gets_no_thread_and_is_not_called_observed(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM], check=True, cwd=tmp_path, timeout=60)

    def text(name: str) -> str:
        return (tmp_path / name).read_text()

    assert (text("threads"), text("threads of the fork")) == ("1", "2")
    assert not (tmp_path / f"{text('of the next program')}.seen").exists()
    assert (tmp_path / f"{text('of the fork')}.seen").exists()
