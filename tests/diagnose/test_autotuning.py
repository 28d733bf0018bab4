from __future__ import annotations

import pytest

from coldwarm.core.finding import FindingKind
from coldwarm.diagnose.autotuning import autotuning_findings
from tests.support.records import cold_record, warm_record

TUNED = ["inductor/aa/1.best_config", "inductor/bb/2.best_config"]


def test_rewritten_autotuning_results_are_reported_with_their_files() -> None:
    [finding] = autotuning_findings(
        cold_record(files_written=[*TUNED, "inductor/aa/1.py"]),
        warm_record(files_written=[TUNED[1], "inductor/aa/1.py"]),
    )
    assert finding.kind is FindingKind.TUNED_AGAIN
    assert finding.what.startswith("Inductor re-autotuned 1 of the 2 kernels that the cold start autotuned; ")
    assert [evidence.record for evidence in finding.evidence] == [f"files_written: {TUNED[1]}"]


@pytest.mark.parametrize("written", [[], ["inductor/cc/3.best_config"], ["inductor/aa/1.py"]])
def test_kernels_that_the_cold_start_did_not_autotune_are_not_reported(written: list[str]) -> None:
    assert autotuning_findings(cold_record(files_written=TUNED), warm_record(files_written=written)) == []
