from __future__ import annotations

import math
import sys

import pytest

from coldwarm.engines.base import load_worker
from coldwarm.engines.vllm.worker import _number, _PhaseFollower, _prompt
from coldwarm.observe.progress import Progress


def follow(*messages: object) -> str | None:
    read_end, write_end = os.pipe()
    progress = Progress(write_end)
    follower = _PhaseFollower(progress)
    for message in messages:
        follower(logging.LogRecord("vllm", logging.INFO, "f.py", 1, message, (), None))
    os.close(read_end)
    os.close(write_end)
    return progress.phase


@pytest.mark.parametrize(
    ("message", "phase"),
    [
        ("Initializing a V1 LLM engine (v%s) with config: %s", "engine setup"),
        ("Starting to load model %s...", "weights"),
        ("Warming up model for the compilation...", "compile"),
        ("Starting torch.compile", "compile"),
        ("torch.compile took %.2f s in total", "warm-up"),
    ],
)
def test_phases_are_recognized_by_vllms_log(message: str, phase: str) -> None:
    assert follow(message) == phase


def test_other_messages_do_not_change_the_phase() -> None:
    assert follow("Starting to load model x", "hello", ValueError("no text"), None) == "weights"


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
