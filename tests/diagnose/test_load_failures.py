from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldwarm.core.finding import FindingKind
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import Message, StartKind
from coldwarm.diagnose.load_failures import load_failure_finding
from coldwarm.engines.vllm.load_messages import load_failures
from coldwarm.engines.vllm.vocabulary import VOCABULARY
from tests.support.explanations import SOURCE_CHANGED, load_failure


def message(text: str) -> Message:
    return Message(logger="vllm", level="WARNING", text=text)


@pytest.mark.parametrize("tag", ["", "[backbone] ", "[eagle_head] "])
def test_the_path_and_the_reason_are_read_from_vllms_warning(tag: str) -> None:
    reason = "'function' object has no attribute 'finalize_loading'"
    assert load_failures([load_failure(reason, "/c/model", tag)]) == [
        LoadFailure("/c/model", reason, "Compiling model again due to a load failure")
    ]


@pytest.mark.parametrize("path", ["/a folder/model", "/a, b/model", "/[bold]/model", "/a\tb/é", "/x, reason/model"])
def test_a_path_may_contain_anything(path: str) -> None:
    assert [failure.path for failure in load_failures([load_failure("no", path)])] == [path]


def test_a_reason_may_contain_the_word_reason() -> None:
    [failure] = load_failures([load_failure("bad, reason: worse", "/c/model")])
    assert (failure.path, failure.reason) == ("/c/model", "bad, reason: worse")


def test_all_failures_and_nothing_else_are_returned_in_their_order() -> None:
    texts = ["", "load failure", "reason: none", "cannot load it", "load failure from /x"]
    failures = load_failures([load_failure("b"), *map(message, texts), load_failure("a")])
    assert [failure.reason for failure in failures] == ["b", "a"]
    assert load_failures([]) == []


def test_a_reason_of_several_lines_has_its_first_as_headline() -> None:
    reason = "Failed to load artifact:\n  File 'x.py'\nKeyError: 'y'"
    [failure] = load_failures([load_failure(f"\n{reason}\n")])
    assert failure.reason == reason
    assert failure.headline() == "Failed to load artifact:"
    assert "\n" not in failure.evidence().record
    assert "\n" not in load_failure_finding(failure, VOCABULARY).what


def test_a_finding_has_the_whole_reason() -> None:
    [failure] = load_failures([load_failure("Failed to load artifact:\nKeyError: 'y'")])
    finding = load_failure_finding(failure, VOCABULARY)
    assert "KeyError: 'y'" in "\n".join([finding.what, *finding.details])


@pytest.mark.parametrize("reason", ["", " ", "\n\n"])
def test_an_exception_without_a_text_is_reported_as_such(reason: str) -> None:
    [failure] = load_failures([load_failure(reason)])
    assert failure.headline() == "(no text)"


def test_only_vllms_own_message_means_a_changed_source() -> None:
    failures = load_failures(
        [load_failure(SOURCE_CHANGED), load_failure("KeyError: 'source'", "/c/Source code has changed")]
    )
    assert [failure.by_source for failure in failures] == [True, False]


def test_the_finding_names_the_file_the_exception_and_the_evidence() -> None:
    found = load_failure_finding(LoadFailure("/c/model", "KeyError: [bold]", "failed"), VOCABULARY)
    assert (found.kind, found.start) == (FindingKind.LOAD_FAILED, StartKind.WARM)
    assert found.what == "the saved function was found but failed to load: KeyError: [bold]"
    assert found.details == ["the file: /c/model"]
    assert [(each.file, "KeyError: [bold]" in each.record) for each in found.evidence] == [("warm.log", True)]
    assert found.next is not None and "VLLM_FORCE_AOT_LOAD=1" in found.next


@given(texts=st.lists(st.text()))
def test_no_log_message_raises(texts: list[str]) -> None:
    for failure in load_failures([*map(message, texts), *map(load_failure, texts)]):
        assert failure.headline()
        assert len(load_failure_finding(failure, VOCABULARY).what.splitlines()) == 1
