"""A group of commands, one of which is meant if none is named."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup

from coldwarm.cli.help import PlainHelp


class WithDefault(PlainHelp, TyperGroup):
    """A group in which ``GROUP ARGS...`` is ``GROUP list ARGS...`` unless ARGS begin with the name of a command."""

    default = "list"

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Add the name of the default command if none is named."""
        if not args or args[0] not in (*self.commands, "--help"):
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return what comes after the name of the group in a line that begins with ``Usage:``."""
        default: Any = self.commands[self.default]
        arguments = [param.metavar for param in default.params if param.param_type_name == "argument"]
        return [*arguments, "| COMMAND [ARGS]..."]
