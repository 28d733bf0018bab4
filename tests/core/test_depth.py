from __future__ import annotations

from itertools import pairwise

import pytest

from coldwarm.core.depth import LEVELS, Depth
from tests.support.commands import ROOT


def table() -> str:
    """Return the table of docs/depths.md, made from `LEVELS`."""
    rows = [
        "| depth | replaced | observed | invariants checked | not checked |",
        "| --- | --- | --- | --- | --- |",
        *(
            f"| `{depth}` | {level.replaced or 'nothing'} | {level.observed} | "
            f"{', '.join(f'`{invariant}`' for invariant in level.checked)} | {level.not_checked or 'nothing'} |"
            for depth, level in LEVELS.items()
        ),
    ]
    return "\n".join(rows)


def test_the_docs_have_the_table_of_depths() -> None:
    text = (ROOT / "docs" / "depths.md").read_text(encoding="utf-8")
    assert text.partition("<!-- depths -->\n")[2].partition("\n<!-- end of depths -->")[0] == table()


def test_each_depth_covers_all_that_the_one_before_covers() -> None:
    for less, more in pairwise(LEVELS[depth] for depth in Depth):
        assert set(less.checked) < set(more.checked)
        assert less.has_artifacts <= more.has_artifacts
        assert less.has_kernels <= more.has_kernels


@pytest.mark.parametrize("depth", Depth)
def test_a_depth_that_replaces_something_says_what_it_does_not_check(depth: Depth) -> None:
    assert bool(depth.level.replaced) == bool(depth.level.not_checked)
