from __future__ import annotations

import json

import pytest

from coldwarm.catalog.catalog import Catalog, CatalogModel
from coldwarm.core.issue_reference import reference
from coldwarm.report.catalog_view import models_as_json, models_as_table, print_model
from tests.report.consoles import Paper
from tests.support.records import catalog_model, expectation, model_entry


@pytest.fixture(scope="module")
def models() -> list[CatalogModel]:
    return Catalog.read().models()


def table(models: list[CatalogModel]) -> list[str]:
    paper = Paper()
    paper.console.print(models_as_table(models))
    return paper.lines


def test_the_table_has_a_row_for_each_model(models: list[CatalogModel]) -> None:
    header, *rows = table(models)
    assert header.split("  ")[0].strip() == "model"
    assert [row.split()[0] for row in rows[: len(models)]] == [model.entry.id for model in models]


def test_the_table_ends_with_the_known_issues_of_the_engine(models: list[CatalogModel]) -> None:
    caption = " ".join(" ".join(table(models)[len(models) + 1 :]).split())
    assert caption == (
        "known issues of the engine, accepted for every model in which they occur: "
        "first-moe-layer-on-cpu (cpu, piecewise), cute-dsl-kernels-are-not-cached (cuda, vllm ~=0.33.0), "
        "cute-dsl-kernels-compiled-twice (cuda, vllm ~=0.33.0), "
        "grouped-topk-misses-its-cache (cuda, vllm ~=0.33.0), "
        "kernels-compiled-at-the-first-request (cuda, vllm >=0.26,<0.34), "
        "triton-kernel-index-in-graph (torch >=2.11)"
    )


def test_a_model_is_shown_with_the_known_issues_of_the_engine_and_their_file() -> None:
    paper = Paper()
    print_model(paper.console, catalog_model(model_entry(expect=[expectation(shows=["first-moe-layer-on-cpu"])])))
    assert "    with the known issue of the engine: first-moe-layer-on-cpu\n" in paper.text
    issues = [line for line in paper.text.splitlines() if ", breaks " in line]
    assert issues[0].startswith(
        "    first-moe-layer-on-cpu, breaks cold-only-unique, coldwarm show first-moe-layer-on-cpu; "
    )
    assert issues[1].startswith(
        "    cute-dsl-kernels-are-not-cached, breaks warm-no-compiler, coldwarm show cute-dsl-kernels-are-not-cached; "
    )
    assert all(issue.endswith("catalog/known_issues.toml") for issue in issues)


def test_the_table_shows_on_which_devices_a_model_can_run() -> None:
    entry = model_entry(
        layer_kinds=None,
        unsupported=[{"reason": "r", "devices": ["cuda"]}],
        deviation=[{"reason": "r", "devices": ["cpu"], "set": {"a": 1}}],
    )
    _, row, *_ = table([catalog_model(entry)])
    assert row.split() == ["tiny", "LlamaForCausalLM", "derived", "deviates", "unsupported", "yes"]
    assert table([catalog_model()])[1].count("as published") == 2


def test_layer_kinds_are_shown_literally() -> None:
    assert "MoE [shared], :b:" in table([catalog_model(model_entry(layer_kinds=["MoE [shared]", ":b:"]))])[1]


def test_the_json_of_the_catalog_lists_its_entries(models: list[CatalogModel]) -> None:
    assert [entry["id"] for entry in json.loads(models_as_json(models))] == [model.entry.id for model in models]


def test_every_model_can_be_shown_in_full(models: list[CatalogModel]) -> None:
    for model in models:
        paper = Paper()
        print_model(paper.console, model)
        entry = model.entry
        assert paper.text.startswith(f"{entry.id}: {entry.name} ({model.config['architectures'][0]}")
        for reason in [
            *(shrink.reason for shrink in entry.shrink),
            *(deviation.reason for deviation in entry.deviation),
            *(unsupported.reason for unsupported in entry.unsupported),
            *(row.measured for row in entry.expect),
            *(reference(issue) for issue in entry.known_issue),
        ]:
            assert reason in paper.text
