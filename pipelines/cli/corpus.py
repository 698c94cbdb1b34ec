"""The commands that look at a corpus, or at one of its shards."""

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import (
    MOST,
    Address,
    Corpus,
    Json,
    Readers,
    Samples,
    StorageOptions,
    WithWork,
    Workers,
)
from schemas.plain import many, say

app = typer.Typer()


@app.command()
def verify(
    folder: Corpus,
    work: WithWork = False,
    engine: Readers = None,
    workers: Workers = None,
    address: Address = None,
    storage_options: StorageOptions = None,
) -> None:
    """Recompute every digest and every sum; exit 1 and say what differs."""
    from pipelines import runs
    from pipelines.audit import verify as audit
    from pipelines.manifest import digest_of
    from pipelines.opening import found_manifest
    from pipelines.progress import Reporter
    from pipelines.receipts import UNFINISHED
    from pipelines.recipe import load as recipes

    options = recipes.storage_options(storage_options)
    found_manifest(folder, options)
    how = runs.Options(engine or runs.reader(workers), workers, address)
    with runs.engine_for(how, Reporter()) as made:
        problems = audit.verify(folder, options, work, made)
    for problem in problems:
        say(problem)
    say(f"SHA-256 of manifest.json: {digest_of(folder, options)}")
    for sentence in audit.unchecked(folder, options):
        say(f"not checked: {sentence}")
    if not work:
        say("not checked: receipts, signals, clusters and scores in work/ (verify --work does)")
    if problems:
        if any(UNFINISHED not in problem for problem in problems):
            say(audit.mending(folder))
        raise typer.Exit(1)
    say(f"{folder}: every file is what its manifest says, and the funnel adds up")


@app.command()
def inspect(
    shard: Annotated[str, typer.Argument(help="a shard: tar or Parquet")],
    n: Samples = 10,
    html: Annotated[Path | None, typer.Option(help="write a page with images here")] = None,
    storage_options: StorageOptions = None,
) -> None:
    """Show the samples of a shard."""
    from pipelines.recipe import load as recipes
    from pipelines.show import inspect as inspection
    from pipelines.show.terminal import Terminal

    options = recipes.storage_options(storage_options)
    if html is None:
        inspection.show(shard, n, Terminal(), options)
    else:
        inspection.html(shard, n, str(html), options)
        say(f"wrote {html}")


@app.command()
def view(
    what: Annotated[str, typer.Argument(metavar="SHARD|KEY", help="a shard, or the start of a sample's key")],
    out: Annotated[Path, typer.Option(help="write the page here")] = Path("view.html"),
    png: Annotated[Path | None, typer.Option(help="write an image here too")] = None,
    n: Samples = 10,
    corpus: Annotated[str, typer.Option(help="where a key is looked up")] = "corpus",
    storage_options: StorageOptions = None,
) -> None:
    """Draw samples: boxes and quads on their images, dialogues as bubbles, taught text marked."""
    from pipelines.recipe import load as recipes
    from pipelines.show import view as look

    samples = look.found(what, corpus, n, recipes.storage_options(storage_options))
    look.write(samples, out, png)
    say(f"{many(len(samples), 'sample')} in {out}" + (f" and {png}" if png else ""))


@app.command()
def diff(
    a: Corpus,
    b: Annotated[str, typer.Argument(help="folder of another")],
    n: Annotated[int, typer.Option("--n", "-n", min=0, max=MOST, help="examples of each change")] = 5,
    storage_options: StorageOptions = None,
) -> None:
    """Show how two corpora differ: thresholds, decisions, keys."""
    from pipelines.audit.diff import diff as difference
    from pipelines.audit.diff import show
    from pipelines.recipe import load as recipes
    from pipelines.show.terminal import Terminal

    show(difference(a, b, n, recipes.storage_options(storage_options)), Terminal())


@app.command()
def calibrate(
    folder: Annotated[str, typer.Argument(help="folder of a corpus with CLIP scores")],
    plot: Annotated[Path | None, typer.Option(help="draw the curves here (.png or .svg)")] = None,
    storage_options: StorageOptions = None,
) -> None:
    """Show which CLIP thresholds keep which share, by source and language."""
    from pipelines.audit import calibrate as calibration
    from pipelines.recipe import load as recipes
    from pipelines.show.terminal import Terminal

    found = calibration.curves(folder, recipes.storage_options(storage_options))
    calibration.show(found, Terminal())
    if plot is not None:
        calibration.plot(found, plot)
        say(f"wrote {plot}")


@app.command()
def export(
    folder: Corpus,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="TARGET",
            help="energon (Megatron-Energon), llava, qwen-vl, qwen3-vl, coco, paligemma or kosmos2",
        ),
    ],
    out: Annotated[str, typer.Option("--out", help="a new or empty folder")],
    split: Annotated[str | None, typer.Option(help="only views of this split")] = None,
    task: Annotated[str | None, typer.Option(help="only views of this task")] = None,
    source: Annotated[str | None, typer.Option(help="only views of this source")] = None,
    images: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER",
            help="link to images that lie in this folder byte for byte, instead of writing them",
        ),
    ] = None,
    storage_options: StorageOptions = None,
) -> None:
    """Write a corpus as another program reads it."""
    from pipelines.export.table import Asked
    from pipelines.export.table import export as write
    from pipelines.recipe import load as recipes

    options, asked = recipes.storage_options(storage_options), Asked(split, task, source, images)
    for sentence in write(folder, to, out, options, asked):
        say(f"{out}: {sentence}")


@app.command()
def clusters(
    folder: Corpus,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            help="the recipe or the inputs that it was built from: shows images of dropped rows too"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="write the page here")] = Path("clusters.html"),
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=MOST, help="clusters of each kind")] = 20,
    storage_options: StorageOptions = None,
) -> None:
    """Show the largest clusters of like images, and those most in doubt, as a page; and the commonest captions."""
    from pipelines.recipe import load as recipes
    from pipelines.show import clusters as look

    options = recipes.storage_options(storage_options)
    found = look.find(folder, n, options)
    recipe = recipes.load(inputs, {"out": folder}) if inputs else None
    if recipe and (unknown := look.strangers(folder, recipe, options)):
        say(
            f"{', '.join(unknown)}: no source of {folder}; give the recipe that it was built with to see the images "
            "of dropped rows"
        )
    look.write(out, look.page(folder, found, look.images(folder, found, recipe, options)))
    say(f"wrote {out}: {len(found.largest)} of {found.count:,} clusters, {len(found.doubtful)} in doubt")
    for one in look.boilerplate(folder, n, options):
        held_out = f" and {one.held_out:,} held out for evaluation" if one.held_out else ""
        say(f"{many(one.rows, 'row')}, of which {one.kept:,} kept{held_out}: {one.caption[:200]}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from pipelines.recipe.model import Recipe

    say(*json.dumps(Recipe.model_json_schema(), indent=2, ensure_ascii=False).splitlines())


@app.command()
def status(folder: Corpus, as_json: Json = False, storage_options: StorageOptions = None) -> None:
    """Show what is done, running, failed; rows; why rows are in quarantine."""
    from pipelines.audit import status as state
    from pipelines.recipe import load as recipes
    from pipelines.show.terminal import Terminal

    found = state.read(folder, recipes.storage_options(storage_options))
    say(json.dumps(found.to_json(), ensure_ascii=False)) if as_json else state.show(found, Terminal())
