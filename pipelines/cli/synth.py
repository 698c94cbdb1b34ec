"""The commands that make data: the demo crawl, pages of text."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import (
    LARGEST_SEED,
    MOST,
    Address,
    Engines,
    Group,
    Json,
    Workers,
    among,
    recipe_keys,
    runner_options,
)
from pipelines.engines import EngineName
from schemas.errors import OutputError
from schemas.plain import many, say

app = typer.Typer(cls=Group, help="Make data: the demo crawl, pages of text.", no_args_is_help=True)

DIRECTIONS = ("auto", "ltr", "rtl", "vertical")
LEVELS = ("line", "word", "character")


@app.command()
def crawl(
    out: Annotated[Path, typer.Option(help="folder for shards/ and truth.jsonl")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=MOST, help="samples")] = 2000,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="of every random choice")] = 1,
    per_shard: Annotated[int, typer.Option(min=1, max=MOST, help="samples a shard")] = 250,
) -> None:
    """Make the demo crawl: raw shards with planted defects, and the truth about them beside."""
    from pipelines.files import remedy, why
    from synth.crawl import write_crawl

    try:
        write_crawl(out, n, seed, per_shard)
    except OSError as error:
        raise OutputError(f"cannot write the crawl to {out}: {why(error)}; {remedy(error)}") from error
    say(f"{many(n, 'sample')} in {out / 'shards'}, the truth about them in {out / 'truth.jsonl'}")


@app.command()
def ocr(
    out: Annotated[str, typer.Option(help="folder of the corpus, local or s3://")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, max=MOST, help="pages a language")] = 100,
    language: Annotated[list[str] | None, typer.Option("--language", help="en,zh or repeated")] = None,
    setting: Annotated[
        str, typer.Option(help="default (as SynthDoG) or mild", autocompletion=among("default", "mild"))
    ] = "default",
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="of every random choice")] = 0,
    direction: Annotated[
        str, typer.Option(help="auto, ltr, rtl or vertical", autocompletion=among(*DIRECTIONS))
    ] = "auto",
    fonts: Annotated[str | None, typer.Option(help="a folder of fonts; default: the system's")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="text files, or shards with captions; default: our own words")
    ] = None,
    pictures: Annotated[
        list[str] | None, typer.Option(help="images, folders or shards to lie behind; default: our own")
    ] = None,
    level: Annotated[
        str,
        typer.Option(help="what has a quad: line, word or character", autocompletion=among(*LEVELS)),
    ] = "line",
    scene_text: Annotated[bool, typer.Option("--scene-text", help="words on images, not pages")] = False,
    readback: Annotated[
        float, typer.Option(min=0, max=1, help="share of the pages that an OCR reads back, 0-1")
    ] = 0.0,
    engine: Engines = EngineName.local,
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Make pages of text with true quads: N a language, one sample a page."""
    import vlcorpus
    from pipelines.progress import reporter_for
    from pipelines.recipe import load as recipes

    given = {
        "count": n,
        # words on images know no setting: one that is asked for all the same is refused
        "setting": None if scene_text and setting == "default" else setting,
        "direction": direction,
        "fonts": fonts,
        "texts": text,
        "pictures": pictures,
        "level": level,
        "readback": readback,
    }
    keys = {**recipe_keys(out, language or ["en,zh"]), "seed": seed}
    recipe = recipes.for_pages(keys, given, "scene_text" if scene_text else "ocr")
    how = vlcorpus.Engine(engine, workers, address, None, runner_options)
    vlcorpus.build(recipe, engine=how, progress=reporter_for(as_json))


@app.command()
def score(
    corpus: Annotated[str, typer.Argument(help="folder of the corpus built from the crawl")],
    crawl: Annotated[Path, typer.Argument(help="folder that `synth crawl` wrote")],
) -> None:
    """Hold a corpus against the crawl's truth: precision and recall of every rule."""
    from pipelines.audit.truth import print_score
    from pipelines.show.terminal import Terminal

    print_score(corpus, crawl, Terminal())
