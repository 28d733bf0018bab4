from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from coldwarm.catalog import declared_issues as module
from coldwarm.catalog.catalog import PACKAGED, Catalog
from coldwarm.catalog.declared_issues import (
    LINKED_FOLDER,
    PAGES_IN_CHECKOUT,
    PAGES_IN_WHEEL,
    DeclaredIssue,
    declared_issues,
)
from coldwarm.catalog.engine_issues import engine_issues
from tests.support.records import catalog_model, known_issue, model_entry

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packaged() -> list[DeclaredIssue]:
    return declared_issues(Catalog.read())


def with_id(issues: list[DeclaredIssue], issue_id: str) -> list[DeclaredIssue]:
    return [declared for declared in issues if declared.issue.id == issue_id]


def issues_of(folder: Path, **models: dict[str, str]) -> list[DeclaredIssue]:
    """Return the known issues of these models, one each, in the catalog `folder`."""
    catalog = Catalog(
        catalog_model(model_entry(id=model, known_issue=[known_issue(**issue)]), path=folder / f"{model}.toml")
        for model, issue in models.items()
    )
    return declared_issues(catalog)[len(engine_issues()) :]


def test_the_wheel_has_the_pages() -> None:
    build = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    sources = PACKAGED.parents[2]
    included = {LINKED_FOLDER: PAGES_IN_WHEEL.relative_to(sources).as_posix()}
    assert build["targets"]["wheel"]["force-include"] == included
    assert PAGES_IN_CHECKOUT.samefile(REPOSITORY / LINKED_FOLDER)
    # The pages of a checkout are in one place only.
    assert not PAGES_IN_WHEEL.exists()


def test_each_link_of_the_packaged_catalog_is_a_url_or_leads_to_a_page_in_the_wheel(
    packaged: list[DeclaredIssue],
) -> None:
    pages = {f"{LINKED_FOLDER}/{path.name}": path for path in (REPOSITORY / LINKED_FOLDER).glob("*.md")}
    for declared in packaged:
        link = declared.issue.link
        assert link.startswith("https://") or link in pages, declared.issue.id
        assert declared.page == pages.get(link)
    assert pages.keys() <= {declared.issue.link for declared in packaged}


def test_issues_of_the_engine_have_no_models(packaged: list[DeclaredIssue]) -> None:
    assert {declared.issue.id for declared in packaged if not declared.models} == {each.id for each in engine_issues()}
    [launches] = with_id(packaged, "triton-kernel-index-in-graph")
    assert launches.breaks == ("cold-only-unique",)


def test_models_that_declare_an_issue_alike_are_together(packaged: list[DeclaredIssue], tmp_path: Path) -> None:
    [apart] = with_id(packaged, "grouped-topk-compiled-apart")
    [once] = with_id(packaged, "grouped-topk-compiled-apart-once")
    assert [model.entry.id for model in apart.models] == ["glm-4.5", "kimi-k2.5"]
    assert apart.page == once.page
    assert apart.issue.when != once.issue.when
    one, two = issues_of(tmp_path, a={}, b={"title": "another"}, c={})
    assert [[model.entry.id for model in each.models] for each in (one, two)] == [["a", "c"], ["b"]]


def test_in_an_installed_wheel_a_page_is_beside_the_catalog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGES_IN_WHEEL", tmp_path)
    (tmp_path / "kernels-tuned-again.md").write_text("# kernels-tuned-again\n")
    issues = declared_issues(Catalog.read())
    assert [each.page for each in with_id(issues, "kernels-tuned-again")] == [tmp_path / "kernels-tuned-again.md"]
    [launches] = with_id(issues, "triton-kernel-index-in-graph")
    assert launches.page == PAGES_IN_CHECKOUT / "triton-kernel-index-in-graph.md"


def test_a_page_of_a_users_catalog_is_in_its_folder(tmp_path: Path) -> None:
    own = tmp_path / "known-issues" / "own.md"
    own.parent.mkdir()
    own.write_text("# own\n")
    assert [each.page for each in issues_of(tmp_path, a={"link": "known-issues/own.md"})] == [own]
    assert [each.page for each in issues_of(tmp_path, a={"link": "known-issues/kernels-tuned-again.md"})] == [None]
    # Copied from the packaged catalog.
    link = f"{LINKED_FOLDER}/kernels-tuned-again.md"
    assert [each.page for each in issues_of(tmp_path, a={"link": link})] == [REPOSITORY / link]
    assert [each.page for each in issues_of(tmp_path, a={})] == [None]
