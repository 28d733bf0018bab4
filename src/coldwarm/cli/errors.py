"""How a command ends that could not do what it was asked: a message and an exit code that is no verdict.

Imports inside the functions keep `coldwarm --help` fast.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from coldwarm.cli.help import PlainHelp
from coldwarm.core.errors import ColdwarmError, UsageError
from coldwarm.core.exit_codes import ExitCode

# Of the machine, so that the file's name says it all.
_OF_THE_MACHINE = {
    *(errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE),
    errno.ENOMEM,
}


class Commands(PlainHelp, TyperGroup):
    """The commands; exceptions that click would exit with 1 for end as what they are."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the command line; `--help` is printed here."""
        with _before_click_sees_it():
            return super().make_context(*args, **kwargs)

    def invoke(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command."""
        with _before_click_sees_it():
            return super().invoke(*args, **kwargs)


@contextmanager
def _before_click_sees_it() -> Iterator[None]:
    try:
        yield
    except (KeyboardInterrupt, BrokenPipeError, EOFError) as error:
        end_with(error)
    except typer.BadParameter as error:
        error.message = _in_plain_words(error.message)
        raise
    except SystemExit as error:
        # So rich ends where the reader of a help screen is gone (rich/console.py, `on_broken_pipe`).
        raise SystemExit(ExitCode.HEALTHY if error.code == 1 else error.code) from None


def _in_plain_words(message: str) -> str:
    """Return what pydantic, which checks values for typer, says about a value of the command line."""
    message = message.removeprefix("Value error, ").partition(", unable to parse")[0]
    return message.replace("Input should be", "must be").replace("greater than or equal to", "at least")


def end_with(error: BaseException) -> NoReturn:
    """Print what went wrong, and exit with the code for it; for no exception is that 1, which says a model failed."""
    match error:
        case KeyboardInterrupt():
            sys.exit(ExitCode.INTERRUPTED)
        case BrokenPipeError():
            # A reader that has seen enough (`coldwarm list | head -1`) is no error.
            _drop_stdout()
            sys.exit(ExitCode.HEALTHY)
        case ColdwarmError():
            _print(f"coldwarm: {error}")
            sys.exit(ExitCode.USAGE)
    _drop_stdout()
    if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
        where = f"{error.filename}: " if error.filename else ""
        _print(f"coldwarm: {where}{error.strerror}")
        sys.exit(ExitCode.INTERNAL_ERROR)
    import traceback

    _print("".join(traceback.format_exception(error)).rstrip())
    _print(f"coldwarm: internal error: {''.join(traceback.format_exception_only(error)).strip()}")
    _print("  This is a defect of coldwarm, and says nothing about a model. Please report it with all of the above.")
    sys.exit(ExitCode.INTERNAL_ERROR)


def usage_error(problems: Iterable[str]) -> UsageError:
    """Return one error for several problems, of which each is printed on a line of its own."""
    return UsageError("\ncoldwarm: ".join(problems))


def open_missing_streams() -> None:
    """Have a stdout and a stderr, also in a process that was begun without (``coldwarm list >&-``)."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _print(text: str) -> None:
    from coldwarm.core.secrets import Secrets

    # What cannot be printed must not take the exit code's place.
    with suppress(OSError):
        sys.stderr.write(Secrets.of_command(sys.argv).text(text) + "\n")


def _drop_stdout() -> None:
    """Print what is printed so far if it can be; what cannot must not fail again when Python exits."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, sys.stdout.fileno())
