"""The command line of `coldwarm`: the application, without its commands' code."""

from __future__ import annotations

import atexit
import gc
import sys
from typing import Annotated

import typer

from coldwarm.cli.after_dashes import OnlyWithCommand, WithCommand
from coldwarm.cli.commands import (
    accept,
    add,
    bisect,
    ci,
    compare,
    explain,
    history,
    judge,
    list_models,
    report,
    run,
    show,
    versions,
    watch,
)
from coldwarm.cli.errors import Commands, end_with, open_missing_streams
from coldwarm.cli.help import (
    Command,
    codes_of_acceptance,
    codes_of_adding,
    codes_of_bisection,
    codes_of_comparison,
    codes_of_running,
    codes_of_watching,
    codes_without_verdict,
    exit_codes,
)

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="""Check that vLLM's compile caches do their job.

    coldwarm starts a model with empty caches (a cold start), starts it again with the caches that the first start saved
    (a warm start), and verifies that the cold start compiles each unique subgraph once and the warm start compiles
    nothing. If a check fails, it explains why.

    Examples:
      coldwarm run llama-3.1-8b         # start a model of the catalog, and judge it
      coldwarm run path/to/config.json  # the same for your own model
      coldwarm run -- python script.py  # the same for your own command
      coldwarm explain coldwarm-runs/X  # find out why it recompiles
    """,
    epilog="See 'coldwarm COMMAND --help' for the options of a command.",
)


_GC_THRESHOLD = 50_000
"""Objects created since the last garbage collection; Python's default is 700 or 2000."""


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


app.command("run", cls=WithCommand, epilog=codes_of_running())(run.run)
app.command("watch", cls=OnlyWithCommand, epilog=codes_of_watching())(watch.watch)
app.command("list", cls=Command, epilog=codes_without_verdict("The catalog was listed."))(list_models.list_models)
app.command("show", cls=Command, epilog=codes_without_verdict("The model, run or known issue was shown."))(show.show)
app.command("explain", cls=Command, epilog=codes_without_verdict("Explained, whatever was found."))(explain.explain)
app.command("report", cls=Command, epilog=codes_without_verdict("The report was written."))(report.report)
app.command("judge", cls=Command, epilog=exit_codes())(judge.judge)
app.command("add", cls=Command, epilog=codes_of_adding())(add.add)
app.command("accept", cls=Command, epilog=codes_of_acceptance())(accept.accept)
app.command("bisect", cls=Command, epilog=codes_of_bisection())(bisect.bisect)
app.command("compare", cls=Command, epilog=codes_of_comparison())(compare.compare)
app.add_typer(history.app, name="history")
app.command("versions", cls=Command, epilog=codes_without_verdict("The versions were compared."))(versions.versions)
app.command("ci", cls=Command, epilog=codes_without_verdict("The pipeline was printed."))(ci.ci)


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
