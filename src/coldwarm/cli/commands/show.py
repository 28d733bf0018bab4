"""`coldwarm show`: shows a model of the catalog, a stored run, or a known issue."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coldwarm.cli.options import CatalogOption, DeviceChoice
from coldwarm.cli.results import print_markdown, stdout
from coldwarm.core.errors import UsageError, unreadable_as_usage_error

if TYPE_CHECKING:
    from coldwarm.catalog.catalog import Catalog, CatalogModel


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RUN|ISSUE",
            help="Show the model of this id or path, what is stored in this folder, or the known issue of this id.",
        ),
    ],
    write: Annotated[
        Path | None,
        typer.Option(
            "--write",
            metavar="DIR",
            help="Write the config.json of the shrunk model to this folder, and the other files that its entry names. "
            "Any command can then start it with random weights.",
        ),
    ] = None,
    device: Annotated[
        DeviceChoice | None,
        typer.Option(
            metavar="cpu|cuda", help="With --write: for this device.", show_default="what the engine was built for"
        ),
    ] = None,
    catalog: CatalogOption = None,
) -> None:
    """Show a model of the catalog, the checks of a stored run, or a known issue.

    For a model: how it is started, how it deviates from the published config and why, and its expected counters. For a
    run: its checks, phases, caches, versions and warnings. For a known issue: its conditions, what it breaks, which
    models declare it, and the page about it.

    Examples:
      coldwarm show glm-4.5                  # a model
      coldwarm show glm-4.5 --write glm      # a folder for 'vllm serve glm'
      coldwarm show coldwarm-runs/X          # all runs of a suite
      coldwarm show coldwarm-runs/X/glm-4.5  # one run
      coldwarm show kernels-tuned-again      # a known issue
    """
    from coldwarm.catalog.catalog import Catalog, is_file
    from coldwarm.core.run_folder import RunFolder, SuiteFolder
    from coldwarm.report.run_view import print_run
    from coldwarm.report.summary import RunSummary
    from coldwarm.suite.stored import judge_stored

    folder = Path(what)
    if device is not None and write is None:
        raise UsageError("--device is for the model that --write writes; add --write DIR")
    if write is not None:
        _write(Catalog.read(catalog or []).resolve(what), write, device)
    elif is_file(SuiteFolder(folder).suite) or is_file(RunFolder(folder).case):
        for result in judge_stored(folder, Catalog.read(catalog or [])):
            print_run(stdout(), RunSummary.of(result))
    else:
        _print_named(what, Catalog.read(catalog or []), has_own_models=bool(catalog))


def _print_named(word: str, catalog: Catalog, *, has_own_models: bool) -> None:
    """Print the model that `word` names, or the known issue that has this id.

    Raises:
        CatalogError: The file of the model cannot be used.
        UsageError: There is neither, or the page about the issue cannot be read.
    """
    from coldwarm.catalog.declared_issues import declared_issues
    from coldwarm.report.catalog_view import print_issues, print_model

    issues = declared_issues(catalog)
    named = [declared for declared in issues if declared.issue.id == word]
    if (model := catalog.find(word)) is not None:
        print_model(stdout(), model)
        return
    if not named:
        # Verdicts name the command without the folder.
        hint = "" if has_own_models else "\n  for a known issue of your own catalog, add --catalog DIR"
        raise UsageError(f"{catalog.unknown(word, {declared.issue.id for declared in issues})}{hint}")
    pages = dict.fromkeys(declared.page for declared in named if declared.page is not None)
    with unreadable_as_usage_error():
        texts = [page.read_text(encoding="utf-8", errors="replace") for page in pages]
    print_issues(stdout(), named)
    for text in texts:
        stdout().print()
        print_markdown(f"{text.rstrip()}\n")


def _write(model: CatalogModel, folder: Path, device: str | None) -> None:
    """Write the startable folder of `model`, and print how to start it.

    Raises:
        UsageError: The device cannot run the model, or the folder has files of another one or cannot be written.
    """
    from coldwarm.suite.startable import write_startable

    startable = write_startable(model, folder, device)
    # On a CPU, vLLM compiles piecewise only if asked to.
    piecewise = "--compilation piecewise " if startable.device == "cpu" else ""
    stdout().print(f"wrote {folder / 'config.json'}; for example:", soft_wrap=True)
    stdout().print(f"  coldwarm run {piecewise}-- {shlex.join(startable.command)}", soft_wrap=True)
