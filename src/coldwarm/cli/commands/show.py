"""`coldwarm show`: shows a model of the catalog, or a stored run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coldwarm.cli.options import CatalogOption, DeviceChoice
from coldwarm.cli.results import stdout
from coldwarm.core.errors import UsageError

if TYPE_CHECKING:
    from coldwarm.catalog.catalog import CatalogModel


def show(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MODEL|RUN", help="Show the model of this id or path, or what is stored in this folder."
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
    """Show a model of the catalog, or the checks of a stored run.

    For a model: how it is started, how it deviates from the published config and why, and its expected counters. For a
    run: its checks, phases, caches, versions and warnings.

    Examples:
      coldwarm show glm-4.5                  # a model
      coldwarm show glm-4.5 --write glm      # a folder for 'vllm serve glm'
      coldwarm show coldwarm-runs/X          # all runs of a suite
      coldwarm show coldwarm-runs/X/glm-4.5  # one run
    """
    from coldwarm.catalog.catalog import Catalog, is_file
    from coldwarm.core.run_folder import RunFolder, SuiteFolder
    from coldwarm.report.catalog_view import print_model
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
        print_model(stdout(), Catalog.read(catalog or []).resolve(what))


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
