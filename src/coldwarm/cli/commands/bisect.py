"""`coldwarm bisect`: finds the first version of the engine that breaks a check."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coldwarm.cli.options import (
    HOW,
    RESULTS,
    WHAT,
    AotArtifactChoice,
    CompilationChoice,
    CompilationOption,
    DeviceOption,
    EngineOption,
    JsonOption,
    RunCatalogOption,
    SetOption,
    TimeoutOption,
    aot_artifact_option,
)
from coldwarm.cli.results import stdout
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.exit_codes import ExitCode

if TYPE_CHECKING:
    from coldwarm.bisection.candidates import Source

_WHERE = "Where to search"
_SEARCH = "What is bad"
_FOLDER = Path("coldwarm-runs")


def bisect(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            rich_help_panel=WHAT,
            help="Start this model: an id from 'coldwarm list', or the path of a config.json or of a TOML file.",
        ),
    ],
    good: Annotated[
        str,
        typer.Option(metavar="VERSION", rich_help_panel=_WHERE, help="The good end: a release, environment or commit."),
    ],
    bad: Annotated[
        str,
        typer.Option(metavar="VERSION", rich_help_panel=_WHERE, help="The bad end; it may be older."),
    ],
    releases: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            rich_help_panel=_WHERE,
            help="Search these releases, separated by commas, without asking the package index which there are.",
            show_default="all releases of the installed package",
        ),
    ] = None,
    environment: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            rich_help_panel=_WHERE,
            help="Search environments instead of releases: virtual environments that have coldwarm and the engine, or "
            "folders of 'pip install --target'. Repeatable, in the order of their versions.",
        ),
    ] = None,
    checkout: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_WHERE,
            help="Search commits of this git checkout instead of releases. Compiled extensions are those of the "
            "installed engine.",
        ),
    ] = None,
    environments: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_WHERE,
            help="Keep installed releases and checked-out commits in this folder.",
            show_default="coldwarm-runs/environments",
        ),
    ] = _FOLDER / "environments",
    check: Annotated[
        str | None,
        typer.Option(
            metavar="CHECK",
            rich_help_panel=_SEARCH,
            help="Search for a change of this check: 'starts', an invariant such as 'cold-only-unique', 'unique' (the "
            "number of unique subgraphs), or a counter of a start such as 'cold.torch.aot_autograd.total'.",
            show_default="the first one that differs",
        ),
    ] = None,
    depth: Annotated[
        Depth | None,
        typer.Option(
            metavar="LEVEL",
            rich_help_panel=_SEARCH,
            help="Start models at this depth.",
            show_default="the first of trace, count and full that shows a difference",
        ),
    ] = None,
    engine: EngineOption = "vllm",
    device: DeviceOption = None,
    compilation: CompilationOption = CompilationChoice.PIECEWISE,
    aot_artifact: Annotated[AotArtifactChoice | None, aot_artifact_option(HOW, repeatable=False)] = None,
    set_: SetOption = None,
    timeout: TimeoutOption = 600,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=RESULTS,
            help="Store the runs in this folder. What it has already is not measured again.",
            show_default="coldwarm-runs/bisect-<model>",
        ),
    ] = None,
    json: JsonOption = False,
    catalog: RunCatalogOption = None,
) -> None:
    """Find the first version of the engine that breaks a check.

    By default, the versions are releases of the installed package. Each is installed into a folder of its own, without
    its requirements: torch and all other packages stay as they are. Both ends are started first, at the cheapest depth
    that shows a difference. Then the model is started with the version in the middle, and so on. A version that cannot
    be judged, because it does not start, is skipped.

    At the end you see the first bad version, the finding that explains it, and what changed in the function that the
    finding names. After Ctrl-C, the same command continues with what was measured.

    Examples:
      coldwarm bisect glm-4.5 --good 0.28.0 --bad 0.30.0
      coldwarm bisect glm-4.5 --good 0.28.0 --bad 0.32.0 --check unique
      coldwarm bisect glm-4.5 --checkout ~/vllm --good v0.32.0 --bad main
      coldwarm bisect glm-4.5 --environment a --environment b --good a --bad b
    """
    from coldwarm.bisection.bisect import bisect as bisect_
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.core.options import parse_options
    from coldwarm.core.secrets import Secrets
    from coldwarm.launch.environment import recorded
    from coldwarm.report.bisection_view import bisection_as_json, print_bisection
    from coldwarm.report.console import PlainConsole
    from coldwarm.suite.interrupt import orderly_interrupt

    options = parse_options(set_ or [], flag="--set")
    arguments = _arguments(engine, device, compilation, aot_artifact, set_ or [], timeout, catalog or [])
    source, versions = _source(
        engine, good, bad, environments, releases=releases, environment=environment or [], checkout=checkout
    )
    settings = {
        "model": model,
        "engine": engine,
        "device": device,
        "compilation": compilation,
        "AOT artifact": aot_artifact,
        "options": Secrets(os.environ, options).options(options),
        "environment": recorded(),
        "versions": versions,
    }
    folder = output or _FOLDER / f"bisect-{Catalog.read(catalog or []).resolve(model).entry.id}"
    progress = PlainConsole(stderr=True)

    def say(line: str) -> None:
        progress.print(line, soft_wrap=True)

    say(f"{len(source.names)} {source.noun}s: {', '.join(source.names)}")
    try:
        with orderly_interrupt():
            found = bisect_(
                source,
                model,
                arguments,
                folder,
                settings=settings,
                catalog=catalog or [],
                check=check,
                depths=[depth] if depth else list(Depth),
                say=say,
            )
    except KeyboardInterrupt:
        say(f"interrupted; what was measured is in {folder}, and the same command continues with it")
        raise
    if json:
        sys.stdout.write(bisection_as_json(found) + "\n")
    else:
        print_bisection(stdout(), found)
    say(f"records: {folder}")
    raise typer.Exit(ExitCode.FAILED if found.found.between else ExitCode.HEALTHY)


def _source(
    engine: str,
    good: str,
    bad: str,
    folder: Path,
    *,
    releases: str | None,
    environment: list[Path],
    checkout: Path | None,
) -> tuple[Source, dict[str, str]]:
    """Return the candidates, and the versions of all other packages, as far as they are the same for all candidates."""
    from coldwarm.bisection.candidates import Environments
    from coldwarm.bisection.commits import Commits
    from coldwarm.bisection.releases import Releases
    from coldwarm.engines.base import load_installation, load_vocabulary

    given = [
        name
        for name, value in (("--releases", releases), ("--environment", environment), ("--checkout", checkout))
        if value
    ]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give one of them")
    if environment:
        return Environments(environment, good, bad, load_vocabulary(engine).package), {}
    installation = load_installation(engine)
    versions = {**installation.versions(), "python": platform.python_version()}
    del versions[engine]
    if checkout is not None:
        # Compiled extensions are those of the installed engine.
        versions[engine] = installation.version
        return Commits(installation, checkout, good, bad, folder), versions
    names = [name.strip() for name in releases.split(",") if name.strip()] if releases else None
    return Releases(installation, good, bad, folder, names), versions


def _arguments(
    engine: str,
    device: str | None,
    compilation: str,
    aot_artifact: str | None,
    set_: list[str],
    timeout: float,
    catalog: list[Path],
) -> list[str]:
    """Return the arguments of ``coldwarm run``."""
    words = ["--engine", engine, "--compilation", compilation, "--timeout", str(timeout)]
    words += ["--device", device] if device else []
    words += ["--aot-artifact", aot_artifact] if aot_artifact else []
    words += [word for value in set_ for word in ("--set", value)]
    words += [word for each in catalog for word in ("--catalog", str(each))]
    return words
