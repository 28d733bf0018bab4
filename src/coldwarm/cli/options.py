"""The options that commands share or that take more than a line to declare; their help is what a user learns from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

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


def _assignments(flag: str, help_: str) -> object:
    return typer.Option(flag, metavar="NAME=VALUE", help=help_ + " Repeatable.")


ModelsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[MODEL]...",
        help="Ids from `coldwarm list`, or paths to a config.json or to a model's TOML file. "
        "Nothing: the whole catalog.",
        show_default=False,
    ),
]
EngineOption = Annotated[str, typer.Option(help="What starts the models.")]
DeviceOption = Annotated[
    DeviceChoice | None,
    typer.Option(help="What to start on.", show_default="what the installed engine was built for"),
]
CompilationOption = Annotated[
    CompilationChoice,
    typer.Option(
        help="piecewise: compiled in pieces, split at attention, as vLLM does on a GPU; "
        "shipped: vLLM exactly as it comes (on a CPU: the whole graph at once)."
    ),
]
AotArtifactOption = Annotated[
    list[AotArtifactChoice] | None,
    typer.Option(
        "--aot-artifact",
        help="Whether compiled subgraphs are bundled in one artifact with the whole AOT-compiled function, or kept "
        "as separate artifacts (vLLM: VLLM_USE_MEGA_AOT_ARTIFACT 1 or 0); both, given twice, are runs of their own.",
        show_default="as the engine has it",
    ),
]
SetOption = Annotated[
    list[str] | None,
    _assignments(
        "--set",
        "An option of the engine for both starts; dotted names, JSON values: "
        "--set compilation_config.compile_sizes=[1].",
    ),
]
WarmSetOption = Annotated[
    list[str] | None,
    _assignments("--warm-set", "An option of the engine for the warm start alone: does it throw the cache away?"),
]
WarmEnvOption = Annotated[
    list[str] | None,
    _assignments("--warm-env", "An environment variable for the warm start alone: does it throw the cache away?"),
]
DepthOption = Annotated[
    Depth,
    typer.Option(
        help="How far starts go. trace: Dynamo, splitting and cache keys, cold only, nothing is compiled. count: "
        "artifacts are saved and loaded for real, but hold no kernels. full: everything; the only one whose times, "
        "kernels and outputs mean anything."
    ),
]
IsolationOption = Annotated[
    IsolationKind,
    typer.Option(
        help="fork: the engine is imported once, and each start is a process forked from there. spawn: each start is "
        "a new interpreter that does everything itself, as in production. Counts and verdicts are the same."
    ),
]
JobsOption = Annotated[
    int | None,
    typer.Option(
        "--jobs",
        "-j",
        min=1,
        help="Models that are run side by side; 1 for times that no other start disturbs. Counts and verdicts stay "
        "the same.",
        show_default="as many as fit, but no more than end the suite sooner",
    ),
]
TimeoutOption = Annotated[float, typer.Option(min=1, help="Seconds that one start may take before it is killed.")]
OutputOption = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where records, logs and traces are kept, each as soon as it exists.",
        show_default="coldwarm-runs/<time>",
    ),
]
CatalogOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--catalog",
        metavar="DIR",
        help="A folder of your own model TOML files, beside the packaged catalog; repeatable.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the results as one JSON object on stdout.")]
ReportOption = Annotated[
    list[str] | None,
    typer.Option(
        "--report",
        metavar="FORMAT=FILE",
        help=f"Write a report. FORMAT is {', '.join(formats())}; FILE `-` is stdout, instead of the table. Repeatable.",
    ),
]
# Older flags for one format each; pipelines use them.
OldJsonOption = Annotated[bool, typer.Option("--json", hidden=True)]
JunitOption = Annotated[Path | None, typer.Option("--junit", hidden=True)]
MarkdownOption = Annotated[Path | None, typer.Option("--markdown", hidden=True)]
