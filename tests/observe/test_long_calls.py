from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from coldwarm.core.seen_in_process import LongCall

# In a process of its own, whose main thread does nothing else.
_PROGRAM = """
import os, time
from coldwarm.core.record import ProcessReport
from coldwarm.observe.long_calls import LongCallProbe

def calls(probe):
    report = ProcessReport()
    probe.report(report)
    print(report.model_dump_json(include={"long_calls"}), flush=True)

exec(compile("import time\\ndef call(): time.sleep(0.8)", "site/torch/_ops.py", "exec"))

def loader():
    call()  # torch.ops._C.marlin_gemm(

probe = LongCallProbe()
probe.install()
for _ in range(3):  # of two calls, each of which is short
    time.sleep(0.3)
    time.sleep(0.3)
loader()
calls(probe)
if not os.fork():
    time.sleep(0.9)
    calls(probe)
    os._exit(0)
os.wait()
"""


def test_calls_are_reported_that_take_long(tmp_path: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(_PROGRAM)
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=tmp_path)
    parent, child = ([LongCall(**call) for call in json.loads(line)["long_calls"]] for line in done.stdout.splitlines())
    # On a busy machine, other calls may take long, too.
    [call] = (call for call in parent if call.operator is not None)
    assert (call.where, call.function, call.operator) == ("program.py:14", "loader", "_C.marlin_gemm")
    assert call.seconds > 0.6
    # A forked process has no calls of its parent.
    assert {call.operator for call in child} == {None}
    assert ("program.py:24", "<module>") in {(call.where, call.function) for call in child}
