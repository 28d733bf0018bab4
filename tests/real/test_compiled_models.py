"""Starts that compile several models: a target and its drafter."""

from __future__ import annotations

from typing import Any

import pytest

from tests.real.conftest import NEW_KINDS, PLUGIN, Shared
from tests.real.test_catalog_models import SAVED
from tests.support.release import FIRST_MOE_LAYER_IS_UNLIKE_OTHERS, RUNS_DRAFTERS

with_drafter = pytest.mark.skipif(not RUNS_DRAFTERS, reason="this release cannot verify drafted tokens on a CPU")


def only_unique(run: dict[str, Any]) -> dict[str, Any]:
    [check] = [check for check in run["verdict"]["checks"] if check["id"] == "cold-only-unique"]
    return dict(check)


def models(run: dict[str, Any]) -> list[tuple[str, int]]:
    return [(graph["name"], len(graph["groups"])) for graph in run["cold"]["compiler_work"]["graphs"]]


@with_drafter
def test_a_drafter_is_judged_by_its_own_layers(shared: Shared) -> None:
    drafted = shared.drafted.result()
    run = drafted.runs()["llama-3.1-8b"]
    [process] = run["cold"]["processes"]
    assert models(run) == [("backbone", 3), ("eagle_head", 3)]
    assert process["main_model"] == "backbone"
    [drafter] = process["further_models"]
    assert (drafter["name"], len(drafter["layer_configurations"])) == ("eagle_head", 5)
    # The first layer of an EAGLE drafter has no norm before its attention.
    assert [kind["layers"] for kind in drafter["layer_kinds"]] == [1, 4]
    assert [kind["layers"] for kind in process["layer_kinds"]] == [8]
    assert process["counters"][SAVED] == 6
    assert run["verdict"]["status"] == "passed", run["verdict"]["reasons"]
    assert only_unique(run)["is_checked"]
    assert drafted.exit_code == 0


@with_drafter
def test_layers_whose_output_a_drafter_reads_are_configured_in_another_way(shared: Shared) -> None:
    run = shared.counted.result().runs()["llama-3.1-8b-eagle3"]
    # EAGLE-3 reads the inputs of layers 2, 4 and 5 (of 8): the subgraphs that end there have one more output.
    assert models(run) == [("backbone", 4), ("eagle_head", 2)]
    [process] = run["cold"]["processes"]
    configurations = list(process["layer_configurations"].values())
    assert [number == configurations[0] for number in configurations] == [True, False, True, False, False, *[True] * 3]
    assert run["verdict"]["status"] == "passed", run["verdict"]["reasons"]


@with_drafter
def test_layers_that_draft_are_shrunk_with_their_model(shared: Shared) -> None:
    run = shared.counted.result().runs()["glm-4.5-mtp"]
    # vLLM does not compile the MTP layer of GLM-4.5 (glm4_moe_mtp.py has no support_torch_compile).
    assert models(run) == [("backbone", 4 + FIRST_MOE_LAYER_IS_UNLIKE_OTHERS)]
    assert run["case"]["entry"]["options"]["speculative_config"]["method"] == "mtp"
    expected = "known issue" if FIRST_MOE_LAYER_IS_UNLIKE_OTHERS else "passed"
    assert run["verdict"]["status"] == expected, run["verdict"]["reasons"]


@with_drafter
def test_a_number_burned_into_each_layer_of_a_drafter_fails(shared: Shared) -> None:
    burned = shared.burned_draft.result()
    run = burned.runs()["llama-3.1-8b"]
    assert models(run) == [("backbone", 3), ("eagle_head", 6)]
    check = only_unique(run)
    # The first layer is configured in another way; the other three subgraphs could share.
    assert (check["holds"], check["artifacts_over_limit"]) == (False, 2)
    assert "backbone: 3, expected at most 3" in check["words"] and "eagle_head: 6, expected at most 4" in check["words"]
    [finding] = run["explanation"]["findings"]
    assert finding["where"].startswith(str(PLUGIN / "layer_scale.py"))
    assert (finding["model"], " of eagle_head compiled to " in finding["what"]) == (1, True)
    assert burned.exit_code == 1


@pytest.mark.skipif(RUNS_DRAFTERS, reason="this release runs drafters, and the other tests check them")
def test_models_with_a_drafter_that_the_release_cannot_run_are_unsupported(shared: Shared) -> None:
    counted = shared.counted.result()
    for model in NEW_KINDS:
        verdict = counted.runs()[model]["verdict"]
        assert verdict["status"] == "unsupported", verdict["reasons"]
        assert "cannot verify the tokens of a drafter" in verdict["reasons"][0]
    assert counted.exit_code == 0
