"""The packaged catalog: its files must be consistent."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest

from coldwarm.catalog.catalog import PACKAGED, CatalogModel, read_model
from coldwarm.catalog.engine_issues import engine_issues
from coldwarm.catalog.preparing import config_for, overrides_for
from coldwarm.checks.expectations import is_reported_at
from coldwarm.checks.verdict import context_of
from coldwarm.core.conditions import RunContext
from coldwarm.core.invariant_ids import InvariantId
from coldwarm.core.model_entry import Expectation, KnownIssue, ModelEntry
from coldwarm.store.suite_folder import StoredRun, read_runs
from tests.support.records import LOADED, MISSES, SAVED, SEEN

RECORDS = Path(__file__).parents[2] / "records"
REPOSITORY = Path(__file__).parents[2]
HERE = RunContext(
    device="cpu", compilation="piecewise", aot_artifact="bundled", versions={"torch": "2.13.0+cpu", "vllm": "0.32.0"}
)

pytestmark = pytest.mark.parametrize("file", sorted(PACKAGED.glob("*.toml")), ids=lambda file: file.stem)


@cache
def kept_runs() -> list[StoredRun]:
    return [run for suite in sorted(RECORDS.glob("*/suite.json")) for run in read_runs(suite.parent)]


@cache
def read(file: Path) -> CatalogModel:
    return read_model(file)


@pytest.fixture
def model(file: Path) -> CatalogModel:
    return read(file)


def test_its_file_is_named_after_it(model: CatalogModel, file: Path) -> None:
    assert model.entry.id == file.stem
    # Options of the engine make another model of the same config: one with a drafter.
    assert model.entry.options or model.entry.id == model.config_path.stem
    assert model.entry.id.startswith(model.config_path.stem)


def test_it_names_the_source_of_its_config(model: CatalogModel, file: Path) -> None:
    entry = model.entry
    assert entry.source.startswith("https://")
    assert entry.name and entry.source_note.strip()
    if entry.drafter is not None:
        assert entry.drafter.source.startswith("https://") and entry.drafter.source_note.strip()


def test_its_configs_are_listed_with_their_sources(model: CatalogModel, file: Path) -> None:
    listed = (PACKAGED.parent / "configs/README.md").read_text()
    names = [model.config_path.name, *([Path(model.entry.drafter.config).name] if model.entry.drafter else [])]
    assert all(f"| `{name}` |" in listed for name in names)


def test_every_change_of_the_published_model_has_a_reason(model: CatalogModel, file: Path) -> None:
    entry = model.entry
    assert entry.shrink
    drafter = entry.drafter
    reasons = [
        *(shrink.reason for shrink in (*entry.shrink, *(drafter.shrink if drafter else ()))),
        *(deviation.reason for deviation in entry.deviation),
        *(unsupported.reason for unsupported in entry.unsupported),
    ]
    assert all(len(reason) > 20 for reason in reasons)


def test_its_deviations_and_overrides_match_its_config(model: CatalogModel, file: Path) -> None:
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
        # The only key that is not in a config is MiniMax's n_routed_experts, as in vLLM's own test.
        assert overrides.keys() - config.keys() <= {"n_routed_experts"}


def test_a_representative_model_has_an_expectation(model: CatalogModel, file: Path) -> None:
    if model.entry.representative:
        assert any(expectation.when.matches(HERE) for expectation in model.entry.expect)


def issues_of(entry: ModelEntry, expectation: Expectation) -> list[KnownIssue]:
    """Return the known issues that apply whenever `expectation` does."""
    place = expectation.when.model_dump(exclude_none=True).items()
    return [issue for issue in entry.known_issue if issue.when.model_dump(exclude_none=True).items() <= place]


def test_every_expectation_breaks_only_invariants_that_known_issues_accept(model: CatalogModel, file: Path) -> None:
    entry = model.entry
    for expectation in entry.expect:
        assert expectation.measured
        # At depth count, neither times nor PyTorch's own counters mean anything.
        is_counted = "--depth count" in expectation.measured
        # Bundled artifacts were never timed on a GPU with forked starts; the times of separate ones are used.
        timed_with_separate = (expectation.when.device, expectation.when.aot_artifact) == ("cuda", "bundled")
        assert (expectation.seconds is None) == is_counted or timed_with_separate
        assert is_counted == (MISSES not in expectation.cold) == (MISSES not in expectation.warm)
        excused = {invariant for issue in issues_of(entry, expectation) for invariant in issue.breaks}
        excused |= {issue.breaks for issue in engine_issues() if issue.id in expectation.shows}
        cold, warm = expectation.cold, expectation.warm
        # Some releases do not compile the model with torch.compile, and blocks of an encoder share artifacts.
        assert cold[SAVED] >= 1 or cold[SEEN] == 0
        assert cold[LOADED] == 0 or "compilation_config" in entry.options
        assert is_counted or cold[MISSES] >= cold[SAVED]
        if entry.layer_kinds is not None:
            assert (cold[SAVED] > len(entry.layer_kinds) + 2) == (InvariantId.ONLY_UNIQUE in excused)
        assert (warm[SAVED] > 0) == (InvariantId.SAVES_NOTHING in excused)
        assert (warm[LOADED] != cold[SAVED] + cold[LOADED]) == (InvariantId.LOADS_ALL in excused)
        assert is_counted or (warm[MISSES] > 0) == (InvariantId.NO_COMPILER in excused)


def test_a_known_issue_matches_the_expectations_for_the_same_conditions(model: CatalogModel, file: Path) -> None:
    for issue in model.entry.known_issue:
        expectations = [e for e in model.entry.expect if issue in issues_of(model.entry, e)]
        assert expectations
        assert issue.cold or issue.warm or issue.rewrites
        for expectation in expectations:
            assert issue.cold.items() <= expectation.cold.items()
            assert issue.warm.items() <= expectation.warm.items()


def test_expected_counters_on_a_gpu_are_those_of_the_stored_runs(model: CatalogModel, file: Path) -> None:
    matched = dict.fromkeys((number for number, e in enumerate(model.entry.expect) if e.when.device == "cuda"), 0)
    for run in kept_runs():
        if run.case.model_id != model.entry.id or run.case.device != "cuda":
            continue
        assert run.cold and run.warm and run.cold.facts and run.warm.facts
        here = context_of(run.cold)
        for number, expectation in ((n, e) for n, e in enumerate(model.entry.expect) if e.when.matches(here)):
            for expected, record in ((expectation.cold, run.cold), (expectation.warm, run.warm)):
                assert record.facts
                counters = record.facts.counters
                reported = {
                    name: count for name, count in expected.items() if is_reported_at(name, record.depth, counters)
                }
                assert SAVED in reported
                assert reported.items() <= counters.items()
            matched[number] += 1
    assert all(matched.values())


def test_times_on_a_gpu_are_those_of_a_stored_run(model: CatalogModel, file: Path) -> None:
    times = [
        (round(run.cold.seconds, 1), round(run.warm.seconds, 1))
        for run in kept_runs()
        if run.case.model_id == model.entry.id and run.cold and run.warm
    ]
    for seconds in (row.seconds for row in model.entry.measured("cuda", None)):
        assert seconds is None or (seconds.cold, seconds.warm) in times


def test_a_known_issue_links_to_an_existing_page(model: CatalogModel, file: Path) -> None:
    for issue in model.entry.known_issue:
        assert issue.title
        assert issue.link.startswith("https://") or (REPOSITORY / issue.link).is_file()
