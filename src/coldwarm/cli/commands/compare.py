"""`coldwarm compare`: shows what is different in newer runs, and fails on a regression."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from coldwarm.cli.options import CatalogOption, HistoryStoreOption
from coldwarm.cli.results import print_markdown
from coldwarm.core.errors import UsageError, nearest
from coldwarm.core.user_paths import expanded

if TYPE_CHECKING:
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.comparison.sides import Side

_FORMATS = ("html", "json", "markdown")
_NONE = "none"
_STDOUT = "-"


def compare(
    before: Annotated[
        str,
        typer.Argument(
            metavar="BEFORE",
            help="The older runs: the folder of a suite, of one run, or of several suites; or runs in the history: the "
            "id of one, or conditions such as version=0.32,model=glm-4.5.",
        ),
    ],
    after: Annotated[str, typer.Argument(metavar="AFTER", help="The newer runs, given in the same way.")],
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            "--fail-on",
            metavar="KIND[,KIND]",
            help="Exit with 1 on a regression of these kinds. Repeatable.\n"
            "- counts: More was compiled, or less was loaded.\n"
            "- findings: A verdict got worse, or there is a new known issue or finding.\n"
            "- time: A start or a phase is significantly slower. Not enough starts to tell is exit code 2.\n"
            "- none: Only show what changed.",
            show_default="counts,findings,time",
        ),
    ] = None,
    report: Annotated[
        list[str] | None,
        typer.Option(
            "--report",
            metavar="FORMAT=FILE",
            help=f"Also write the comparison to a file. FORMAT is one of {', '.join(_FORMATS)}. If FILE is "
            f"{_STDOUT}, print it instead of Markdown. Repeatable.",
        ),
    ] = None,
    update: Annotated[
        bool,
        typer.Option(
            "--update",
            help="Keep AFTER as the last accepted run, without logs and traces, if all of its models passed, showed a "
            "known issue, or cannot run here. BEFORE need not exist.",
        ),
    ] = False,
    store: HistoryStoreOption = None,
    catalog: CatalogOption = None,
) -> None:
    """Show what is different in newer runs, and fail on a regression.

    Verdicts, counts, findings and the components of cache keys are compared exactly, seconds with a rank test. For
    that, each side needs several starts: 'coldwarm run --repeat N', or a folder of several suites.

    It prints Markdown, formatted in a terminal. The current catalog judges both sides. With --update, BEFORE becomes a
    copy of AFTER if AFTER is healthy. Otherwise BEFORE stays, so that each run shows the failure until it is fixed or
    accepted.

    Examples:
      coldwarm compare coldwarm-runs/A coldwarm-runs/B
      coldwarm compare A B --fail-on counts,findings   # one start each is enough
      coldwarm compare A B --report html=changes.html
      coldwarm compare version=0.32 version=0.33       # runs in the history
      coldwarm compare accepted coldwarm-out --update  # as in a nightly pipeline
    """
    from coldwarm.catalog.catalog import Catalog
    from coldwarm.comparison.compare import FailOn, compare_sides
    from coldwarm.core.exit_codes import ExitCode
    from coldwarm.report.comparison_view import comparison_as_markdown
    from coldwarm.report.files import check_writable, write_report
    from coldwarm.store.suite_folder import keep_records
    from coldwarm.suite.stored import judge_suite

    kinds = _kinds(fail_on, list(FailOn))
    criteria = [FailOn(kind) for kind in kinds]
    reports = _reports(report or [])
    for _, file in reports:
        if file is not None:
            check_writable(file)
    # A pipeline quotes its words, so the shell does not expand `~`.
    accepted = expanded(before)
    newer = judge_suite(expanded(after), catalog or []) if update else None
    exit_code = ExitCode.HEALTHY
    if update and not accepted.exists():
        # Only the report goes to stdout if one does.
        stream = sys.stderr if any(file is None for _, file in reports) else sys.stdout
        stream.write("There is no accepted run yet.\n")
    else:
        comparison = compare_sides(*_sides(before, after, store, Catalog.read(catalog or [])))
        title = "Changes since the last accepted run" if update else f"Changes from {before} to {after}"
        exit_code = comparison.exit_code(criteria)

        def render(format_: str, folder: Path) -> str:
            # Imported here, because the templates of HTML take long to load.
            if format_ == "json":
                from coldwarm.report.comparison_json import comparison_as_json

                return comparison_as_json(comparison, exit_code)
            if format_ == "html":
                from coldwarm.report.html.comparison import render_comparison

                return render_comparison(comparison, names=(before, after), fail_on=criteria)
            return comparison_as_markdown(comparison, folder, title=title, fail_on=criteria)

        for format_, file in reports:
            if file is not None:
                text = render(format_, file.parent)
                write_report(file, partial(Path.write_text, data=text, encoding="utf-8", errors="replace"))
        if printed := [format_ for format_, file in reports if file is None]:
            sys.stdout.write(render(printed[0], Path()))
        else:
            print_markdown(render("markdown", Path()))
    if newer is not None and newer.exit_code is ExitCode.HEALTHY:
        keep_records(expanded(after), accepted)
    raise typer.Exit(exit_code)


def _sides(
    before: str, after: str, store: str | None, catalog: Catalog
) -> tuple[dict[str, Side], dict[str, Side], list[str]]:
    """Return the older and the newer runs by name, from folders or the history, and those that were not started."""
    from coldwarm.comparison.past import is_in_history, points_of, sides_of_points
    from coldwarm.comparison.stored import not_started_in, sides_of
    from coldwarm.store.history.history import History

    words = before, after
    past = [is_in_history(word, has_store=store is not None) for word in words]
    folders = [None if in_history else expanded(word) for word, in_history in zip(words, past, strict=True)]
    not_started = not_started_in(folders[1]) if folders[1] is not None else []
    if not any(past):
        old, new = (sides_of(folder, catalog) for folder in folders if folder is not None)
        return old, new, not_started
    with History.open(store, create=False) as history:
        points = [points_of(history, word) if in_history else [] for word, in_history in zip(words, past, strict=True)]
        old, new = (
            sides_of(folder, catalog) if folder is not None else sides_of_points(history, of_side, catalog, like)
            for folder, of_side, like in zip(folders, points, reversed(points), strict=True)
        )
    return old, new, not_started


def _kinds(words: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    """Return the kinds of regressions that --fail-on names; all of them by default."""
    kinds = [kind.strip() for word in words or [",".join(known)] for kind in word.split(",")]
    for kind in kinds:
        if kind not in (*known, _NONE):
            choices = [*known, _NONE]
            raise UsageError(f"--fail-on {kind}: no such kind{nearest(kind, choices)} (one of: {', '.join(choices)})")
    if _NONE in kinds and len(set(kinds)) > 1:
        raise UsageError("--fail-on: give none, or the kinds of regressions, not both")
    return [kind for kind in dict.fromkeys(kinds) if kind != _NONE]


def _reports(words: Sequence[str]) -> list[tuple[str, Path | None]]:
    """Return the formats and files that --report names; None: stdout."""
    found: list[tuple[str, Path | None]] = []
    for word in words:
        format_, equals, file = word.partition("=")
        if format_ not in _FORMATS:
            formats = ", ".join(_FORMATS)
            raise UsageError(
                f"--report {word}: unknown format {format_!r}{nearest(format_, _FORMATS)}; formats: {formats}"
            )
        if not equals or not file:
            raise UsageError(
                f"--report {word}: the file is missing; write --report {format_}=FILE, "
                f"or {format_}={_STDOUT} for stdout"
            )
        found.append((format_, None if file == _STDOUT else Path(file)))
    if sum(file is None for _, file in found) > 1:
        raise UsageError(f"--report: only one report can go to stdout ({_STDOUT})")
    return found
