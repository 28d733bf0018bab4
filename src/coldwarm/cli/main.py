"""The command line of `coldwarm`: the application, without its commands' code."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from coldwarm.cli.commands import ci, explain, judge, list_models, run, show
from coldwarm.cli.errors import Commands, end_with, open_missing_streams

app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="""Start real models cold, then warm, and prove what was compiled, shared, saved and loaded.

    A cold start (every compile cache empty) must compile only what is unique; a warm start (exactly the caches
    that the cold one left) must compile nothing. coldwarm says whether that holds, and if not, what broke.""",
)


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


app.command(
    "run",
    epilog="Exit codes: 0 all passed or known, 1 a model failed, 2 usage or catalog error (nothing was started), "
    "3 a start crashed or timed out, 4 internal error or full disk (no verdict), 130 interrupted.",
)(run.run)
app.command("list", epilog=_EXIT_CODES_WITHOUT_VERDICT)(list_models.list_models)
app.command("show", epilog=_EXIT_CODES_WITHOUT_VERDICT)(show.show)
app.command("explain", epilog="Exit codes: 0 explained, whatever was found; 2 usage error; 4 internal error.")(
    explain.explain
)
app.command("judge", epilog="Exit codes as of `coldwarm run`.")(judge.judge)
app.command("ci", epilog=_EXIT_CODES_WITHOUT_VERDICT)(ci.ci)


def main() -> None:
    """Run the command line; every exception ends as a message and an exit code (`coldwarm.core.exit_codes`)."""
    open_missing_streams()
    try:
        try:
            app(prog_name="coldwarm")
        finally:
            # Here, where an error can still be reported; Python's own flush at its exit would end with 120.
            sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:
        end_with(error)
