from __future__ import annotations

import sys

import pytest

from coldwarm.engines.counters import UnexpectedCountersError, UnknownCounterError, expect, snapshot, unknown_counter


class Counters(dict[str, int]):
    """Counters that a test raises manually."""

    def snapshot(self) -> dict[str, int]:
        return dict(self)

    def rise(self, name: str, by: int) -> None:
        self[name] = self.get(name, 0) + by


@pytest.fixture
def counters() -> Counters:
    return Counters({"vllm.saved": 5, "vllm.loaded": 0, "torch.misses": 2})


def test_an_exact_rise_passes(counters: Counters) -> None:
    with expect({"vllm.saved": 3, "vllm.loaded": 0}, snapshot=counters.snapshot):
        counters.rise("vllm.saved", 3)
        counters.rise("torch.misses", 4)


def test_all_differences_are_reported_together_with_values_before_and_after(counters: Counters) -> None:
    expected = {"vllm.saved": 3, "vllm.loaded": 0, "torch.misses": 1}
    with pytest.raises(UnexpectedCountersError) as raised, expect(expected, snapshot=counters.snapshot):
        counters.rise("vllm.saved", 4)
        counters.rise("torch.misses", -2)
    assert str(raised.value).splitlines() == [
        "2 of 3 counters differ:",
        "  vllm.saved: expected +3, got +4 (before 5, after 9)",
        "  torch.misses: expected +1, got -2 (before 2, after 0)",
    ]


def test_an_unexpected_rise_fails(counters: Counters) -> None:
    with pytest.raises(UnexpectedCountersError), expect({"vllm.loaded": 0}, snapshot=counters.snapshot):
        counters.rise("vllm.loaded", 1)


def test_a_difference_is_an_assertion_error() -> None:
    assert issubclass(UnexpectedCountersError, AssertionError)
    assert issubclass(UnknownCounterError, AssertionError)


def test_a_counter_that_the_block_creates_rises_from_zero(counters: Counters) -> None:
    with expect({"torch.total": 7}, snapshot=counters.snapshot):
        counters.rise("torch.total", 7)


def test_an_unknown_counter_names_the_nearest(counters: Counters) -> None:
    with pytest.raises(UnknownCounterError) as raised, expect({"vllm.saves": 3}, snapshot=counters.snapshot):
        counters.rise("vllm.saved", 3)
    assert str(raised.value) == "no counter 'vllm.saves' in this version; nearest: vllm.saved, vllm.loaded"


def test_all_unknown_counters_are_reported_together(counters: Counters) -> None:
    expected = {"vllm.saves": 0, "torch.mis": 0}
    with pytest.raises(UnknownCounterError) as raised, expect(expected, snapshot=counters.snapshot):
        pass
    assert "'vllm.saves'" in str(raised.value) and "'torch.mis'" in str(raised.value)


def test_an_unknown_counter_fails_even_if_no_rise_is_expected(counters: Counters) -> None:
    with pytest.raises(UnknownCounterError), expect({"vllm.gone": 0}, snapshot=counters.snapshot):
        pass


def test_a_program_without_counters_is_named() -> None:
    assert unknown_counter("vllm.saved", {"torch.a": 1}) == (
        "no counter 'vllm.saved': nothing was counted by 'vllm' (sources here: torch)"
    )
    assert unknown_counter("vllm.saved", {}).endswith("(sources here: none)")


def test_an_exception_in_the_block_propagates(counters: Counters) -> None:
    with pytest.raises(ZeroDivisionError), expect({"vllm.saved": 3, "vllm.gone": 1}, snapshot=counters.snapshot):
        raise ZeroDivisionError


def test_expecting_nothing_asserts_nothing(counters: Counters) -> None:
    with expect({}, snapshot=counters.snapshot):
        counters.rise("vllm.saved", 1)


def test_by_default_the_counters_of_this_process_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("vllm.compilation.counter", "torch._dynamo.utils"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    assert snapshot() == {}
    with pytest.raises(UnknownCounterError, match="nothing was counted by 'vllm'"), expect({"vllm.saved": 1}):
        pass
