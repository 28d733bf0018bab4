"""The fake engine counts under vLLM's names, and logs and caches as vLLM does."""

from __future__ import annotations

from dataclasses import replace

from coldwarm.engines.vllm.vocabulary import VOCABULARY as VLLM
from tests.support.fake_engine.release import PACKAGE

VOCABULARY = replace(VLLM, package=PACKAGE)
