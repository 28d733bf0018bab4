from __future__ import annotations

import pytest

from coldwarm.core.finding import FindingKind
from coldwarm.diagnose.autotuning import tuned_again_findings
from tests.support.records import cold_record, warm_record

TUNED = ["inductor/aa/1.best_config", "inductor/bb/2.best_config"]


def test_choices_that_are_written_again_are_told_with_their_files() -> None:
    [finding] = tuned_again_findings(
        cold_record(files_written=[*TUNED, "inductor/aa/1.py"]),
        warm_record(files_written=[TUNED[1], "inductor/aa/1.py"]),
    )
    assert finding.kind is FindingKind.TUNED_AGAIN
    assert finding.what.startswith("Inductor tuned 1 kernel again, of 2 that the cold start had tuned")
    assert [evidence.record for evidence in finding.evidence] == [f"files_written: {TUNED[1]}"]


@pytest.mark.parametrize("written", [[], ["inductor/cc/3.best_config"], ["inductor/aa/1.py"]])
def test_what_was_not_tuned_before_is_not_tuned_again(written: list[str]) -> None:
    assert tuned_again_findings(cold_record(files_written=TUNED), warm_record(files_written=written)) == []
