"""What real runs measured, written into catalog files."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from coldwarm.catalog.writing import Edit, entry_text, with_expectations
from coldwarm.core.model_entry import ModelEntry
from coldwarm.core.record import StartKind
from coldwarm.store.suite_folder import read_runs
from coldwarm.suite.measurement import expectation_of
from coldwarm.suite.result import RunResult
from tests.real.conftest import SECOND_HALF, Shared
from tests.real.runs import COLDWARM
from tests.support.release import INSTALLED


def test_runs_that_meet_their_expectations_change_nothing(shared: Shared) -> None:
    folder = shared.second_half.result().output
    done = subprocess.run([COLDWARM, "accept", folder, "--dry-run"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    decisions = re.findall(r"^[\w.+-]+(?: \(.*\))?: (\w+)$", done.stdout, re.MULTILINE)
    # The catalog may have no expectations for another release, and that may not run a model.
    others = set() if INSTALLED.release[:2] == (0, 32) else {"new", "unsupported"}
    assert len(decisions) == len(SECOND_HALF)
    assert set(decisions) <= {"unchanged", *others}


@pytest.mark.parametrize("number", range(3))
def test_an_entry_with_what_a_run_measured_is_met_by_it(shared: Shared, number: int) -> None:
    run = read_runs(shared.bare.result().output)[number]
    assert run.cold is not None and run.warm is not None
    # An expectation of the options of this run.
    result = RunResult.of(run.case, run.cold, run.warm, run.explanation)
    measured = expectation_of(run.cold, run.warm, result.verdict)
    path = Path("model.toml")
    text = with_expectations(path, entry_text(run.case.entry), [Edit(measured, None, "measured")])
    entry = ModelEntry.model_validate(tomllib.loads(text))
    case = run.case.model_copy(update={"entry": entry})
    verdict = RunResult.of(case, run.cold, run.warm, run.explanation).verdict
    assert (verdict.status, verdict.reasons) == (result.verdict.status, result.verdict.reasons)
    checked = [check for check in verdict.checks if check.id.startswith("expected:")]
    assert len(checked) == 9, json.dumps([check.id for check in checked])
    assert all(check.holds for check in checked)
    assert {check.id.split(":")[1] for check in checked} == set(StartKind)
