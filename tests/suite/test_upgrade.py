"""An upgrade, rehearsed with the stored runs of two releases: the new one is accepted into a catalog of the old one."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from coldwarm.catalog.catalog import PACKAGED, Catalog, read_model
from coldwarm.core.model_entry import Expectation
from coldwarm.suite.acceptance import Change, Decision, accept, file_changes
from tests.support.commands import ROOT
from tests.support.records import LOADED, SAVED

ONE_MORE = [
    Change(f"cold.{SAVED}", "4", "5"),
    Change(f"warm.{LOADED}", "4", "5"),
    Change("shows", "none", "first-moe-layer-on-cpu"),
]


def of_release(row: Expectation, release: str) -> bool:
    when = row.when
    versions = when.vllm is not None and f"{release}.0" in SpecifierSet(when.vllm)
    return (when.device, when.aot_artifact, versions) == ("cpu", "bundled", True)


@pytest.fixture
def older(tmp_path: Path, old: str) -> Path:
    """The packaged entry of GLM-4.5 with no expectations but those of the `old` release."""
    shutil.copytree(PACKAGED.parent / "configs", tmp_path / "configs")
    source = PACKAGED / "glm-4.5.toml"
    head, *blocks = re.split(r"(?m)^(?=\[\[)", source.read_text())
    rows = iter(read_model(source).entry.expect)
    kept = [block for block in blocks if not block.startswith("[[expect]]") or of_release(next(rows), old)]
    path = tmp_path / "models" / source.name
    path.parent.mkdir()
    path.write_text("".join([head, *kept]))
    assert len(read_model(path).entry.expect) == 1
    return path


@pytest.mark.parametrize(
    ("old", "new", "changes", "why"),
    [
        ("0.28", "0.30", ONE_MORE, "first-moe-layer-on-cpu"),
        ("0.30", "0.32", [], None),
    ],
)
def test_accept_adds_the_counters_of_the_new_release_and_says_what_changed(
    older: Path, old: str, new: str, changes: list[Change], why: str | None
) -> None:
    run = ROOT / "records" / f"cpu-2026-11-29-vllm-{new}" / "glm-4.5"
    [decided] = accept([run], Catalog([read_model(older)]))
    assert (decided.decision, decided.changes) == (Decision.NEW, changes)
    assert decided.compared_with is not None and decided.compared_with == read_model(older).entry.expect[0].when
    assert why is None or any(why in reason for reason in decided.why)

    [change] = file_changes([decided])
    # Nothing but one block is added.
    lines = iter(change.after.splitlines())
    assert all(line in lines for line in change.before.splitlines())
    older.write_text(change.after)
    before, added = read_model(older).entry.expect
    assert of_release(before, old) and of_release(added, new)
    # The catalog has the same counters for it; at depth count, only those of vLLM.
    [known] = [row for row in read_model(PACKAGED / "glm-4.5.toml").entry.expect if of_release(row, new)]
    for mine, theirs in ((added.cold, known.cold), (added.warm, known.warm)):
        assert mine == {name: count for name, count in theirs.items() if name.startswith("vllm.")}
    assert added.shows == known.shows == ("first-moe-layer-on-cpu",)
    [again] = accept([run], Catalog([read_model(older)]))
    assert (again.decision, file_changes([again])) == (Decision.UNCHANGED, [])
