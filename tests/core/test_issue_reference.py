from __future__ import annotations

import pytest

from coldwarm.core.issue_reference import reference
from tests.support.records import known_issue


@pytest.mark.parametrize("quoted", [False, True])
def test_a_url_is_its_own_reference(quoted: bool) -> None:
    assert reference(known_issue(), quoted=quoted) == "https://example.org/issues/1"


def test_a_page_is_shown_by_a_command() -> None:
    issue = known_issue(link="docs/known-issues/another.md")
    assert reference(issue) == "coldwarm show one-too-many"
    assert reference(issue, quoted=True) == "`coldwarm show one-too-many`"


def test_an_id_is_quoted_for_a_shell() -> None:
    assert reference(known_issue(id="a; b", link="a.md")) == "coldwarm show 'a; b'"
