"""Finds all known issues of a catalog, with the models that declare them and the pages about them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from coldwarm.catalog.catalog import PACKAGED, Catalog, CatalogModel, is_file
from coldwarm.catalog.engine_issues import EngineIssue, engine_issues
from coldwarm.core.issue_reference import is_url
from coldwarm.core.model_entry import KnownIssue

LINKED_FOLDER = "docs/known-issues"
"""Where links of the packaged catalog lead, relative to a checkout."""
PAGES_IN_CHECKOUT = PACKAGED.parents[3] / LINKED_FOLDER
PAGES_IN_WHEEL = Path(__file__).parent / "known_issue_pages"
"""Where pyproject.toml has the wheel put the same pages."""


@dataclass(frozen=True)
class DeclaredIssue:
    """A known issue, with all models that declare it alike. Others may declare it with another title or conditions."""

    issue: EngineIssue | KnownIssue
    page: Path | None
    """The file of the page about it; None: it has a URL, or there is no such file."""
    models: tuple[CatalogModel, ...] = ()
    """The models that declare it; empty: it is of the engine."""

    @property
    def breaks(self) -> tuple[str, ...]:
        """The ids of the invariants that it breaks."""
        return self.issue.breaks if isinstance(self.issue, KnownIssue) else (self.issue.breaks,)


def declared_issues(catalog: Catalog) -> list[DeclaredIssue]:
    """Return the known issues of the engine, and then those of the models in the `catalog`."""
    found = [DeclaredIssue(issue, _page(issue.link, None)) for issue in engine_issues()]
    alike: dict[object, tuple[KnownIssue, Path | None, list[CatalogModel]]] = {}
    for model in catalog.models():
        for issue in model.entry.known_issue:
            page = _page(issue.link, model)
            shown = issue.id, issue.title, issue.link, str(issue.when), issue.breaks, page
            alike.setdefault(shown, (issue, page, []))[-1].append(model)
    return [*found, *(DeclaredIssue(issue, page, tuple(models)) for issue, page, models in alike.values())]


def _page(link: str, model: CatalogModel | None) -> Path | None:
    """Return the file to which the link of a known issue of `model`, or of the engine, leads; None: there is none."""
    if is_url(link):
        return None
    files = [] if model is None or model.is_packaged else [model.path.parent / link]
    if Path(link).parent == Path(LINKED_FOLDER):
        files += [folder / Path(link).name for folder in (PAGES_IN_WHEEL, PAGES_IN_CHECKOUT)]
    return next(filter(is_file, files), None)
