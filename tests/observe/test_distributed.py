from __future__ import annotations

import os
import sys
from types import ModuleType, SimpleNamespace

import pytest

from coldwarm.observe.distributed import DistributedRank


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A process group of torch, which does not exist yet."""
    group = SimpleNamespace(WORLD=None)
    torch = ModuleType("torch")
    vars(torch)["distributed"] = SimpleNamespace(group=group, get_rank=lambda: group.WORLD.rank)
    monkeypatch.setitem(sys.modules, "torch", torch)
    return group


def of_rank(rank: int) -> SimpleNamespace:
    return SimpleNamespace(rank=rank)


def test_the_rank_is_known_from_when_the_process_joins_a_group(group: SimpleNamespace) -> None:
    rank = DistributedRank()
    assert rank.known() is None
    group.WORLD = of_rank(3)
    assert rank.known() == 3


def test_the_rank_stays_known_after_the_group_is_destroyed(group: SimpleNamespace) -> None:
    rank = DistributedRank()
    group.WORLD = of_rank(3)
    rank.known()
    group.WORLD = None
    assert rank.known() == 3


def test_a_group_may_be_destroyed_while_it_is_asked(group: SimpleNamespace) -> None:
    def get_rank() -> int:
        raise ValueError("Default process group has not been initialized, please make sure to call init_process_group.")

    rank = DistributedRank()
    group.WORLD = of_rank(3)
    rank.known()
    sys.modules["torch"].distributed.get_rank = get_rank
    assert rank.known() == 3


def test_a_process_that_is_forked_from_a_rank_is_none_until_it_joins_a_group(group: SimpleNamespace) -> None:
    rank = DistributedRank()
    group.WORLD = of_rank(3)
    assert rank.known() == 3
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        inherited = rank.known()
        group.WORLD = of_rank(5)
        os.write(write, f"{inherited} {rank.known()}".encode())
        os._exit(0)
    os.waitpid(child, 0)
    assert os.read(read, 100) == b"None 5"
    os.close(read)
    os.close(write)
    assert rank.known() == 3


@pytest.mark.parametrize("torch", [None, ModuleType("torch"), SimpleNamespace(distributed=None)])
def test_without_process_groups_there_is_no_rank(torch: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", torch)
    assert DistributedRank().known() is None
