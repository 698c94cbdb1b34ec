"""The command that writes a first recipe."""

from typing import Annotated

import typer

from pipelines.cli.options import StorageOptions
from schemas.plain import say

app = typer.Typer()


@app.command()
def init(
    paths: Annotated[list[str], typer.Argument(help="tars, folders, Parquet files, globs; local or s3://")],
    out: Annotated[str, typer.Option(help="write the recipe here")] = "recipe.yaml",
    force: Annotated[bool, typer.Option("--force", help="replace a recipe that is there")] = False,
    storage_options: StorageOptions = None,
) -> None:
    """Look at data and write a commented recipe for it, with the columns found and what is guessed."""
    from pipelines import init as first
    from pipelines.recipe import load as recipes

    for source in first.write(paths, out, force, recipes.storage_options(storage_options)):
        guessed = "; ".join(f"{part}: {', '.join(one.names)}" for part, one in source.guesses.items())
        say(f"{source.id}: {source.annotations or source.kind.name}" + (f"; {guessed}" if guessed else ""))
    say(f"wrote {out}: read it, change what is wrong, then run: vlcorpus build {out}")
