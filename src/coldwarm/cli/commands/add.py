"""`coldwarm add`: makes the catalog entry of a config.json."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coldwarm.cli.options import (
    AotArtifactOption,
    DepthOption,
    DeviceOption,
    EngineOption,
    IsolationOption,
    OutputOption,
    TimeoutOption,
)
from coldwarm.cli.results import stdout
from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind

if TYPE_CHECKING:
    from coldwarm.suite.observer import ProgressObserver

_ENTRY = "The entry"
_FAILURES = "What is not healthy"


def add(
    config: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="Add the model of this published config.json, or of its folder.")
    ],
    catalog: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_ENTRY,
            help="Write DIR/ID.toml and DIR/configs/ID.json.",
            show_default="the catalog of this checkout of coldwarm",
        ),
    ] = None,
    id_: Annotated[
        str | None,
        typer.Option(
            "--id",
            metavar="ID",
            rich_help_panel=_ENTRY,
            help="Give the entry this id.",
            show_default="the name of the file or its folder",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=_ENTRY,
            help="Give the model this name.",
            show_default="the name of the file or its folder",
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            rich_help_panel=_ENTRY,
            help="State where the config was published.",
            show_default="marked as unknown",
        ),
    ] = None,
    source_note: Annotated[
        str,
        typer.Option(
            metavar="TEXT",
            rich_help_panel=_ENTRY,
            help="State how the config was compared with its source.",
            show_default=False,
        ),
    ] = "",
    force: Annotated[
        bool, typer.Option("--force", rich_help_panel=_ENTRY, help="Replace an existing entry with the same id.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", rich_help_panel=_ENTRY, help="Print the entry, and write nothing.")
    ] = False,
    known_issue: Annotated[
        str | None,
        typer.Option(
            metavar="ID[=URL]",
            rich_help_panel=_FAILURES,
            help="If the model breaks an invariant, declare exactly this failure as a known issue, for this device and "
            "these versions. Without a URL, the beginning of a page about it is written.",
        ),
    ] = None,
    unsupported: Annotated[
        bool,
        typer.Option(
            "--unsupported",
            rich_help_panel=_FAILURES,
            help="If the device cannot run the model, write an entry that says so, with the engine's reason.",
        ),
    ] = False,
    engine: EngineOption = "vllm",
    device: DeviceOption = None,
    aot_artifact: AotArtifactOption = None,
    depth: DepthOption = Depth.FULL,
    isolation: IsolationOption = IsolationKind.FORK,
    timeout: TimeoutOption = 600,
    output: OutputOption = None,
) -> None:
    """Make the catalog entry of a published config.json: shrink it, run it twice, and write what was measured.

    The config is shrunk by rule. Each run is a cold and a warm start. The entry gets the counters, times and memory of
    these runs as its expectation, under the conditions of this machine; both runs must have the same counters. With
    --depth count, it gets only vLLM's own counters, in a fraction of the time. Add expectations for other devices and
    versions with 'coldwarm accept'.

    If the model breaks an invariant, nothing is written, unless you declare that as a known issue.

    Examples:
      coldwarm add ~/Qwen3-8B --source https://huggingface.co/Qwen/Qwen3-8B
      coldwarm add qwen3-8b.json --catalog mine --dry-run  # print the entry
      coldwarm add qwen3-8b.json --depth count             # only counters
      coldwarm add moe.json --known-issue one-too-many     # it breaks an invariant
    """
    from coldwarm.catalog.writing import write_file
    from coldwarm.report.addition_view import print_addition
    from coldwarm.report.console import PlainConsole
    from coldwarm.report.live import live_view
    from coldwarm.suite.adding import RUNS, Adder, Request

    began = time.monotonic()
    request = Request(
        config=config,
        catalog=catalog,
        model_id=id_,
        name=name,
        source=source,
        source_note=source_note,
        known_issue=known_issue,
        as_unsupported=unsupported,
        replace=force,
    )
    adder = Adder(
        request,
        timeout=timeout,
        isolation=isolation,
        engine=engine,
        device=device,
        aot_artifacts=aot_artifact or [],
        depth=depth,
    )
    progress = PlainConsole(stderr=True)

    @contextmanager
    def observed(number: int, cases: int) -> Iterator[ProgressObserver]:
        progress.print(f"run {number} of {RUNS}")
        with live_view(progress, cases) as view:
            yield view

    addition = adder.run(output, observed)
    if not dry_run:
        for path, text in addition.files.items():
            write_file(path, text)
    print_addition(stdout(), addition, is_written=not dry_run, seconds=time.monotonic() - began)
    progress.print(f"records: {addition.records}", soft_wrap=True)
    raise typer.Exit(addition.exit_code)
