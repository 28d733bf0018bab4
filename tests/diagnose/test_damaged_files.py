from __future__ import annotations

from typing import Any

import pytest

from coldwarm.core.cache_files import FileChange, FileState, changes
from coldwarm.core.finding import FindingKind
from coldwarm.core.load_failure import LoadFailure
from coldwarm.core.record import StartKind
from coldwarm.diagnose.damaged_files import damage_finding
from tests.support.explanations import ARTIFACT

FAILURE = LoadFailure(f"/tmp/c/caches/{ARTIFACT}", "pickle data was truncated\nat 12", "failed")


def change(how: Any = "truncated", path: str = ARTIFACT, due: int = 100, found: int = 12) -> FileChange:
    return FileChange(path=path, how=how, bytes_due=due, bytes_found=found)


@pytest.mark.parametrize(
    ("found", "how", "description"),
    [
        (None, "missing", "is missing (it had 100 bytes)"),
        (FileState(12, "b"), "truncated", "is truncated: 12 of 100 bytes"),
        (FileState(0, ""), "truncated", "is truncated: 0 of 100 bytes"),
        (FileState(100, "b"), "altered", "was altered (still 100 bytes)"),
        (FileState(112, "b"), "grown", "has grown from 100 to 112 bytes"),
    ],
    ids=["missing", "truncated", "emptied", "altered", "grown"],
)
@pytest.mark.parametrize("failures", [[], [FAILURE]], ids=["loaded", "not loaded"])
def test_a_changed_file_is_reported_with_evidence(
    found: FileState | None, how: str, description: str, failures: list[LoadFailure]
) -> None:
    [one] = changes({ARTIFACT: FileState(100, "a")}, {} if found is None else {ARTIFACT: found})
    finding = damage_finding(one, failures)
    assert (finding.kind, finding.start) == (FindingKind.CACHE_DAMAGED, StartKind.WARM)
    assert finding.what.startswith(f"a cached file {description}: {ARTIFACT}")
    assert finding.evidence[0].file == "warm.json"
    assert finding.evidence[0].record == f"caches_changed: {ARTIFACT}: {how}"
    assert ("pickle data was truncated" in finding.what) is bool(failures)


def test_a_failure_to_load_the_file_is_reported_with_its_exception() -> None:
    finding = damage_finding(change(), [LoadFailure("/tmp/c/caches/other", "no", "failed"), FAILURE])
    assert finding.what.endswith("; the engine could not load it: pickle data was truncated")
    assert [each.file for each in finding.evidence] == ["warm.json", "warm.log"]


def test_a_failure_to_load_a_different_file_is_reported_because_a_function_may_have_several() -> None:
    finding = damage_finding(change(path="vllm/modelinfos/a.json"), [FAILURE])
    assert finding.what.endswith("a.json; the engine could not load it: pickle data was truncated")
    assert [each.file for each in finding.evidence] == ["warm.json", "warm.log"]


def test_the_advice_for_a_new_file_is_to_find_its_writer() -> None:
    [new] = changes({}, {"vllm/x": FileState(7, "a")})
    finding = damage_finding(new, [])
    assert finding.what == "a cached file is new (7 bytes): vllm/x"
    assert finding.next is not None and "what else writes to the cache" in finding.next


@pytest.mark.parametrize(
    ("failures", "is_unnoticed", "end"),
    [
        ([], True, f"{ARTIFACT}; the engine did not notice, and recompiled nothing"),
        ([], False, ARTIFACT),
        ([FAILURE], True, "; the engine could not load it: pickle data was truncated"),
    ],
    ids=["unnoticed", "noticed", "not loaded"],
)
def test_the_consequence_is_reported(failures: list[LoadFailure], is_unnoticed: bool, end: str) -> None:
    assert damage_finding(change(), failures, is_unnoticed=is_unnoticed).what.endswith(end)
    assert "notice" not in damage_finding(change(), failures).what


def test_the_advice_for_a_missing_file_differs() -> None:
    advice = {how: damage_finding(change(how), []).next for how in ("missing", "truncated", "altered", "grown")}
    assert advice["missing"] is not None and "removes files" in advice["missing"]
    assert {advice["truncated"], advice["altered"], advice["grown"]} == {advice["truncated"]}
    assert advice["truncated"] is not None and "delete the cache" in advice["truncated"]


def test_a_path_with_markup_is_reported_unchanged() -> None:
    assert "[/x][bold].so" in damage_finding(change(path="vllm/[/x][bold].so"), []).what
