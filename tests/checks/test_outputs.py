from __future__ import annotations

import math

import pytest

from coldwarm.checks.outputs import difference
from coldwarm.core.record import EngineFacts, GeneratedToken
from tests.support.records import cold_facts, generated_tokens, warm_facts

Logprobs = dict[int, float | None]


def facts(*logprobs: Logprobs, ids: tuple[int, ...] | None = None) -> EngineFacts:
    """One token for each of `logprobs`, all with the id 1 unless `ids` are given."""
    ids = ids or (1,) * len(logprobs)
    tokens = [GeneratedToken(token_id=i, logprobs=values) for i, values in zip(ids, logprobs, strict=True)]
    return cold_facts(generated=tokens)


def test_equal_outputs_agree() -> None:
    assert difference(cold_facts(), warm_facts()) is None


def test_a_token_that_differs_is_named() -> None:
    cold, warm = facts({1: -0.1}, {2: -0.2}, ids=(1, 2)), facts({1: -0.1}, {3: -0.2}, ids=(1, 3))
    assert difference(cold, warm) == "token 2 differs: token ids [1, 2] cold, [1, 3] warm"


@pytest.mark.parametrize(("cold", "warm"), [(8, 7), (7, 8)])
def test_a_shorter_output_differs_at_its_end(cold: int, warm: int) -> None:
    problem = difference(cold_facts(generated=generated_tokens(cold)), warm_facts(generated=generated_tokens(warm)))
    assert problem is not None and problem.startswith("token 8 differs")


def test_outputs_of_different_prompts_are_not_compared() -> None:
    assert difference(cold_facts(), warm_facts(prompt_token_ids=[9])) == "the two starts had different prompts"


@pytest.mark.parametrize(("cold", "warm"), [(0, 0), (0, 8), (8, 0)])
def test_starts_that_generated_nothing_do_not_agree(cold: int, warm: int) -> None:
    problem = difference(cold_facts(generated=generated_tokens(cold)), warm_facts(generated=generated_tokens(warm)))
    assert problem == "nothing was generated"


@pytest.mark.parametrize("offset", [0.0, 0.01, -0.019])
def test_log_probabilities_within_the_tolerance_agree(offset: float) -> None:
    assert difference(facts({1: -0.5, 2: -1.5}), facts({1: -0.5 + offset, 2: -1.5 - offset})) is None


@pytest.mark.parametrize("offset", [0.021, -0.021, 5.0])
@pytest.mark.parametrize("token_id", [1, 2])
def test_log_probabilities_beyond_the_tolerance_differ(token_id: int, offset: float) -> None:
    cold: Logprobs = {1: -0.5, 2: -1.5}
    warm: Logprobs = {**cold, token_id: (cold[token_id] or 0.0) + offset}
    problem = difference(facts(cold, cold), facts(cold, warm))
    assert problem is not None
    assert problem.startswith(f"token 2: the log-probability of {token_id} is {cold[token_id]:.5f} cold")
    assert "a difference of more than 0.02" in problem


@pytest.mark.parametrize(("cold", "warm"), [(None, None), (None, -0.5), (-0.5, None)])
def test_a_log_probability_that_is_not_a_number_does_not_agree(cold: float | None, warm: float | None) -> None:
    problem = difference(facts({1: cold}), facts({1: warm}))
    assert problem == "token 1: the log-probability of 1 is not a number, so outputs cannot be compared"


@pytest.mark.parametrize(("cold", "warm"), [(math.nan, math.nan), (math.nan, -0.5), (-0.5, math.nan)])
def test_a_nan_that_is_stored_as_a_number_does_not_agree(cold: float, warm: float) -> None:
    assert difference(facts({1: cold}), facts({1: warm})) is not None


def test_tokens_without_log_probabilities_do_not_agree() -> None:
    assert difference(facts({}), facts({})) is not None
    assert difference(facts({1: -0.5}), facts({})) is not None


def test_the_least_likely_token_may_differ_if_it_is_as_likely() -> None:
    assert difference(facts({1: -0.5, 2: -3.0}), facts({1: -0.5, 3: -3.001})) is None


def test_a_likely_token_that_the_other_start_does_not_report_differs() -> None:
    cold, warm = facts({1: -0.5, 2: -1.0, 3: -9.0}), facts({1: -0.5, 4: -1.0, 3: -9.0})
    assert difference(cold, warm) is not None
