"""Makes the fake engine known in every process that has this folder on PYTHONPATH."""

import atexit
import gc

from coldwarm.engines import base as engine

engine._MODULES["fake"] = "tests.support.fake_engine"
# Such a process mostly imports, and leaves no garbage worth looking for.
gc.set_threshold(50_000)
atexit.register(gc.freeze)
