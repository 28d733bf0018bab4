"""The packaged known issues of the engine."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from coldwarm.catalog.catalog import Catalog
from coldwarm.catalog.engine_issues import EngineIssue, FindingPattern, engine_issues
from coldwarm.core.finding import FindingKind

REPOSITORY = Path(__file__).parents[2]


def test_each_has_an_id_and_a_page_that_names_its_file() -> None:
    issues = engine_issues()
    assert [issue.id for issue in issues] == [
        "first-moe-layer-on-cpu",
        "cute-dsl-kernels-are-not-cached",
        "cute-dsl-kernels-compiled-twice",
        "grouped-topk-misses-its-cache",
        "kernels-compiled-at-the-first-request",
        "triton-kernel-index-in-graph",
    ]
    for issue in issues:
        page = (REPOSITORY / issue.link).read_text(encoding="utf-8")
        assert page.startswith(f"# {issue.id}\n")
        assert "catalog/known_issues.toml" in page


def test_no_model_repeats_one_and_some_model_was_measured_with_each() -> None:
    entries = [model.entry for model in Catalog.read().models()]
    ids = {issue.id for issue in engine_issues()}
    assert not ids & {issue.id for entry in entries for issue in entry.known_issue}
    # No expectations were measured yet with a start that shows the other ones.
    assert {name for entry in entries for row in entry.expect for name in row.shows} == {
        "first-moe-layer-on-cpu",
        "grouped-topk-misses-its-cache",
        "triton-kernel-index-in-graph",
    }


def test_an_issue_of_an_invariant_without_accounting_findings_is_an_error() -> None:
    issue = engine_issues()[0]
    with pytest.raises(ValidationError, match="cold-only-unique"):
        EngineIssue.model_validate({**issue.model_dump(), "breaks": "warm-saves-nothing"})


def test_an_invalid_regular_expression_is_an_error() -> None:
    with pytest.raises(ValidationError, match="is not a regular expression"):
        FindingPattern(kind=FindingKind.NOT_SHARED, where="*", what="prod(")
