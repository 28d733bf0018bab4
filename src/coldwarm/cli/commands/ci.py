"""`coldwarm ci`: prints pipelines that run the suite."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.options import AotArtifactChoice, AotArtifactOption, CatalogOption, DepthOption, DeviceChoice
from coldwarm.core.depth import Depth

_JOBS_DEFAULT = "chosen on the machine, as coldwarm run does; the time limit allows for one after another"


class CiSystem(StrEnum):
    """What runs the pipeline."""

    BUILDKITE = "buildkite"
    GITHUB = "github"


def ci(
    system: Annotated[CiSystem, typer.Argument(help="buildkite: a pipeline; github: a workflow of GitHub Actions.")],
    device: Annotated[
        list[DeviceChoice] | None,
        typer.Option(help="A step for this device; repeatable.", show_default="cpu and cuda"),
    ] = None,
    cpu_queue: Annotated[
        str | None, typer.Option(metavar="NAME", help="Agents' queue of the CPU step, or GitHub's runner.")
    ] = None,
    gpu_queue: Annotated[str, typer.Option(metavar="NAME", help="Agents' queue of the GPU step.")] = "gpu",
    gpu: Annotated[str, typer.Option(metavar="NAME", help="The GPU machines' label among the agents.")] = "h100",
    depth: DepthOption = Depth.FULL,
    cpu_jobs: Annotated[
        int | None, typer.Option(min=1, help="Models side by side on the CPU.", show_default=_JOBS_DEFAULT)
    ] = None,
    gpu_jobs: Annotated[
        int | None, typer.Option(min=1, help="Models side by side on the GPU.", show_default=_JOBS_DEFAULT)
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            help="The GPU step runs where a file like this changed; repeatable.",
            show_default="what vLLM compiles, and with which keys",
        ),
    ] = None,
    cpu_setup: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMMAND", help="A shell command that comes first on the CPU: an installation; repeatable."
        ),
    ] = None,
    gpu_setup: Annotated[
        list[str] | None, typer.Option(metavar="COMMAND", help="The same for the GPU; repeatable.")
    ] = None,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            help="Take time limits from this suite's records; repeatable.",
            show_default="the times in the catalog",
        ),
    ] = None,
    aot_artifact: AotArtifactOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Print a CI pipeline: the CPU step for every pull request, the GPU step where compilation is touched.

    Each step runs the catalog, shows the table on the build's page, and keeps records, logs and JUnit.
    Without a set-up, the machines must have coldwarm beside their vLLM.

    Examples:

      coldwarm ci buildkite > .buildkite/coldwarm.yml

      coldwarm ci github --cpu-setup "pip install ./coldwarm" --gpu-setup "pip install ./coldwarm"

      coldwarm ci github --device cpu --depth count > .github/workflows/counts.yml

    --depth is that of both steps: for the counts on each pull request and everything on the GPU, print two pipelines.
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.ci import buildkite, github
    from coldwarm.ci.step import COMPILATION_PATHS, Step
    from coldwarm.ci.time_limit import minutes_for, recorded_seconds

    models = Catalog.read(catalog or []).models()
    artifacts: list[AotArtifactChoice] = list(dict.fromkeys(aot_artifact or []))
    steps = []
    for each in dict.fromkeys(device or list(DeviceChoice)):
        on_gpu = each is DeviceChoice.CUDA
        jobs = gpu_jobs if on_gpu else cpu_jobs
        default_queue = "ubuntu-latest" if system is CiSystem.GITHUB else "cpu"
        steps.append(
            Step(
                device=each,
                label=gpu if on_gpu else "cpu",
                queue=gpu_queue if on_gpu else cpu_queue or default_queue,
                minutes=minutes_for(recorded_seconds(models, each, artifacts, records or [], depth), jobs or 1),
                paths=tuple(path or COMPILATION_PATHS) if on_gpu else (),
                setup=tuple((gpu_setup if on_gpu else cpu_setup) or []),
                jobs=jobs,
                depth=depth,
                aot_artifacts=tuple(artifacts),
                catalogs=tuple(str(folder) for folder in catalog or []),
            )
        )
    print_ = buildkite.pipeline if system is CiSystem.BUILDKITE else github.workflow
    sys.stdout.write(print_(steps))
