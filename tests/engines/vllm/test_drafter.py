from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from coldwarm.core.request import StartRequest
from coldwarm.engines.vllm.drafter import with_drafter

PUBLISHED = {"hidden_size": 4096, "text_config": {"num_hidden_layers": 92, "head_dim": 128}}
SHRUNK = {"hidden_size": 256, "text_config": {"num_hidden_layers": 8, "head_dim": 128}}


@pytest.fixture
def request_(tmp_path: Path) -> StartRequest:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED))
    return StartRequest(
        engine="vllm",
        device="cpu",
        compilation="piecewise",
        model_folder=tmp_path,
        overrides={"hidden_size": 256, "text_config": {"num_hidden_layers": 8}},
        options={},
        result=tmp_path / "result",
        reports=tmp_path,
        launcher_pid=1,
        events_fd=1,
    )


def speculative(**values: Any) -> dict[str, Any]:
    return {"seed": 0, "speculative_config": values}


@pytest.mark.parametrize("method", ["mtp", "deepseek_mtp", "dspark"])
def test_layers_of_the_main_model_that_draft_are_shrunk_with_it(request_: StartRequest, method: str) -> None:
    options = with_drafter(speculative(method=method, num_speculative_tokens=1), request_)
    folder = options["speculative_config"].pop("model")
    assert options == speculative(method=method, num_speculative_tokens=1)
    assert json.loads((Path(folder) / "config.json").read_text()) == SHRUNK
    assert Path(folder).parent == request_.model_folder


def test_a_separate_drafter_is_started_with_its_own_config(request_: StartRequest) -> None:
    request = request_.model_copy(update={"drafter": {"hidden_size": 64}})
    options = with_drafter(speculative(method="eagle3"), request)
    folder = Path(options["speculative_config"]["model"])
    assert json.loads((folder / "config.json").read_text()) == {"hidden_size": 64}
    assert with_drafter(speculative(method="eagle3"), request) == options, "the warm start has the same folder"


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 0},
        speculative(method="mtp", model="/mine"),
        speculative(method="ngram"),
        speculative(num_speculative_tokens=1),
    ],
)
def test_other_options_stay_as_they_are(request_: StartRequest, options: dict[str, Any]) -> None:
    assert with_drafter(options, request_) == options
    assert not (request_.model_folder / "drafter").exists()
