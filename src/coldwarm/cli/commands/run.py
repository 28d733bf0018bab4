"""`coldwarm run`: starts models cold, then warm, and judges them."""

from __future__ import annotations

import typer

from coldwarm.cli.options import (
    AotArtifactOption,
    CompilationChoice,
    CompilationOption,
    DepthOption,
    DeviceOption,
    EngineOption,
    IsolationOption,
    JobsOption,
    JunitOption,
    MarkdownOption,
    ModelsArgument,
    OldJsonOption,
    OutputOption,
    ReportOption,
    RunCatalogOption,
    SetOption,
    TimeoutOption,
    WarmEnvOption,
    WarmSetOption,
)
from coldwarm.cli.results import exit_with, requested_reports, write_results
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.isolation import IsolationKind


def run(
    models: ModelsArgument = None,
    engine: EngineOption = "vllm",
    device: DeviceOption = None,
    compilation: CompilationOption = CompilationChoice.PIECEWISE,
    aot_artifact: AotArtifactOption = None,
    depth: DepthOption = Depth.FULL,
    isolation: IsolationOption = IsolationKind.FORK,
    set_: SetOption = None,
    warm_set: WarmSetOption = None,
    warm_env: WarmEnvOption = None,
    jobs: JobsOption = None,
    timeout: TimeoutOption = 600,
    output: OutputOption = None,
    report: ReportOption = None,
    json: OldJsonOption = False,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    catalog: RunCatalogOption = None,
) -> None:
    """Start models cold, then warm, and judge what they compiled, saved and loaded.

    Examples:
      coldwarm run                                 # the whole catalog
      coldwarm run glm-4.5 --report junit=out.xml  # one model, with a report for CI
      coldwarm run ~/my-model/config.json          # a model that is in no catalog
      VLLM_USE_AOT_COMPILE=0 coldwarm run glm-4.5  # with a variable of vLLM
      coldwarm run glm-4.5 --warm-env VLLM_X=1     # does it invalidate the cache?
      coldwarm run --depth count                   # only the counts, much faster
      coldwarm run --isolation spawn --jobs 1      # timings as in production
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.core.case import Changes
    from coldwarm.core.options import parse_options, parse_variables
    from coldwarm.report.console import PlainConsole
    from coldwarm.report.live import live_view
    from coldwarm.store.suite_folder import Store
    from coldwarm.suite.interrupt import orderly_interrupt
    from coldwarm.suite.longest_first import chosen_jobs
    from coldwarm.suite.plan import plan
    from coldwarm.suite.runner import Runner

    reports = requested_reports(report, json=json, junit=junit, markdown=markdown)
    cases = plan(
        Catalog.read(catalog or []),
        models or [],
        engine=engine,
        device=device,
        compilation=compilation,
        aot_artifacts=aot_artifact or [],
        depth=depth,
        options=parse_options(set_ or [], flag="--set"),
        warm_changes=Changes(
            environment=parse_variables(warm_env or [], flag="--warm-env"),
            options=parse_options(warm_set or [], flag="--warm-set"),
        ),
    )
    for each in reports:
        each.check()
    store = Store.create(output, [case.name for case in cases])
    for each in reports:
        each.remove_stale()
    progress = PlainConsole(stderr=True)
    interrupted = False
    broken: Exception | None = None
    with orderly_interrupt():
        view = live_view(progress, len(cases))
        runner = Runner(store, view, time_limit=timeout, jobs=jobs or chosen_jobs(cases), isolation=isolation)
        try:
            with view:
                runner.run(cases)
        except KeyboardInterrupt:
            interrupted = True
        except Exception as error:
            broken = error
    # What was measured is reported, also if the suite could not be finished.
    try:
        write_results(runner.results, reports)
    except UsageError as error:
        progress.print(f"coldwarm: {error}", soft_wrap=True)
        # Exit code 2 would say that nothing was started.
        broken = broken or typer.Exit(ExitCode.INTERNAL_ERROR)
    progress.print(f"records: {store.folder}", soft_wrap=True)
    if interrupted:
        progress.print(f"interrupted: {len(runner.results)} of {len(cases)} models finished", soft_wrap=True)
        raise typer.Exit(ExitCode.INTERRUPTED)
    if broken is not None:
        raise broken
    exit_with(runner.results)
