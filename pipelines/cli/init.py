"""The command that writes a first recipe."""

from typing import Annotated

import typer

app = typer.Typer()


@app.command()
def init(
    paths: Annotated[list[str], typer.Argument(help="tars, folders, Parquet files, globs; local or s3://")],
    out: Annotated[str, typer.Option(help="write the recipe here")] = "recipe.yaml",
    force: Annotated[bool, typer.Option("--force", help="replace a recipe that is there")] = False,
) -> None:
    """Look at data and write a commented recipe for it, with the columns found and what is guessed."""
    from pipelines import init as first

    for source in first.write(paths, out, force):
        guessed = "; ".join(f"{part}: {', '.join(one.names)}" for part, one in source.guesses.items())
        print(f"{source.id}: {source.annotations or source.kind}" + (f"; {guessed}" if guessed else ""))
    print(f"wrote {out}: read it, change what is wrong, then run: vlcorpus build {out}")
