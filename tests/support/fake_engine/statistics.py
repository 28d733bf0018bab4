"""The fake engine counts under vLLM's names."""

from __future__ import annotations

from coldwarm.engines.vllm.statistics import SAVED as SAVED
from coldwarm.engines.vllm.statistics import compile_stats as compile_stats
from coldwarm.engines.vllm.statistics import counters_of_trace as counters_of_trace
