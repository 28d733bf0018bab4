"""Shows the catalog: all models in a table, one model in full."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from coldwarm.catalog.catalog import CatalogModel
from coldwarm.catalog.declared_issues import DeclaredIssue
from coldwarm.catalog.engine_issues import ENGINE_ISSUES, engine_issues
from coldwarm.core.conditions import DEVICES
from coldwarm.core.issue_reference import is_url, reference
from coldwarm.core.model_entry import Deviation, ModelEntry, Shrink


def models_as_table(models: list[CatalogModel]) -> Table:
    """Return a table with a row for each of `models`."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("model", "architecture", "layer kinds", *DEVICES, "run by default"):
        table.add_column(heading)
    for model in models:
        entry = model.entry
        table.add_row(
            entry.id,
            Text(model.config["architectures"][0]),
            Text(", ".join(entry.layer_kinds) if entry.layer_kinds else "derived"),
            *(_support(entry, device) for device in DEVICES),
            "yes" if entry.representative or not model.is_packaged else "no",
        )
    issues = ", ".join(f"{issue.id} ({issue.when})" for issue in engine_issues())
    table.caption = Text(f"known issues of the engine, accepted for every model in which they occur: {issues}")
    table.caption_justify = "left"
    return table


def models_as_json(models: list[CatalogModel]) -> str:
    """Return the entries of `models` as a JSON array."""
    return json.dumps([model.entry.model_dump(mode="json") for model in models], indent=2)


def print_model(console: Console, model: CatalogModel) -> None:
    """Print the whole catalog entry of `model`."""
    entry, line = model.entry, _lines_of(console)
    line(f"{entry.id}: {entry.name} ({', '.join(model.config['architectures'])})")
    line(f"  entry   {model.path}")
    line(f"  config  {model.config_path}")
    line(f"  source  {entry.source}")
    if entry.source_note:
        line(f"          {entry.source_note}")
    if entry.options:
        line(f"  options  {json.dumps(entry.options)}")
    if entry.drafter is not None:
        line(f"  drafter  {entry.drafter.config}, published at {entry.drafter.source}")
        if entry.drafter.source_note:
            line(f"           {entry.drafter.source_note}")
        _print_changes(line, "  drafter ", entry.drafter.shrink, entry.drafter.deviation)
    line(f"  layer kinds  {', '.join(entry.layer_kinds) if entry.layer_kinds else 'derived from the started model'}")
    _print_changes(line, "  ", entry.shrink, entry.deviation)
    for unsupported in entry.unsupported:
        line(f"  unsupported {_on(unsupported.devices)}: {unsupported.reason}")
    for expectation in entry.expect:
        line(f"  expected if {expectation.when} (measured: {expectation.measured})")
        for kind, counters in (("cold", expectation.cold), ("warm", expectation.warm)):
            for name, count in counters.items():
                line(f"    {kind} {name} = {count}")
        if expectation.shows:
            line(f"    with the known issue of the engine: {', '.join(expectation.shows)}")
    for issue in entry.known_issue:
        line(f"  known issue if {issue.when}: {issue.title}")
        line(f"    {issue.id}, breaks {', '.join(issue.breaks)}, {reference(issue)}")
    for each in engine_issues():
        line(f"  known issue of the engine if {each.when}, for every model in which it occurs: {each.title}")
        line(f"    {each.id}, breaks {each.breaks}, {reference(each)}; declared in {ENGINE_ISSUES}")


def print_issues(console: Console, issues: Sequence[DeclaredIssue]) -> None:
    """Print known issues, without the pages about them."""
    line = _lines_of(console)
    for number, declared in enumerate(issues):
        issue = declared.issue
        if number:
            line("")
        of_engine = f"the engine, for every model in which it occurs; declared in {ENGINE_ISSUES}"
        is_missing = declared.page is None and not is_url(issue.link)
        line(f"{issue.id}: {issue.title}")
        line(f"  of      {', '.join(model.entry.id for model in declared.models) or of_engine}")
        line(f"  if      {issue.when}")
        line(f"  breaks  {', '.join(declared.breaks)}")
        line(f"  link    {issue.link}{' (no such file)' if is_missing else ''}")


def _lines_of(console: Console) -> Callable[[str], None]:
    """Return a function that prints a line of text literally."""

    def line(text: str) -> None:
        console.print(text, markup=False, emoji=False, highlight=False, soft_wrap=True)

    return line


def _print_changes(
    line: Callable[[str], None], indent: str, shrinks: Sequence[Shrink], deviations: Sequence[Deviation]
) -> None:
    for shrink in shrinks:
        where = ", in the config" if shrink.edits_config else ""
        line(f"{indent}shrunk {_on(shrink.devices)}{where}: {json.dumps(shrink.overrides)}")
        line(f"    reason: {shrink.reason}")
    for deviation in deviations:
        edits = [f"only its {deviation.use}"] if deviation.use else []
        edits += [f"without {key}" for key in deviation.remove]
        edits += [f"{key} = {json.dumps(value)}" for key, value in deviation.set.items()]
        line(f"{indent}deviates {_on(deviation.devices)}: {', '.join(edits)}")
        line(f"    reason: {deviation.reason}")


def _on(devices: tuple[str, ...]) -> str:
    return f"on {' and '.join(devices)}" if devices else "everywhere"


def _support(entry: ModelEntry, device: str) -> str:
    if entry.unsupported_on(device, "piecewise"):
        return "unsupported"
    return "deviates" if any(deviation.applies_to(device) for deviation in entry.deviation) else "as published"
