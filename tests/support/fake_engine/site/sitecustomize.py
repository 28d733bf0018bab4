"""Makes the fake engine known in every process that has this folder on PYTHONPATH."""

from coldwarm.engines import base as engine

engine._MODULES["fake"] = "tests.support.fake_engine"
