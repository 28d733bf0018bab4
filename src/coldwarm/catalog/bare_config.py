"""A catalog entry for a config.json that is in no catalog: shrunk by rule, judged by the invariants alone."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from coldwarm.core.model_entry import ModelEntry, Shrink

# The sizes that vLLM's own startup tests shrink to (tests/compile/h100/test_startup.py). A value is only ever
# lowered, and only where the config has the key.
_SMALL = {
    "num_hidden_layers": 8,
    "hidden_size": 256,
    "intermediate_size": 512,
    "moe_intermediate_size": 512,
    "num_attention_heads": 8,
    "num_key_value_heads": 1,
    "num_experts": 8,
    "num_local_experts": 8,
    "n_routed_experts": 8,
    # No more experts a token, and no more groups of them, than there are experts left.
    "num_experts_per_tok": 8,
    "n_group": 1,
    "topk_group": 1,
}


def entry_of_bare_config(path: Path, config: dict[str, Any]) -> ModelEntry:
    """Return an entry for the published `config` at `path`; its kinds of layers are left to be derived."""
    overrides = _shrink(config)
    folder = path.resolve().parent.name
    name = folder if path.name == "config.json" and folder else path.stem
    reason = "a bare config.json is shrunk by rule, to the sizes of the engine's own startup tests"
    return ModelEntry(
        id=re.sub(r"[^a-z0-9._-]+", "-", name.lower()).removesuffix(".json").strip("-._") or "model",
        name=name or config["architectures"][0],
        config=path.name,
        source=str(path),
        source_note="a bare config.json: judged by the invariants alone",
        shrink=(Shrink(reason=reason, overrides=overrides),) if overrides else (),
    )


def _shrink(config: dict[str, Any]) -> dict[str, Any]:
    overrides: dict[str, Any] = {
        key: small
        for key, small in _SMALL.items()
        if isinstance(config.get(key), int) and not isinstance(config[key], bool) and config[key] > small
    }
    if isinstance(text := config.get("text_config"), dict) and (inner := _shrink(text)):
        overrides["text_config"] = inner
    return overrides
