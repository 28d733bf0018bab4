"""Compares what two starts generated from the same weights and prompt."""

from __future__ import annotations

from coldwarm.starts.record import EngineFacts

# Natural logarithms. On a CPU two starts with the same artifacts agree to the last bit; a GPU may add up in another
# order, which for bfloat16 logits of about unit size shows in the third digit.
_TOLERANCE = 0.02


def difference(cold: EngineFacts, warm: EngineFacts) -> str | None:
    """Say how the outputs of two starts differ; None where they agree.

    Token ids must be equal; log-probabilities equal within 0.02. Outputs that hold no number prove nothing.
    """
    if cold.prompt_token_ids != warm.prompt_token_ids:
        return "the two starts had different prompts"
    if not cold.generated or not warm.generated:
        return "nothing was generated"
    cold_ids = [token.token_id for token in cold.generated]
    warm_ids = [token.token_id for token in warm.generated]
    if cold_ids != warm_ids:
        step = next((i for i, (a, b) in enumerate(zip(cold_ids, warm_ids, strict=False)) if a != b), 0)
        return f"token {step + 1} differs: token ids {cold_ids} cold, {warm_ids} warm"
    for step, (a, b) in enumerate(zip(cold.generated, warm.generated, strict=True), start=1):
        for token_id in a.logprobs.keys() | b.logprobs.keys():
            cold_value, warm_value = a.logprobs.get(token_id), b.logprobs.get(token_id)
            if token_id in a.logprobs and token_id in b.logprobs and (cold_value is None or warm_value is None):
                return f"token {step}: the log-probability of {token_id} is not a number, which proves nothing"
            if cold_value is None or warm_value is None:
                # In one start's likeliest only: no difference if it is as likely as the other start's least likely.
                continue
            if abs(cold_value - warm_value) > _TOLERANCE:
                return (
                    f"token {step}: the log-probability of {token_id} is {cold_value:.5f} cold, {warm_value:.5f} warm "
                    f"(more than {_TOLERANCE} apart)"
                )
    return None
