"""Gives the drafter of speculative decoding a shrunk config, which vLLM does not derive from that of the main model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from coldwarm.core.options import merged
from coldwarm.core.request import StartRequest

DRAFTER = "drafter"
"""The folder of the drafter, below that of the main model."""
_OWN_LAYERS = ("mtp", "dspark")
"""The methods whose drafter is a part of the main model, by the end of their names (`SpeculativeConfig.__post_init__`
in vllm/config/speculative.py; ``deepseek_mtp`` and the like are deprecated names of ``mtp``)."""


def with_drafter(options: dict[str, Any], request: StartRequest) -> dict[str, Any]:
    """Return `options` in which the drafter is a folder with a shrunk config.json, which this writes.

    A drafter that the user named stays.

    Args:
        options: The options of the engine.
        request: The request of the start, whose entry may name a separate drafter.
    """
    published = json.loads((request.model_folder / "config.json").read_text(encoding="utf-8"))
    config = drafter_config(options, request.drafter, merged(published, request.overrides))
    if config is None:
        return options
    folder = request.model_folder / DRAFTER
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=2), encoding="utf-8")
    return with_drafter_in(options, str(folder))


def drafter_config(
    options: Mapping[str, Any], separate: dict[str, Any] | None, main: dict[str, Any]
) -> dict[str, Any] | None:
    """Return the config of the drafter; None: there is none, or the options name it.

    vLLM applies ``hf_overrides`` to the main model only (`SpeculativeConfig.compose_draft_hf_overrides`). A drafter
    that is a part of the main model would have its published width and would not fit.

    Args:
        options: The options of the engine.
        separate: The shrunk config of the drafter that the entry names; None: it names none.
        main: The shrunk config of the main model.
    """
    speculative = options.get("speculative_config")
    if not isinstance(speculative, dict) or speculative.get("model") is not None:
        return None
    if separate is not None:
        return separate
    return main if str(speculative.get("method")).endswith(_OWN_LAYERS) else None


def with_drafter_in(options: Mapping[str, Any], folder: str) -> dict[str, Any]:
    """Return `options` with the drafter that is in `folder`."""
    return merged(dict(options), {"speculative_config": {"model": folder}})
