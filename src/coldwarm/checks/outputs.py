"""Compares what two starts generated from the same weights and prompt."""

from __future__ import annotations

import math

from coldwarm.core.record import EngineFacts

# Natural logarithms. On a CPU, two starts with the same artifacts agree to the last bit. A GPU may add in a different
# order, which changes the third digit of bfloat16 logits near 1.
_TOLERANCE = 0.02


def difference(cold: EngineFacts, warm: EngineFacts) -> str | None:
    """Describe how the outputs of two starts differ; None if they agree.

    Token ids must be equal, and log-probabilities within 0.02. Outputs without numbers do not agree.
    """
    if cold.prompt_token_ids != warm.prompt_token_ids:
        return "the two starts had different prompts"
    if not cold.generated or not warm.generated:
        return "nothing was generated"
    cold_ids = [token.token_id for token in cold.generated]
    warm_ids = [token.token_id for token in warm.generated]
    if cold_ids != warm_ids:
        both = zip(cold_ids, warm_ids, strict=False)
        step = next((i for i, (a, b) in enumerate(both) if a != b), min(len(cold_ids), len(warm_ids)))
        return f"token {step + 1} differs: token ids {cold_ids} cold, {warm_ids} warm"
    for step, (a, b) in enumerate(zip(cold.generated, warm.generated, strict=True), start=1):
        if problem := _difference_of_step(a.logprobs, b.logprobs):
            return f"token {step}: {problem}"
    return None


def _difference_of_step(cold: dict[int, float | None], warm: dict[int, float | None]) -> str | None:
    if not cold or not warm:
        return "no log-probabilities were recorded, so outputs cannot be compared"
    for logprobs in (cold, warm):
        for token_id, value in logprobs.items():
            if value is None or math.isnan(value):
                return f"the log-probability of {token_id} is not a number, so outputs cannot be compared"
    for token_id in sorted(cold.keys() | warm.keys()):
        # Each start reports only its likeliest tokens; any other is at most as likely as the least likely of these.
        cold_value = cold.get(token_id, _least(cold))
        warm_value = warm.get(token_id, _least(warm))
        assert cold_value is not None and warm_value is not None
        gap = abs(cold_value - warm_value)
        if token_id not in cold:
            gap = warm_value - cold_value
        elif token_id not in warm:
            gap = cold_value - warm_value
        if gap > _TOLERANCE:
            return (
                f"the log-probability of {token_id} is {_logprob(cold, token_id)} cold, {_logprob(warm, token_id)} "
                f"warm (a difference of more than {_TOLERANCE})"
            )
    return None


def _least(logprobs: dict[int, float | None]) -> float:
    return min(value for value in logprobs.values() if value is not None)


def _logprob(logprobs: dict[int, float | None], token_id: int) -> str:
    value = logprobs.get(token_id)
    return f"at most {_least(logprobs):.5f}" if value is None else f"{value:.5f}"
