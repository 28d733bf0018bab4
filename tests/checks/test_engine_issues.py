"""Known issues of the engine are recognized, in any model, by the finding that explains them."""

from __future__ import annotations

from typing import Any

import pytest

from coldwarm.checks.verdict import Status, Verdict, judge
from coldwarm.core.depth import Depth
from coldwarm.core.finding import Finding, FindingKind
from tests.support.explanations import launch_finding, moe_finding
from tests.support.records import (
    LOADED,
    SAVED,
    VERSIONS,
    cold_facts,
    cold_record,
    compiler_work,
    expectation,
    known_issue,
    model_entry,
    warm_facts,
    warm_record,
)

MOE = "first-moe-layer-on-cpu"
LAUNCHES = "triton-kernel-index-in-graph"
MEASURED_WITH_IT: dict[str, Any] = {"expect": [expectation(shows=[MOE], cold={SAVED: 4}, warm={LOADED: 4})]}
NO_FINDING: list[Finding] = []


def run_of(saved: int, findings: list[Finding] | None, *, vllm: str = "0.32.0", **entry: Any) -> Verdict:
    """Judge a run of a model with one kind of layers, which allows 3 artifacts, as a bare config.json is judged."""
    versions = {**VERSIONS, "vllm": vllm}
    cold = cold_record(facts=cold_facts(counters={SAVED: saved}, versions=versions))
    warm = warm_record(facts=warm_facts(counters={LOADED: saved}, versions=versions))
    return judge(model_entry(layer_kinds=None, **entry), cold, warm, findings)


@pytest.mark.parametrize("vllm", ["0.30.0", "0.32.0", "0.40.0"])
def test_it_is_accepted_in_any_model_and_in_any_version_in_which_it_occurs(vllm: str) -> None:
    verdict = run_of(4, [moe_finding()], vllm=vllm)
    assert verdict.status is Status.KNOWN_ISSUE
    [broken] = [check for check in verdict.checks if not check.holds]
    assert (broken.id, broken.accepted_by, broken.artifacts_over_limit) == ("cold-only-unique", MOE, 1)
    [reason] = verdict.reasons
    assert reason.endswith("one more unique subgraph (coldwarm show first-moe-layer-on-cpu)")


def test_a_finding_that_an_older_version_stored_is_recognized() -> None:
    what = (
        "7 subgraphs of the same part of the model (MoE layer) were compiled as 2: `math_prod((s72, 256)) -> "
        "Sym(256*s72)` is computed in submod_2 and handed on to submod_4 as an input"
    )
    assert run_of(4, [moe_finding(what=what)]).status is Status.KNOWN_ISSUE


def test_it_is_accepted_with_any_settings() -> None:
    options = {"hf_overrides": {"num_hidden_layers": 4}}
    cold, warm = cold_record(counters={SAVED: 4}, options=options), warm_record(counters={LOADED: 4}, options=options)
    assert judge(model_entry(), cold, warm, [moe_finding()]).status is Status.KNOWN_ISSUE


def test_a_version_without_it_passes() -> None:
    verdict = run_of(3, NO_FINDING, vllm="0.28.0")
    assert (verdict.status, verdict.issues) == (Status.PASSED, [])


@pytest.mark.parametrize(
    ("saved", "findings", "message"),
    [
        (5, [moe_finding()], "accounts for 1 artifact, but the limit is exceeded by 2"),
        (4, [moe_finding(2)], "accounts for 2 artifacts, but the limit is exceeded by 1"),
        (5, [moe_finding(1), moe_finding(2)], "accounts for 3 artifacts, but the limit is exceeded by 2"),
        (4, [moe_finding(0)], "occurs, but the explanation does not say how many artifacts it accounts for"),
    ],
)
def test_any_other_surplus_fails_and_the_reason_gives_the_numbers(
    saved: int, findings: list[Finding], message: str
) -> None:
    verdict = run_of(saved, findings)
    assert verdict.status is Status.FAILED
    assert verdict.reasons[1].startswith(f"{MOE}: {message}")


def test_several_findings_account_for_their_sum() -> None:
    assert run_of(5, [moe_finding(), moe_finding()]).status is Status.KNOWN_ISSUE


@pytest.mark.parametrize(
    "finding",
    [
        moe_finding(kind=FindingKind.UNEXPLAINED),
        moe_finding(where="vllm/model_executor/layers/fused_moe/layer.py:1122"),
        moe_finding(where=None),
        moe_finding(what="7 subgraphs (MoE layer) compiled to 2 artifacts instead of 1: a constant that differs"),
        moe_finding(details=["a constant that differs is baked into the graph: 1.0 in submod_2, 1.5 in submod_4"]),
    ],
    ids=["kind", "file", "no file", "cause", "a second cause"],
)
def test_any_other_finding_is_not_recognized(finding: Finding) -> None:
    verdict = run_of(4, [finding])
    assert (verdict.status, verdict.issues, len(verdict.reasons)) == (Status.FAILED, [], 1)


def test_it_accepts_no_other_invariant() -> None:
    cold, warm = cold_record(counters={SAVED: 4}), warm_record(counters={LOADED: 4, SAVED: 1})
    verdict = judge(model_entry(), cold, warm, [moe_finding()])
    assert verdict.status is Status.FAILED
    assert verdict.reasons == ["warm start saved 1 artifact (expected 0)"]


@pytest.mark.parametrize("place", [{"device": "cuda"}, {"compilation": "shipped"}])
def test_it_is_not_considered_on_another_platform(place: dict[str, str]) -> None:
    cold, warm = cold_record(counters={SAVED: 4}, **place), warm_record(counters={LOADED: 4}, **place)
    verdict = judge(model_entry(), cold, warm, [moe_finding()])
    assert (verdict.status, verdict.issues) == (Status.FAILED, [])


def test_without_an_explanation_it_is_not_recognized_and_a_reason_reports_it() -> None:
    verdict = run_of(4, None)
    assert verdict.status is Status.FAILED
    unrecognized = "cannot be recognized, because the run was not explained"
    assert verdict.reasons[1:] == [f"{MOE}: {unrecognized}", f"{LAUNCHES}: {unrecognized}"]
    assert run_of(3, None).status is Status.PASSED


def test_a_trace_can_show_it() -> None:
    cold = cold_record(depth=Depth.TRACE, compiler_work=compiler_work(subgraphs_compiled=9, subgraphs_unique=4))
    assert judge(model_entry(), cold, None, [moe_finding()]).status is Status.KNOWN_ISSUE
    assert judge(model_entry(), cold, None, NO_FINDING).status is Status.FAILED


def test_if_measured_with_it_and_absent_it_is_unexpectedly_fixed() -> None:
    assert run_of(4, [moe_finding()], **MEASURED_WITH_IT).status is Status.KNOWN_ISSUE
    verdict = run_of(3, NO_FINDING, **MEASURED_WITH_IT)
    assert verdict.status is Status.UNEXPECTEDLY_FIXED
    reason, *counters = verdict.reasons
    assert reason.startswith(f"{MOE}: no longer occurs: cold start saved 3 artifacts")
    assert reason.endswith("remove it from `shows` in the model's expectation (`coldwarm show " + MOE + "`)")
    assert len(counters) == 2


def test_if_the_expectation_does_not_apply_it_is_not_reported_as_fixed() -> None:
    assert run_of(3, NO_FINDING, vllm="0.28.0", **MEASURED_WITH_IT).status is Status.PASSED


def test_within_the_limit_it_is_not_reported_as_fixed_while_it_occurs() -> None:
    verdict = run_of(3, [moe_finding()], expect=[expectation(shows=[MOE])])
    assert (verdict.status, verdict.issues) == (Status.PASSED, [])


@pytest.mark.parametrize(("saved", "status"), [(4, Status.KNOWN_ISSUE), (5, Status.FAILED)])
def test_an_explanation_stored_by_an_older_coldwarm_is_accepted_with_the_measured_count(
    saved: int, status: Status
) -> None:
    verdict = run_of(saved, [moe_finding(0)], **MEASURED_WITH_IT)
    [broken] = [check for check in verdict.checks if check.id == "cold-only-unique"]
    assert (verdict.status, broken.accepted_by) == (status, MOE if status is Status.KNOWN_ISSUE else None)
    assert run_of(saved, [moe_finding(0)]).status is Status.FAILED


def test_an_issue_of_the_model_comes_first() -> None:
    verdict = run_of(4, [moe_finding()], known_issue=[known_issue()])
    assert [issue.id for issue in verdict.issues] == ["one-too-many"]
    assert verdict.status is Status.KNOWN_ISSUE


@pytest.mark.parametrize(("torch", "vllm"), [("2.11.0+cu130", "0.26.0"), ("2.14.0+cu130", "0.33.0")])
def test_numbers_of_triton_launches_are_accepted_in_any_model(torch: str, vllm: str) -> None:
    # As in Qwen3.5, whose layers of full attention launch a kernel: two of nine subgraphs, one artifact too many.
    assert of_launches(4, [launch_finding(1)], torch=torch, vllm=vllm) == (Status.KNOWN_ISSUE, [LAUNCHES])
    # As in a server, which nobody asked to compile piecewise.
    as_shipped = of_launches(4, [launch_finding(1)], compilation="shipped", torch=torch, vllm=vllm)
    assert as_shipped == (Status.KNOWN_ISSUE, [LAUNCHES])
    # As in DeepSeek-V3.2, in a part of each kind of layer.
    findings = [launch_finding(2), launch_finding(3)]
    assert of_launches(8, findings, torch=torch, vllm=vllm) == (Status.KNOWN_ISSUE, [LAUNCHES])


@pytest.mark.parametrize(
    ("saved", "findings"),
    [
        (5, [launch_finding(1)]),
        (4, [launch_finding(2)]),
        (4, [launch_finding(1, details=["a constant that differs is baked into the graph: 1.0 in a, 2.0 in b"])]),
        (4, [launch_finding(1, what="2 subgraphs compiled to 2: a constant that differs is baked into the graph: 64")]),
    ],
    ids=["one more", "one fewer", "a second cause", "another constant"],
)
def test_what_the_numbers_of_launches_do_not_explain_fails(saved: int, findings: list[Finding]) -> None:
    assert of_launches(saved, findings, torch="2.14.0", vllm="0.33.0")[0] is Status.FAILED


def of_launches(
    saved: int, findings: list[Finding], *, compilation: str = "piecewise", **versions: str
) -> tuple[Status, list[str]]:
    """Judge a run on a GPU of a model with one kind of layers, which allows 3 artifacts; return the accepted issues."""
    where: dict[str, Any] = {"device": "cuda", "compilation": compilation}
    cold = cold_record(facts=cold_facts(counters={SAVED: saved}, versions={**VERSIONS, **versions}), **where)
    warm = warm_record(facts=warm_facts(counters={LOADED: saved}, versions={**VERSIONS, **versions}), **where)
    verdict = judge(model_entry(layer_kinds=None), cold, warm, findings)
    return verdict.status, [check.accepted_by for check in verdict.checks if check.accepted_by]
