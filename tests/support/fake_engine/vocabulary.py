"""The fake engine counts under vLLM's names, and logs and caches as vLLM does."""

from __future__ import annotations

from coldwarm.engines.vllm.vocabulary import VOCABULARY as VOCABULARY
