"""How the help reads: a command's line in a list is its whole first sentence."""

import sys
from typing import Any

from typer.core import TyperGroup


class Group(TyperGroup):
    """Commands under one name; left to itself, typer cuts a command's line where the terminal ends."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        for command in self.commands.values():
            command.short_help = command.get_short_help_str(limit=sys.maxsize)
