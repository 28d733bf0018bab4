"""The commands of `coldwarm`: thin; each reads its arguments, calls one function, prints, and exits.

Imports inside the commands keep `coldwarm --help` fast.
"""

from __future__ import annotations

import atexit
import gc
import sys
from pathlib import Path
from typing import Annotated

import typer

from coldwarm.cli.ci import ci
from coldwarm.cli.errors import Commands, end_with, open_missing_streams
from coldwarm.cli.options import (
    AotArtifactOption,
    CatalogOption,
    CompilationChoice,
    CompilationOption,
    DepthOption,
    DeviceOption,
    EngineOption,
    IsolationOption,
    JobsOption,
    JsonOption,
    JunitOption,
    MarkdownOption,
    ModelsArgument,
    OldJsonOption,
    OutputOption,
    ReportOption,
    SetOption,
    TimeoutOption,
    WarmEnvOption,
    WarmSetOption,
)
from coldwarm.cli.results import exit_with, requested_reports, stdout, write_results
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError
from coldwarm.core.exit_codes import ExitCode
from coldwarm.core.isolation import IsolationKind

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""Start real models cold, then warm, and prove what was compiled, shared, saved and loaded.

    A cold start (every compile cache empty) must compile only what is unique; a warm start (exactly the caches
    that the cold one left) must compile nothing. coldwarm says whether that holds, and if not, what broke.""",
)


_GC_THRESHOLD = 50_000
"""Objects made since the last garbage collection; Python's default is 700 or 2000."""
_EXIT_CODES_WITHOUT_VERDICT = "Exit codes: 0; 2 usage or catalog error; 4 internal error."


def _print_version(asked: bool) -> None:
    if asked:
        from coldwarm import __version__

        typer.echo(f"coldwarm {__version__}")
        raise typer.Exit


@app.callback()
def _of_all_commands(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...


@app.command(
    epilog="Exit codes: 0 all passed or known, 1 a model failed, 2 usage or catalog error (nothing was started), "
    "3 a start crashed or timed out, 4 internal error or full disk (no verdict), 130 interrupted."
)
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
    catalog: CatalogOption = None,
) -> None:
    """Start models cold, then warm, and say whether they are healthy.

    Examples:

      coldwarm run                                  the whole catalog

      coldwarm run glm-4.5 --report junit=out.xml   one model, with a report for CI

      coldwarm run ~/my-model/config.json           a model that is in no catalog

      VLLM_USE_AOT_COMPILE=0 coldwarm run glm-4.5   with a flag of yours

      coldwarm run glm-4.5 --warm-env VLLM_X=1      does this flag throw the cache away?

      coldwarm run --depth count                    the counts alone, in a fraction of the time

      coldwarm run --isolation spawn --jobs 1       times as in production, one start after another
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


@app.command("list", epilog=_EXIT_CODES_WITHOUT_VERDICT)
def list_models(catalog: CatalogOption = None, json: JsonOption = False) -> None:
    """List the catalog: each model, its layers, and where it can run."""
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.report.catalog_view import models_as_json, models_as_table

    models = Catalog.read(catalog or []).models()
    if json:
        sys.stdout.write(models_as_json(models) + "\n")
    else:
        stdout().print(models_as_table(models))


@app.command(epilog=_EXIT_CODES_WITHOUT_VERDICT)
def show(
    what: Annotated[str, typer.Argument(metavar="MODEL|RUN", help="A model's id or path, or the folder of a run.")],
    catalog: CatalogOption = None,
) -> None:
    """Show one model of the catalog (what is started, why it deviates, what is expected), or the checks of a run."""
    from coldwarm.catalog.catalog import Catalog, is_file
    from coldwarm.core.run_folder import RunFolder, SuiteFolder
    from coldwarm.report.catalog_view import print_model
    from coldwarm.report.run_view import print_run
    from coldwarm.report.summary import RunSummary
    from coldwarm.suite.judging import judge_again

    folder = Path(what)
    if is_file(SuiteFolder(folder).suite) or is_file(RunFolder(folder).case):
        for result in judge_again(folder, Catalog.read(catalog or [])):
            print_run(stdout(), RunSummary.of(result))
    else:
        print_model(stdout(), Catalog.read(catalog or []).resolve(what))


@app.command(epilog="Exit codes: 0 explained, whatever was found; 2 usage error; 4 internal error.")
def explain(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a suite, or of one run in it.")],
    model: Annotated[str | None, typer.Argument(help="One model of the suite.", show_default="all")] = None,
    json: JsonOption = False,
    perfetto: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Also write both starts of one run as a trace for https://ui.perfetto.dev (Chrome's JSON format).",
        ),
    ] = None,
    catalog: CatalogOption = None,
) -> None:
    """Say why: where the time went, why subgraphs are not shared, and what the warm start missed.

    Read from the traces, cache keys and logs that a run keeps; where those are gone, from what was explained then.
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.report.explanation_view import print_explanation
    from coldwarm.report.exporters import render
    from coldwarm.report.perfetto import write_perfetto
    from coldwarm.report.summary import SuiteSummary
    from coldwarm.suite.explaining import explain_again

    results = explain_again(folder, Catalog.read(catalog or []), model)
    if perfetto is not None:
        if len(results) != 1:
            raise UsageError(f"--perfetto writes one run; name a model: {', '.join(r.case.name for r, _ in results)}")
        [(result, run_folder)] = results
        write_perfetto(perfetto, run_folder, [record for record in (result.cold, result.warm) if record])
    if json:
        sys.stdout.write(render("json", SuiteSummary.of([result for result, _ in results])))
        return
    for result, _ in results:
        if result.explanation is not None:
            print_explanation(stdout(), result, result.explanation)


@app.command(epilog="Exit codes as of `coldwarm run`.")
def judge(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a suite, or of one run in it.")],
    report: ReportOption = None,
    json: OldJsonOption = False,
    junit: JunitOption = None,
    markdown: MarkdownOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Judge stored records again, without an engine or torch.

    The catalog as it is now decides: give the --catalog that the models were run from. A model that is no longer in
    it, or that was named by a path, is judged by the entry that was stored with it.
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.store.suite_folder import never_started
    from coldwarm.suite.judging import judge_again

    reports = requested_reports(report, json=json, junit=junit, markdown=markdown)
    results = judge_again(folder, Catalog.read(catalog or []))
    if not results:
        raise UsageError(f"{folder} holds no run: nothing was started")
    write_results(results, reports)
    if missing := never_started(folder):
        sys.stderr.write(f"never started, the suite was ended before: {', '.join(missing)}\n")
        raise typer.Exit(ExitCode.CRASHED)
    exit_with(results)


app.command("ci", epilog=_EXIT_CODES_WITHOUT_VERDICT)(ci)


def main() -> None:
    """Run the command line; every exception ends as a message and an exit code (`coldwarm.core.exit_codes`)."""
    # A command is mostly imports, which are never garbage: a fifth of its time went to looking for some.
    gc.set_threshold(_GC_THRESHOLD)
    atexit.register(gc.freeze)
    open_missing_streams()
    try:
        try:
            app(prog_name="coldwarm")
        finally:
            # Here, where an error can still be reported; Python's own flush at its exit would end with 120.
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        end_with(error)
