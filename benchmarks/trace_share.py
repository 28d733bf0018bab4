"""What tracing takes within one start: the seconds in PyTorch's `trace_structured`, as a share of the start.

python benchmarks/trace_share.py [MODEL]

Unlike observing_cost.py it needs one start, and other load on the machine does not disturb it. But it does not see what
torch does otherwise, elsewhere, when it is traced.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from coldwarm.catalog.catalog import Catalog
from coldwarm.core.record import StartRecord
from coldwarm.launch.start import Starter
from coldwarm.suite.plan import plan

_TIME_LIMIT = 600.0

# Runs in the worker before anything else. The function's code is exchanged, so that whoever imported it is timed, too.
_SITECUSTOMIZE = """
import atexit, importlib.abc, importlib.util, os, sys, time, types

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "torch._logging._internal":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        load = spec.loader.exec_module

        def exec_module(module):
            load(module)
            timed = module.trace_structured
            module._original = types.FunctionType(timed.__code__, vars(module), "original", timed.__defaults__)
            module._original.__kwdefaults__ = timed.__kwdefaults__
            module._clock, module._spent, module._depth = time.perf_counter, [0.0, 0], [0]

            def trace_structured(*args, **kwargs):
                began = _clock()
                _depth[0] += 1
                try:
                    return _original(*args, **kwargs)
                finally:
                    _depth[0] -= 1
                    if not _depth[0]:
                        _spent[0] += _clock() - began
                        _spent[1] += 1

            timed.__code__ = trace_structured.__code__
            timed.__defaults__ = timed.__kwdefaults__ = None
            atexit.register(write, module._spent)

        spec.loader.exec_module = exec_module
        return spec

def write(spent):
    if spent[1]:
        with open(os.environ["TRACE_SHARE"], "w") as file:
            print(*spent, file=file)

if "TRACE_SHARE" in os.environ and "COLDWARM_START" in os.environ:
    sys.meta_path.insert(0, Finder())
"""


def main() -> None:
    """Print the share of a cold and of a warm start."""
    [case] = plan(Catalog.read(), [sys.argv[1] if len(sys.argv) > 1 else "llama-3.1-8b"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "site").mkdir()
        (folder / "site" / "sitecustomize.py").write_text(_SITECUSTOMIZE)
        paths = [str(folder / "site"), os.environ.get("PYTHONPATH", "")]
        os.environ["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        os.environ["TRACE_SHARE"] = str(folder / "spent")
        (folder / "scratch").mkdir()
        starter = Starter(case, folder / "scratch", folder / "output", time_limit=_TIME_LIMIT)
        for start in (starter.cold, starter.warm):
            _print(start(), folder / "spent")


def _print(record: StartRecord, spent: Path) -> None:
    if record.failure is not None or not spent.is_file():
        raise SystemExit(f"nothing was measured: {record.failure}")
    seconds, records = spent.read_text().split()
    spent.unlink()
    share = float(seconds) / record.seconds
    print(f"{record.kind}: {float(seconds):.2f} s of {record.seconds:.1f} s for {records} records, {share:.2%}")


if __name__ == "__main__":
    main()
