"""`coldwarm ci`: prints pipelines that run the suite."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from coldwarm.ci.step import ACCEPTED
from coldwarm.cli.options import AotArtifactChoice, DeviceChoice, aot_artifact_option, catalog_option, depth_option
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError

_STEPS = "Steps"
_CPU_STEP = "CPU step"
_GPU_STEP = "GPU step"
_JOBS_DEFAULT = "chosen on the machine"


class CiSystem(StrEnum):
    """What runs the pipeline."""

    BUILDKITE = "buildkite"
    GITHUB = "github"


def ci(
    system: Annotated[
        CiSystem,
        typer.Argument(metavar="buildkite|github", help="Print a Buildkite pipeline, or a GitHub Actions workflow."),
    ],
    device: Annotated[
        list[DeviceChoice] | None,
        typer.Option(
            metavar="cpu|cuda",
            rich_help_panel=_STEPS,
            help="Print a step for this device. Repeatable.",
            show_default="both",
        ),
    ] = None,
    depth: Annotated[Depth, depth_option(_STEPS)] = Depth.FULL,
    aot_artifact: Annotated[list[AotArtifactChoice] | None, aot_artifact_option(_STEPS)] = None,
    catalog: Annotated[list[Path] | None, catalog_option(_STEPS)] = None,
    all_: Annotated[
        bool,
        typer.Option(
            "--all", rich_help_panel=_STEPS, help="Run every model of the catalog, not only the representative ones."
        ),
    ] = False,
    nightly: Annotated[
        bool,
        typer.Option(
            "--nightly",
            rich_help_panel=_STEPS,
            help="Print a nightly pipeline: it installs the newest vLLM and torch, runs the whole catalog, and shows "
            "first what changed since the last accepted run.",
        ),
    ] = False,
    accepted: Annotated[
        str | None,
        typer.Option(
            metavar="DIR",
            rich_help_panel=_STEPS,
            help="Keep the last accepted run of --nightly in this folder, with a folder for each device below it. On "
            "Buildkite, all agents must share it; on GitHub, it is in the workspace.",
            show_default=f"~/{ACCEPTED}; {ACCEPTED} in GitHub's cache",
        ),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            rich_help_panel=_STEPS,
            help="Add the results of each run to this history: a PostgreSQL database, or a file on the agent. For a "
            "URL with a password, set COLDWARM_STORE on the agents instead.",
        ),
    ] = None,
    records: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="RUN",
            rich_help_panel=_STEPS,
            help="Compute time limits from the records of this suite. Repeatable.",
            show_default="from the times in the catalog",
        ),
    ] = None,
    cpu_queue: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_CPU_STEP,
            help="Run the step on agents of this queue with the tag device=cpu; on GitHub, on the runner with this "
            "label.",
            show_default="cpu; ubuntu-latest on GitHub",
        ),
    ] = None,
    cpu_jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_CPU_STEP,
            help="Run N models in parallel, and compute the time limit for N.",
            show_default=_JOBS_DEFAULT,
        ),
    ] = None,
    cpu_setup: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COMMAND",
            rich_help_panel=_CPU_STEP,
            help="Run this shell command first, for example an installation. Repeatable.",
        ),
    ] = None,
    gpu: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_GPU_STEP,
            help="Require agents with the tag device=NAME; on GitHub, a runner with this label.",
        ),
    ] = "h100",
    gpu_queue: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_GPU_STEP,
            help="Run the step on agents of this queue; on GitHub, on a self-hosted runner with this label.",
        ),
    ] = "gpu",
    gpu_jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            rich_help_panel=_GPU_STEP,
            help="Run N models in parallel, and compute the time limit for N.",
            show_default=_JOBS_DEFAULT,
        ),
    ] = None,
    gpu_setup: Annotated[
        list[str] | None,
        typer.Option(metavar="COMMAND", rich_help_panel=_GPU_STEP, help="Run this shell command first. Repeatable."),
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GLOB",
            rich_help_panel=_GPU_STEP,
            help="Run the step only if a file like this changed. Repeatable.",
            show_default="what decides how vLLM compiles",
        ),
    ] = None,
) -> None:
    """Print a CI pipeline that runs the representative models of the catalog, or all.

    The CPU step runs for every pull request, the GPU step if a file changed that compilation depends on. Each shows the
    table on the page of the build, and uploads records, logs and a JUnit report. Without set-up commands, coldwarm has
    to be installed next to vLLM on the machines.

    On Buildkite, agents must have a tag besides their queue: device=cpu for the CPU step, and device=h100 for the GPU
    step, or what --gpu says. On GitHub, the runner for the GPU is self-hosted, with --gpu-queue and --gpu as labels.

    With --nightly, each step installs the newest releases before the set-up commands. A run that fails is compared with
    the same accepted run each night, until its failure is fixed, or accepted as an expectation or a known issue.

    All steps have the same --depth. For counts on each pull request and everything on the GPU, print two pipelines.

    Examples:
      coldwarm ci buildkite > .buildkite/coldwarm.yml
      coldwarm ci github --cpu-setup "pip install ." --gpu-setup "pip install ."
      coldwarm ci github --device cpu --depth count > .github/workflows/counts.yml
      coldwarm ci github --nightly --cpu-setup "pip install ." > nightly.yml
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.ci import buildkite, github
    from coldwarm.ci.step import Step
    from coldwarm.ci.time_limit import minutes_for, recorded_seconds
    from coldwarm.core.engine import DEFAULT_ENGINE
    from coldwarm.engines.base import load_vocabulary

    known = Catalog.read(catalog or [])
    whole_catalog = all_ or nightly
    models = known.models() if whole_catalog else known.representative()
    if nightly and path:
        raise UsageError("--path selects changes, and a nightly pipeline runs without any; leave it out with --nightly")
    if accepted is not None and not nightly:
        raise UsageError("--accepted is for nightly pipelines; add --nightly")
    if accepted is not None and system is CiSystem.GITHUB and accepted.startswith(("/", "~", "..")):
        # `hashFiles`, which decides whether it is kept, sees only files in the workspace.
        raise UsageError(f"--accepted {accepted}: on GitHub, the folder must be in the workspace; give a relative path")
    if store is not None:
        _check_store(store)
    vocabulary = load_vocabulary(DEFAULT_ENGINE)
    folder = accepted or (ACCEPTED if system is CiSystem.GITHUB else f"~/{ACCEPTED}")
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
                paths=tuple(path or vocabulary.compilation_paths) if on_gpu and not nightly else (),
                setup=(
                    *(vocabulary.install_newest[each] if nightly else ()),
                    *((gpu_setup if on_gpu else cpu_setup) or ()),
                ),
                jobs=jobs,
                depth=depth,
                aot_artifacts=tuple(artifacts),
                catalogs=tuple(str(folder) for folder in catalog or []),
                whole_catalog=whole_catalog,
                accepted=f"{folder}/{each}" if nightly else None,
                store=store,
            )
        )
    print_ = buildkite.pipeline if system is CiSystem.BUILDKITE else github.workflow
    sys.stdout.write(print_(steps))


def _check_store(store: str) -> None:
    """Check the value of --store, which everybody who sees the pipeline can read.

    Raises:
        UsageError: It is no store, or contains a password.
    """
    from coldwarm.store.history.location import VARIABLE, has_password, locate, shown

    locate(store)
    if has_password(store):
        raise UsageError(
            f"--store {shown(store)}: the password would be in the pipeline; "
            f"leave --store out, and set {VARIABLE} on the agents from a secret"
        )
