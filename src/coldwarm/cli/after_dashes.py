"""Commands of coldwarm that take a command of the user, after ``--``."""

from __future__ import annotations

from typing import Any

from coldwarm.cli.help import Command
from coldwarm.core.errors import UsageError

_WORDS = "coldwarm.command"


class WithCommand(Command):
    """A command that takes another one after ``--``, whose words are not its own options."""

    usage_after = "[-- COMMAND...]"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take the words after the first ``--`` away."""
        if "--" in args:
            at = args.index("--")
            ctx.meta[_WORDS] = args[at + 1 :]
            args = args[:at]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what comes after the name of the command in a line that begins with ``Usage:``."""
        return [*super().collect_usage_pieces(ctx), self.usage_after]


class OnlyWithCommand(WithCommand):
    """A command that needs another one after ``--``."""

    usage_after = "-- COMMAND..."


def command_after_dashes(ctx: Any) -> list[str] | None:
    """Return the words after ``--``; None if there is no ``--``.

    Raises:
        UsageError: Nothing comes after ``--``.
    """
    words: list[str] | None = ctx.meta.get(_WORDS)
    if words is not None and not words:
        raise UsageError(f"no command after --; for example: {ctx.command_path} -- python script.py")
    return words


def refuse_with_command(ctx: Any, *allowed: str) -> None:
    """Raise `UsageError` if the command line has arguments that do not apply to a command of the user.

    Args:
        ctx: The context of the command.
        allowed: The names of the parameters that apply.
    """
    for parameter in ctx.command.params:
        source = ctx.get_parameter_source(parameter.name)
        if parameter.name not in allowed and source is not None and source.name == "COMMANDLINE":
            if parameter.param_type_name == "argument":
                raise UsageError("give either models or a command after --, not both")
            name = max(parameter.opts, key=len)
            raise UsageError(f"{name} does not apply to a command; give the command its own options after --")
