from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from coldwarm.engines.base import load_worker
from coldwarm.engines.vllm.worker import _needs_other_blocks, _number, _prompt


@pytest.mark.parametrize("vocabulary", [1, 7, 997, 32000, 201088])
def test_the_prompt_is_fixed_and_within_the_vocabulary(vocabulary: int) -> None:
    prompt = _prompt(vocabulary)
    assert prompt == _prompt(vocabulary)
    assert len(prompt) == 16
    assert all(0 <= token < vocabulary for token in prompt)


def test_nan_is_stored_as_none() -> None:
    assert _number(math.nan) is None
    assert _number(-1.5) == -1.5


def test_loading_the_worker_does_not_import_the_engine() -> None:
    assert "vllm.compilation" in load_worker("vllm").compiler_loggers
    assert not {"torch", "vllm"} & sys.modules.keys()


@pytest.mark.parametrize(
    ("config", "needs"),
    [
        ({}, False),
        ({"text_config": {"sparse_attention_config": None}}, False),
        ({"compress_ratios": [0, 4, 128]}, True),
        ({"text_config": {"sparse_attention_config": {"sparse_block_size": 128}}}, True),
    ],
)
def test_a_model_that_needs_other_blocks_is_recognized(config: dict[str, object], needs: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert _needs_other_blocks(tmp_path) is needs
