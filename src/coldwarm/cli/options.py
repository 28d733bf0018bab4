"""The options that commands share or that take more than a line to declare; their help is what a user learns from.

Each begins with a verb. Choices are items of a list, one a line (`coldwarm.cli.help`).
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from coldwarm.core.depth import Depth
from coldwarm.core.isolation import IsolationKind
from coldwarm.report.exporters import formats


class DeviceChoice(StrEnum):
    """What to start on."""

    CPU = "cpu"
    CUDA = "cuda"


class CompilationChoice(StrEnum):
    """How the engine compiles."""

    PIECEWISE = "piecewise"
    SHIPPED = "shipped"


class AotArtifactChoice(StrEnum):
    """How the engine keeps compiled subgraphs."""

    BUNDLED = "bundled"
    SEPARATE = "separate"


WHAT = "What to start"
HOW = "How to start it"
HOW_FAR = "How far"
WARM = "Warm start changes"
COMMAND = "Command"
RESOURCES = "Resources"
RESULTS = "Results"


def depth_option(group: str) -> Any:
    """Declare --depth."""
    return typer.Option(
        metavar="LEVEL",
        rich_help_panel=group,
        help="Choose how much of a start is real.\n"
        "- trace: Trace and split the graph, and compute cache keys, in a cold start only. Compile nothing.\n"
        "- count: Save and load artifacts, but without kernels in them.\n"
        "- full: Do everything. Only here do times, kernels and outputs mean anything.",
    )


def aot_artifact_option(group: str, *, repeatable: bool = True) -> Any:
    """Declare --aot-artifact."""
    twice = " Give it twice to run each model with both." if repeatable else ""
    return typer.Option(
        "--aot-artifact",
        metavar="LAYOUT",
        rich_help_panel=group,
        help=f"Choose how vLLM stores compiled subgraphs.{twice}\n"
        "- bundled: In one artifact with the AOT-compiled function (VLLM_USE_MEGA_AOT_ARTIFACT=1).\n"
        "- separate: Each as an artifact of its own (VLLM_USE_MEGA_AOT_ARTIFACT=0).",
        show_default="as vLLM is configured",
    )


def catalog_option(group: str | None = None) -> Any:
    """Declare --catalog."""
    return typer.Option(
        "--catalog",
        metavar="DIR",
        rich_help_panel=group,
        help="Add a folder of your own model TOML files to the catalog. Repeatable.",
    )


def _compilation_option(*, show_default: bool | str = True) -> Any:
    return typer.Option(
        "--compilation",
        metavar="MODE",
        rich_help_panel=HOW,
        help="Choose how vLLM compiles.\n"
        "- piecewise: Split the graph at attention operations, as vLLM does on a GPU.\n"
        "- shipped: Leave vLLM's default; on a CPU, that compiles the whole graph at once.",
        show_default=show_default,
    )


def _assignments(flag: str, group: str, help_: str) -> Any:
    return typer.Option(flag, metavar="NAME=VALUE", rich_help_panel=group, help=f"{help_} Repeatable.")


ModelsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        rich_help_panel=WHAT,
        help="Start these models: ids from 'coldwarm list', or paths of a config.json or of a model's TOML file.",
        show_default="the representative models of the catalog",
    ),
]
AllOption = Annotated[
    bool, typer.Option("--all", rich_help_panel=WHAT, help="Start every model of the catalog, instead of naming some.")
]
RunCatalogOption = Annotated[list[Path] | None, catalog_option(WHAT)]
EngineOption = Annotated[str, typer.Option(metavar="NAME", rich_help_panel=HOW, help="Use this engine.")]
DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option(
        metavar="cpu|cuda",
        rich_help_panel=HOW,
        help="Start models on this device.",
        show_default="the one that the engine was built for",
    ),
]
CompilationOption = Annotated[CompilationChoice, _compilation_option()]
RunCompilationOption = Annotated[
    CompilationChoice | None, _compilation_option(show_default="piecewise; shipped for a command")
]
AotArtifactOption = Annotated[list[AotArtifactChoice] | None, aot_artifact_option(HOW)]
IsolationOption = Annotated[
    IsolationKind,
    typer.Option(
        metavar="KIND",
        rich_help_panel=HOW,
        help="Choose how processes are created. Counts and verdicts do not depend on it.\n"
        "- fork: Import the engine once, and fork each start from that process.\n"
        "- spawn: Run each start in a new interpreter, as in production.",
    ),
]
RepeatOption = Annotated[
    int,
    typer.Option(
        "--repeat",
        min=1,
        metavar="N",
        rich_help_panel=HOW,
        help="Start each model N times cold, then warm, each time with new caches, so that 'coldwarm compare' can "
        "compare seconds. Each repetition is judged, and the worst verdict counts.",
    ),
]
SetOption = Annotated[
    list[str] | None,
    _assignments(
        "--set",
        HOW,
        "Set an option of the engine for both starts. NAME may have dots; VALUE is JSON, or else text. For example: "
        "compilation_config.compile_sizes=[1].",
    ),
]
DepthOption = Annotated[Depth, depth_option(HOW_FAR)]
WarmSetOption = Annotated[
    list[str] | None,
    _assignments(
        "--warm-set",
        WARM,
        "Set an option of the engine for the warm start only, to see whether it invalidates the cache.",
    ),
]
WarmEnvOption = Annotated[
    list[str] | None,
    _assignments(
        "--warm-env",
        WARM,
        "Set an environment variable for the warm start only, to see whether it invalidates the cache.",
    ),
]
ReadyOption = Annotated[
    str | None,
    typer.Option(
        "--ready",
        metavar="URL",
        rich_help_panel=COMMAND,
        help="The command is ready once this URL answers with status 200.",
        show_default="/health of a vLLM server, else when it exits",
    ),
]
ReadyLogOption = Annotated[
    str | None,
    typer.Option(
        "--ready-log",
        metavar="REGEX",
        rich_help_panel=COMMAND,
        help="The command is ready once a line of its output matches this regular expression.",
    ),
]
ThenOption = Annotated[
    str | None,
    typer.Option(
        "--then",
        metavar="COMMAND",
        rich_help_panel=COMMAND,
        help="Run this command once it is ready; it must succeed.",
        show_default="a request to its OpenAI API, if it has one",
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        metavar="N",
        rich_help_panel=RESOURCES,
        help="Run N models in parallel. Use 1 for undisturbed timings. Counts and verdicts do not depend on it.",
        show_default="chosen by cores and memory",
    ),
]
TimeoutOption = Annotated[
    float,
    typer.Option(
        min=1,
        metavar="SECONDS",
        rich_help_panel=RESOURCES,
        help="Kill a start that takes longer, with all of its processes.",
    ),
]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        rich_help_panel=RESULTS,
        help="Store records, logs and traces in this folder, each as soon as it exists.",
        show_default="coldwarm-runs/<time>",
    ),
]
ReportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FORMAT=FILE",
        rich_help_panel=RESULTS,
        help=f"Write a report. FORMAT is one of {', '.join(formats())}. If FILE is -, print it instead of the table. "
        "Repeatable.",
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        rich_help_panel=RESULTS,
        help="Add the results to this history: a SQLite file, postgresql://USER@HOST/DATABASE, or default for "
        "~/.local/share/coldwarm/history.db. 'coldwarm history' shows it.",
        show_default="$COLDWARM_STORE, else none",
    ),
]
HistoryStoreOption = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="Use this history: a SQLite file, or postgresql://USER@HOST/DATABASE.",
        show_default="$COLDWARM_STORE, else ~/.local/share/coldwarm/history.db",
    ),
]
CatalogOption = Annotated[list[Path] | None, catalog_option()]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the results as one JSON object.")]
JsonArrayOption = Annotated[bool, typer.Option("--json", help="Print the models as a JSON array of objects.")]
# Older flags for one format each; pipelines use them.
OldJsonOption = Annotated[bool, typer.Option("--json", hidden=True)]
JunitOption = Annotated[Path | None, typer.Option("--junit", hidden=True)]
MarkdownOption = Annotated[Path | None, typer.Option("--markdown", hidden=True)]
