"""`coldwarm run`: starts models cold, then warm, and judges them."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import typer

from coldwarm.cli.after_dashes import command_after_dashes, refuse_with_command
from coldwarm.cli.options import (
    AllOption,
    AotArtifactOption,
    CompilationChoice,
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
    ReadyLogOption,
    ReadyOption,
    RepeatOption,
    ReportOption,
    RunCatalogOption,
    RunCompilationOption,
    SetOption,
    StoreOption,
    ThenOption,
    TimeoutOption,
    WarmEnvOption,
    WarmSetOption,
)
from coldwarm.cli.results import exit_with, requested_reports, write_results
from coldwarm.cli.storing import requested_store, store_suite
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.isolation import IsolationKind

if TYPE_CHECKING:
    from coldwarm.report.console import PlainConsole
    from coldwarm.suite.session import Session

_OF_COMMANDS = (
    *("ready", "ready_log", "then", "compilation", "repeat", "warm_env", "timeout", "output"),
    *("report", "store", "json", "junit", "markdown"),
)
"""The parameters that apply to a command after ``--``."""


def run(
    ctx: typer.Context,
    models: ModelsArgument = None,
    all_: AllOption = False,
    engine: EngineOption = "vllm",
    device: DeviceOption = None,
    compilation: RunCompilationOption = None,
    aot_artifact: AotArtifactOption = None,
    depth: DepthOption = Depth.FULL,
    isolation: IsolationOption = IsolationKind.FORK,
    repeat: RepeatOption = 1,
    set_: SetOption = None,
    warm_set: WarmSetOption = None,
    warm_env: WarmEnvOption = None,
    ready: ReadyOption = None,
    ready_log: ReadyLogOption = None,
    then: ThenOption = None,
    jobs: JobsOption = None,
    timeout: TimeoutOption = 600,
    output: OutputOption = None,
    report: ReportOption = None,
    store: StoreOption = None,
    json: OldJsonOption = False,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    catalog: RunCatalogOption = None,
) -> None:
    """Start models cold, then warm, and judge what they compiled, saved and loaded.

    After --, any command can be given instead of models: a vLLM server, or a program that uses torch.compile. It is
    started as it is, with caches of its own. Its start ends when it exits, or is stopped once it is ready and has
    answered a request.

    Examples:
      coldwarm run                                 # eight representative models
      coldwarm run --all                           # the whole catalog
      coldwarm run glm-4.5 --report junit=out.xml  # one model, with a report for CI
      coldwarm run ~/my-model/config.json          # a model that is in no catalog
      VLLM_USE_AOT_COMPILE=0 coldwarm run glm-4.5  # with a variable of vLLM
      coldwarm run glm-4.5 --warm-env VLLM_X=1     # does it invalidate the cache?
      coldwarm run --depth count                   # only the counts, much faster
      coldwarm run --isolation spawn --jobs 1      # timings as in production
      coldwarm run glm-4.5 --jobs 1 --repeat 6     # timings to compare
      coldwarm run -- vllm serve my/model          # your own server
      coldwarm run -- python train.py              # any program with torch.compile
    """
    from coldwarm.core.options import parse_options, parse_variables
    from coldwarm.report.console import PlainConsole
    from coldwarm.report.live import live_view
    from coldwarm.suite.command_case import command_case
    from coldwarm.suite.session import Session

    reports = requested_reports(report, json=json, junit=junit, markdown=markdown)
    words = command_after_dashes(ctx)
    if words is not None:
        refuse_with_command(ctx, *_OF_COMMANDS)
        case = command_case(
            words,
            ready_url=ready,
            ready_log=ready_log,
            then=_words(then),
            compilation=compilation or CompilationChoice.SHIPPED,
            warm_environment=parse_variables(warm_env or [], flag="--warm-env"),
            repeat=repeat,
        )
        session = Session.of_command(case, timeout=timeout)
    else:
        if ready or ready_log or then:
            raise UsageError("--ready, --ready-log and --then are for a command, which comes after --")
        session = Session.plan(
            models or [],
            catalog=catalog or [],
            engine=engine,
            device=device,
            compilation=compilation or CompilationChoice.PIECEWISE,
            aot_artifacts=aot_artifact or [],
            depth=depth,
            isolation=isolation,
            repeat=repeat,
            options=parse_options(set_ or [], flag="--set"),
            warm_options=parse_options(warm_set or [], flag="--warm-set"),
            warm_environment=parse_variables(warm_env or [], flag="--warm-env"),
            jobs=jobs,
            timeout=timeout,
            whole_catalog=all_,
        )
    for each in reports:
        each.check()
    store = requested_store(store)
    session.create_folder(output)
    for each in reports:
        each.remove_stale()
    progress = PlainConsole(stderr=True)
    interrupted = False
    broken: Exception | None = None
    try:
        with live_view(progress, len(session.cases)) as view:
            session.run(view)
    except KeyboardInterrupt:
        interrupted = True
    except Exception as error:
        broken = error
    # What was measured is reported, also if the suite could not be finished.
    try:
        write_results(session.results, reports)
    except UsageError as error:
        progress.print(f"coldwarm: {error}", soft_wrap=True)
        # Exit code 2 would say that nothing was started.
        broken = broken or typer.Exit(ExitCode.INTERNAL_ERROR)
    progress.print(f"records: {session.folder}", soft_wrap=True)
    if store is not None and session.results:
        try:
            store_suite(store, session.folder, progress)
        except UsageError as error:
            progress.print(f"coldwarm: {error}", soft_wrap=True)
            broken = broken or typer.Exit(ExitCode.INTERNAL_ERROR)
    _write_page(session, progress)
    if interrupted:
        progress.print(f"interrupted: {len(session.results)} of {len(session.cases)} models finished", soft_wrap=True)
        raise typer.Exit(ExitCode.INTERRUPTED)
    if broken is not None:
        raise broken
    exit_with(session.results)


def _write_page(session: Session, progress: PlainConsole) -> None:
    """Write the HTML report into the folder of the suite; the verdicts do not depend on whether that succeeds."""
    from coldwarm.report.html.suite_report import write_suite_report

    try:
        page = write_suite_report(session.folder, session.results)
    except Exception as error:
        progress.print(f"no HTML report was written: {type(error).__name__}: {error}", soft_wrap=True)
    else:
        if page is not None:
            progress.print(f"report: {page}", soft_wrap=True)


def _words(then: str | None) -> list[str]:
    try:
        return shlex.split(then or "")
    except ValueError as error:
        raise UsageError(f"--then {then!r} is not a command: {error}") from error
