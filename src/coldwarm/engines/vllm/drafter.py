"""Gives the drafter of speculative decoding a shrunk config, which vLLM does not derive from that of the main model."""

from __future__ import annotations

import json
from typing import Any

from coldwarm.core.options import merged
from coldwarm.core.request import StartRequest

_OWN_LAYERS = ("mtp", "dspark")
"""The methods whose drafter is a part of the main model, by the end of their names (`SpeculativeConfig.__post_init__`
in vllm/config/speculative.py; ``deepseek_mtp`` and the like are deprecated names of ``mtp``)."""


def with_drafter(options: dict[str, Any], request: StartRequest) -> dict[str, Any]:
    """Return `options` in which the drafter is a folder with a shrunk config.json, which this writes.

    vLLM applies ``hf_overrides`` to the main model only (`SpeculativeConfig.compose_draft_hf_overrides`). A drafter
    that is a part of the main model would have its published width and would not fit. A drafter that the user named
    stays.

    Args:
        options: The options of the engine.
        request: The request of the start, whose entry may name a separate drafter.
    """
    speculative = options.get("speculative_config")
    if not isinstance(speculative, dict) or speculative.get("model") is not None:
        return options
    if request.drafter is not None:
        config = request.drafter
    elif str(speculative.get("method")).endswith(_OWN_LAYERS):
        published = json.loads((request.model_folder / "config.json").read_text(encoding="utf-8"))
        config = merged(published, request.overrides)
    else:
        return options
    folder = request.model_folder / "drafter"
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return merged(options, {"speculative_config": {"model": str(folder)}})
