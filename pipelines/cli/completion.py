"""The command that prints a shell's completion script, and what the script asks of the program at each TAB.

typer can install its scripts itself, but in zsh the first TAB of each session then does nothing. What this
module imports of typer has no public name there; the tests type into real shells.
"""

import os
from enum import StrEnum
from typing import Annotated

import typer

app = typer.Typer()

VARIABLE = "_VLCORPUS_COMPLETE"
"""The environment variable by which a script asks for completions."""


class Shell(StrEnum):
    """The shells with a completion script."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(help="the shell that reads the script")]) -> None:
    """Print the script that completes this command in bash, zsh or fish."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]

    print(get_completion_script(prog_name="vlcorpus", complete_var=VARIABLE, shell=shell.value))


def prepare() -> None:
    """Get ready to answer a completion script, where it is one that calls."""
    if VARIABLE not in os.environ:
        return
    from typer.completion import completion_init  # type: ignore[attr-defined]

    completion_init()
    # descriptions are wrapped to the terminal's width; a shell takes each of their lines for a word to offer
    os.environ["COLUMNS"] = "1000"
