"""`coldwarm history`: shows and fills the history of runs."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coldwarm.cli.default_command import WithDefault
from coldwarm.cli.errors import usage_error
from coldwarm.cli.help import Command, codes_without_verdict
from coldwarm.cli.options import DeviceChoice, HistoryStoreOption
from coldwarm.cli.results import stdout
from coldwarm.core.depth import Depth
from coldwarm.core.errors import UsageError, nearest

if TYPE_CHECKING:
    from coldwarm.store.history.history import History
    from coldwarm.store.history.points import Filter

_WHICH = "Which runs"
_AGE = re.compile(r"(\d+)([hdw])")
_UNITS = {"h": "hours", "d": "days", "w": "weeks"}

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Take the run with this id, or its first characters.")]

app = typer.Typer(
    cls=WithDefault,
    rich_markup_mode=None,
    help="""Show what past runs of a model measured, and store more of them.

    A history is a SQLite file, or a PostgreSQL database that a team shares. 'coldwarm run --store' adds to it. Without
    a command, the runs of MODEL are listed, or all models; 'coldwarm history list --help' has the options.

    Examples:
      coldwarm history                      # all models that have runs
      coldwarm history glm-4.5              # its newest runs
      coldwarm history glm-4.5 --since 7d   # those of the last seven days
      coldwarm history glm-4.5 --trend      # since when it is slower
      coldwarm history add coldwarm-runs/X  # store a suite
    """,
    epilog=codes_without_verdict("The runs were listed, stored or written."),
)


@app.command("list", cls=Command, epilog=codes_without_verdict("The runs were listed."))
def list_runs(
    model: Annotated[
        str | None,
        typer.Argument(
            metavar="[MODEL]",
            help="List the runs of this model or command; its name is that in the list of all.",
            show_default="list all models",
        ),
    ] = None,
    store: HistoryStoreOption = None,
    limit: Annotated[int, typer.Option(min=1, metavar="N", help="List only the newest N runs.")] = 20,
    since: Annotated[
        str | None,
        typer.Option(
            metavar="TIME",
            rich_help_panel=_WHICH,
            help="Take runs that began since then: a date, a date and time, or an age such as 12h, 7d or 4w.",
        ),
    ] = None,
    device: Annotated[
        DeviceChoice | None,
        typer.Option(metavar="cpu|cuda", rich_help_panel=_WHICH, help="Take runs on this device."),
    ] = None,
    depth: Annotated[
        Depth | None, typer.Option(metavar="LEVEL", rich_help_panel=_WHICH, help="Take runs at this depth.")
    ] = None,
    version: Annotated[
        str | None,
        typer.Option(
            metavar="VERSION",
            rich_help_panel=_WHICH,
            help="Take runs with this version of vLLM; 0.33 is also 0.33.1 and 0.33.0+cu130.",
        ),
    ] = None,
    torch: Annotated[
        str | None,
        typer.Option(metavar="VERSION", rich_help_panel=_WHICH, help="Take runs with this version of torch."),
    ] = None,
    machine: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT", rich_help_panel=_WHICH, help="Take runs on machines whose GPU or CPU has this in its name."
        ),
    ] = None,
    commit: Annotated[
        str | None,
        typer.Option(
            metavar="HASH",
            rich_help_panel=_WHICH,
            help="Take runs of a checkout at this commit; its first characters are enough.",
        ),
    ] = None,
    verdict: Annotated[
        str | None,
        typer.Option(
            metavar="VERDICT",
            rich_help_panel=_WHICH,
            help="Take runs with this verdict, such as failed; of starts that were watched, such as cold.",
        ),
    ] = None,
    trend: Annotated[
        bool,
        typer.Option(
            "--trend",
            help="Instead of the runs, show since when MODEL has other seconds or counts, and with which versions. "
            "Only runs like the newest one are examined: the same settings, machine and isolation.",
        ),
    ] = False,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print the runs or models as a JSON array of objects; with --trend, one JSON object."
        ),
    ] = False,
) -> None:
    """List the runs of a model, the newest last; or all models.

    Columns are what differs between the runs; what they have in common is above them.

    Examples:
      coldwarm history list                         # all models that have runs
      coldwarm history list glm-4.5 --device cuda   # its newest runs on a GPU
      coldwarm history list glm-4.5 --version 0.33  # with one version of vLLM
      coldwarm history list glm-4.5 --trend         # since when it is slower
      coldwarm history list glm-4.5 --json          # all that is known of them
    """
    from coldwarm.report.history_view import as_json, print_models, print_points
    from coldwarm.store.history.history import History
    from coldwarm.store.history.points import Filter

    if verdict is not None:
        _check_verdict(verdict)
    which = Filter(
        since=_time(since) if since is not None else None,
        device=device,
        depth=depth,
        version=version,
        torch=torch,
        machine=machine,
        commit=commit,
        verdict=verdict,
    )
    if trend and model is None:
        raise UsageError("--trend is about one model; name it ('coldwarm history' lists all)")
    with History.open(store, create=False) as history:
        if trend and model is not None:
            _print_trend(history, model, which, json=json)
            return
        if model is None:
            models = history.models(which)
            if json:
                sys.stdout.write(as_json(models))
            elif models:
                print_models(stdout(), models)
            else:
                sys.stdout.write(f"no such run in {history.location}\n")
            return
        # One more than is shown, to know whether there are others.
        points = history.points(model, which=which, limit=limit + 1)
        if not points:
            _check_model(history, model)
        if json:
            sys.stdout.write(as_json(points[-limit:]))
        elif points:
            print_points(stdout(), points[-limit:], has_older=len(points) > limit)
        else:
            sys.stdout.write(f"no such run in {history.location}\n")


def _print_trend(history: History, model: str, which: Filter, *, json: bool) -> None:
    from coldwarm.comparison.steps import WINDOW
    from coldwarm.comparison.trend import trend_of
    from coldwarm.report.trend_view import print_trend, trend_as_json

    # More than are examined, because some may have been made in other ways.
    points = history.points(model, which=which, limit=5 * WINDOW)
    if not points:
        _check_model(history, model)
    trend = trend_of(points)
    if json:
        sys.stdout.write(trend_as_json(model, trend))
    else:
        print_trend(stdout(), model, trend)


@app.command("add", cls=Command, epilog=codes_without_verdict("All suites were stored."))
def add(
    folders: Annotated[
        list[Path], typer.Argument(metavar="DIR...", help="Store what is in these folders: suites, or single runs.")
    ],
    store: HistoryStoreOption = None,
) -> None:
    """Store the runs of suites in the history.

    Runs without a verdict were interrupted, and are not stored; neither are models that the device cannot run, of which
    nothing was started. Adding a run twice stores it once.

    Examples:
      coldwarm history add coldwarm-runs/*  # all suites in this folder
      coldwarm history add X --store postgresql://ci@db.example/history
    """
    from coldwarm.report.history_view import added_line
    from coldwarm.store.history.history import History

    problems = []
    with History.open(store) as history:
        for folder in folders:
            try:
                sys.stdout.write(added_line(str(folder), history.add(folder)) + "\n")
                sys.stdout.flush()
            except UsageError as error:
                problems.append(str(error))
    if problems:
        raise usage_error(problems)


@app.command("show", cls=Command, epilog=codes_without_verdict("The run was shown."))
def show(run: IdArgument, store: HistoryStoreOption = None) -> None:
    """Show the checks, phases, caches, versions and warnings of a run in the history.

    The verdict is the one that was stored. To judge or explain the run again, write it to a folder with 'coldwarm
    history export'.

    Examples:
      coldwarm history show 5d6f6a1d                     # an id from the list
      coldwarm history show 5d6f6a1d --store history.db  # from another store
    """
    from coldwarm.report.run_view import print_run
    from coldwarm.report.summary import RunSummary
    from coldwarm.report.watch_view import watch_text
    from coldwarm.store.history.history import History
    from coldwarm.suite.result import RunResult

    with History.open(store, create=False) as history:
        content = history.content(run)
    if content.warmth is not None:
        sys.stdout.write(watch_text(content.warmth))
    elif content.case is not None and content.verdict is not None:
        shown = content.shown
        result = RunResult(content.case, shown.cold, shown.warm, content.verdict, shown.explanation)
        print_run(stdout(), RunSummary.of(result))


@app.command("export", cls=Command, epilog=codes_without_verdict("The run was written."))
def export(
    run: IdArgument,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Write to this folder, which must be empty or not exist.")
    ],
    store: HistoryStoreOption = None,
) -> None:
    """Write a run of the history to a folder, for the commands that read one: judge, explain, compare, versions.

    It has the records, the verdict and the explanation; logs and traces are not in the history. A start that was
    watched cannot be exported; 'coldwarm history show' shows it.

    Examples:
      coldwarm history export 5d6f6a1d old  # an id from the list
      coldwarm compare old coldwarm-runs/X  # what changed since then
    """
    from coldwarm.store.history.history import History

    with History.open(store, create=False) as history:
        history.export(run, folder)
    sys.stdout.write(f"wrote {folder}\n")


def _time(text: str) -> datetime:
    """Return the time that --since names; one without a time zone is that of this machine."""
    if (age := _AGE.fullmatch(text)) is not None:
        return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise UsageError(f"--since {text!r} is neither a time, such as 2026-11-29, nor an age, such as 7d") from error


def _check_verdict(verdict: str) -> None:
    from coldwarm.checks.verdict import Status
    from coldwarm.diagnose.warmth import Warmth

    known = [each.value for each in (*Status, *Warmth)]
    if verdict not in known:
        raise UsageError(f"--verdict {verdict}: no such verdict{nearest(verdict, known)} (one of: {', '.join(known)})")


def _check_model(history: History, model: str) -> None:
    names = [each.model for each in history.models()]
    if model not in names:
        raise UsageError(f"no run of {model!r} in {history.location}{nearest(model, names)}")
