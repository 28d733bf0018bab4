"""The packaged catalog: what its files claim must fit together."""

from __future__ import annotations

from pathlib import Path

import pytest

from coldwarm.catalog.catalog import PACKAGED, CatalogModel, read_model
from coldwarm.catalog.conditions import Circumstances
from coldwarm.catalog.preparing import config_for, overrides_for
from coldwarm.verdict.invariant_ids import InvariantId
from tests.support.records import LOADED, MISSES, SAVED

REPOSITORY = Path(__file__).parents[2]
HERE = Circumstances(device="cpu", compilation="piecewise", versions={"torch": "2.13.0+cpu", "vllm": "0.32.0"})

pytestmark = pytest.mark.parametrize("file", sorted(PACKAGED.glob("*.toml")), ids=lambda file: file.stem)


@pytest.fixture
def model(file: Path) -> CatalogModel:
    return read_model(file)


def test_its_file_is_named_after_it(model: CatalogModel, file: Path) -> None:
    assert model.entry.id == file.stem == model.config_path.stem


def test_it_says_where_its_facts_are_from(model: CatalogModel, file: Path) -> None:
    entry = model.entry
    assert entry.source.startswith("https://")
    assert entry.name and entry.source_note.strip() and entry.layer_kinds
    assert len(set(entry.layer_kinds)) == len(entry.layer_kinds)


def test_every_change_of_the_published_model_has_a_reason(model: CatalogModel, file: Path) -> None:
    entry = model.entry
    assert entry.shrink
    reasons = [
        *(shrink.reason for shrink in entry.shrink),
        *(deviation.reason for deviation in entry.deviation),
        *(unsupported.reason for unsupported in entry.unsupported),
    ]
    assert all(len(reason) > 20 for reason in reasons)


def test_its_deviations_and_overrides_fit_its_config(model: CatalogModel, file: Path) -> None:
    for device in ("cpu", "cuda"):
        if model.entry.unsupported_on(device, "piecewise"):
            continue
        config = config_for(model, device)
        assert config["architectures"]
        overrides = overrides_for(model, device)
        while isinstance(inner := overrides.get("text_config"), dict):
            config, overrides = config["text_config"], inner
        raised = {key: value for key, value in overrides.items() if value > config.get(key, value)}
        assert not raised
        # MiniMax's n_routed_experts, as in vLLM's own test, is the one key that its config lacks.
        assert overrides.keys() - config.keys() <= {"n_routed_experts"}


def test_it_runs_somewhere_or_says_why_not(model: CatalogModel, file: Path) -> None:
    if model.entry.unsupported_on("cpu", "piecewise") is None:
        assert any(expectation.when.hold(HERE) for expectation in model.entry.expect)


def test_every_expectation_is_consistent_and_says_when_it_was_measured(model: CatalogModel, file: Path) -> None:
    for expectation in model.entry.expect:
        assert expectation.measured
        cold, warm = expectation.cold, expectation.warm
        assert cold[SAVED] >= 1 and cold[LOADED] == 0
        assert warm[SAVED] == 0 and warm[LOADED] == cold[SAVED]
        assert cold[MISSES] >= cold[SAVED] and warm[MISSES] == 0


def test_an_expectation_breaks_no_invariant_that_no_known_issue_excuses(model: CatalogModel, file: Path) -> None:
    entry = model.entry
    assert entry.layer_kinds is not None
    for expectation in entry.expect:
        excused = {
            invariant for issue in entry.known_issue if issue.when == expectation.when for invariant in issue.breaks
        }
        breaks_it = expectation.cold[SAVED] > len(entry.layer_kinds) + 2
        assert breaks_it == (InvariantId.ONLY_UNIQUE in excused)


def test_a_known_issue_looks_like_the_expectation_of_the_same_place(model: CatalogModel, file: Path) -> None:
    for issue in model.entry.known_issue:
        [expectation] = [e for e in model.entry.expect if e.when == issue.when]
        assert issue.cold or issue.warm
        assert issue.cold.items() <= expectation.cold.items()
        assert issue.warm.items() <= expectation.warm.items()


def test_a_known_issue_links_to_a_page_that_exists(model: CatalogModel, file: Path) -> None:
    for issue in model.entry.known_issue:
        assert issue.title
        assert issue.link.startswith("https://") or (REPOSITORY / issue.link).is_file()
