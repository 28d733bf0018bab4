"""Creates an entry for a config.json that is not in a catalog; it is shrunk by rule and has no expectations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from coldwarm.core.model_entry import ModelEntry, Shrink

# The sizes in vLLM's own startup tests (tests/compile/h100/test_startup.py). Values are only lowered, and only if the
# config has the key.
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
    # At most as many experts per token, and groups of experts, as there are experts.
    "num_experts_per_tok": 8,
    "n_group": 1,
    "topk_group": 1,
}


def entry_of_bare_config(path: Path, config: dict[str, Any]) -> ModelEntry:
    """Return an entry for the published `config` at `path`; its layer kinds are derived when it is started."""
    overrides = _shrink(config)
    folder = path.resolve().parent.name
    name = folder if path.name == "config.json" and folder else path.stem
    reason = "a bare config.json is shrunk by rule, to the sizes of the engine's own startup tests"
    return ModelEntry(
        id=re.sub(r"[^a-z0-9._-]+", "-", name.lower()).removesuffix(".json").strip("-._") or "model",
        name=name or config["architectures"][0],
        config=path.name,
        source=str(path),
        source_note="a bare config.json: only the invariants are checked",
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
