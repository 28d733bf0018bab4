from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from coldwarm.observe.distributed import DistributedRank


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A process group of torch, which does not exist yet."""
    group = SimpleNamespace(is_available=lambda: True, exists=False)
    group.is_initialized = lambda: group.exists
    group.get_rank = lambda: 3
    torch = ModuleType("torch")
    vars(torch)["distributed"] = group
    monkeypatch.setitem(sys.modules, "torch", torch)
    return group


def test_the_rank_is_known_from_when_the_process_joins_a_group(group: SimpleNamespace) -> None:
    rank = DistributedRank()
    assert rank.known() is None
    group.exists = True
    assert rank.known() == 3


def test_the_rank_stays_known_after_the_group_is_destroyed(group: SimpleNamespace) -> None:
    rank = DistributedRank()
    group.exists = True
    rank.known()
    group.exists = False
    assert rank.known() == 3


def test_a_group_may_be_destroyed_while_it_is_asked(group: SimpleNamespace) -> None:
    def get_rank() -> int:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")

    rank = DistributedRank()
    group.exists = True
    rank.known()
    group.get_rank = get_rank
    assert rank.known() == 3


@pytest.mark.parametrize("torch", [None, ModuleType("torch"), SimpleNamespace(distributed=None)])
def test_without_process_groups_there_is_no_rank(torch: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert DistributedRank().known() is None
