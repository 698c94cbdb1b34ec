"""The command `vlcorpus`."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipelines import recipes, runs
from pipelines.progress import reporter_for
from pipelines.runs import EngineName, Options
from pipelines.store_failures import remedy, why
from schemas.errors import OutputError, RecipeError, VlcorpusError

app = typer.Typer(
    help="Clean image-text corpora by Qwen-VL's recipe: the same bytes on one machine, on Ray and on Beam.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
synth_app = typer.Typer(help="Make data: the demo crawl.", no_args_is_help=True)
app.add_typer(synth_app, name="synth")

Inputs = Annotated[list[str], typer.Argument(help="a recipe (.yaml), or tars, folders, Parquet files, globs")]
RecipePath = Annotated[str, typer.Argument(help="a recipe (.yaml)")]
Out = Annotated[
    str | None, typer.Option(help="folder of the corpus, local or s3://; default: the recipe's `out`")
]
Languages = Annotated[list[str] | None, typer.Option("--language", help="keep these: en,zh or repeated")]
Engines = Annotated[EngineName, typer.Option(help="what runs the work")]
Workers = Annotated[int | None, typer.Option(min=1, help="worker processes; default: one a core")]
Sample = Annotated[float | None, typer.Option(help="share of the keys that takes part, 0-1")]
Quarantine = Annotated[float | None, typer.Option(help="largest share of a source's rows in quarantine")]
Json = Annotated[bool, typer.Option("--json", help="JSON lines for machines")]
Address = Annotated[str | None, typer.Option(help="address of a Ray cluster; default: one in this process")]
VerdictFile = Annotated[str | None, typer.Option("--verdicts", help="replay the verdicts of this file")]
Kind = Annotated[str, typer.Option(help="auto, webdataset, parquet, folder or text")]


@app.command()
def build(
    inputs: Inputs,
    out: Out = None,
    language: Languages = None,
    engine: Engines = EngineName.local,
    workers: Workers = None,
    sample: Sample = None,
    max_quarantine: Quarantine = None,
    max_bad_shards: Annotated[
        int | None, typer.Option(help="damaged input shards that are tolerated")
    ] = None,
    kind: Kind = "auto",
    address: Address = None,
    verdicts: VerdictFile = None,
    as_json: Json = False,
) -> None:
    """Build a corpus: every phase that is not done yet."""
    recipe = _recipe(inputs, kind, _extra(out, language, sample, max_quarantine, max_bad_shards))
    runs.run(
        recipe, "card", Options(engine, workers, address, verdicts, _runner_options), reporter_for(as_json)
    )


def _phase(name: str, summary: str) -> None:
    """Make a command of one phase; the phases before it run where they are not done."""

    def command(
        recipe: RecipePath,
        out: Out = None,
        engine: Engines = EngineName.local,
        workers: Workers = None,
        address: Address = None,
        verdicts: VerdictFile = None,
        as_json: Json = False,
    ) -> None:
        loaded = _recipe([recipe], "auto", _extra(out, None, None, None, None))
        runs.run(
            loaded, name, Options(engine, workers, address, verdicts, _runner_options), reporter_for(as_json)
        )

    app.command(name, help=summary)(command)


_phase("measure", "Measure every signal of every row; earlier results are kept.")
_phase("dedup", "Find the duplicates among all measured rows.")
_phase("score", "Score the pairs that reach the clip rule.")
_phase("ground", "Find what the captions of kept pairs name, in sources that ask for it.")
_phase("compose", "Compose the samples of the kept rows.")
_phase("shard", "Write the output shards.")
_phase("card", "Write the manifest and the dataset card.")


@app.command()
def select(
    recipe: RecipePath,
    out: Out = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="say what would be kept; write nothing")] = False,
    language: Languages = None,
    engine: Engines = EngineName.local,
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Decide which rows are kept, from the signals that are there."""
    loaded = _recipe([recipe], "auto", _extra(out, language, None, None, None))
    options = Options(engine, workers, address, None, _runner_options)
    runs.run(loaded, "select", options, reporter_for(as_json), dry_run)


@app.command()
def verify(folder: Annotated[str, typer.Argument(help="folder of a corpus")]) -> None:
    """Recompute every digest and every sum; exit 1 and say what differs."""
    from pipelines.verify import verify as problems_of

    problems = problems_of(folder)
    for problem in problems:
        print(problem)
    if problems:
        raise typer.Exit(1)
    print(f"{folder}: every file is what its manifest says, and the funnel adds up")


@app.command()
def inspect(
    shard: Annotated[str, typer.Argument(help="a shard: tar or Parquet")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="how many samples")] = 10,
    html: Annotated[Path | None, typer.Option(help="write a page with pictures here")] = None,
) -> None:
    """Show the samples of a shard."""
    from pipelines import inspect as inspection

    if html is None:
        inspection.show(shard, n, Console())
    else:
        inspection.html(shard, n, str(html))
        print(f"wrote {html}")


@app.command()
def view(
    what: Annotated[str, typer.Argument(metavar="SHARD|KEY", help="a shard, or the start of a sample's key")],
    out: Annotated[Path, typer.Option(help="write the page here")] = Path("view.html"),
    png: Annotated[Path | None, typer.Option(help="write a picture here too")] = None,
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="how many samples")] = 10,
    corpus: Annotated[str, typer.Option(help="where a key is looked up")] = "corpus",
) -> None:
    """Draw samples: boxes and quads on their pictures, turns as bubbles, what is taught marked."""
    from pipelines import look

    samples = look.found(what, corpus, n)
    look.write(samples, out, png)
    print(f"{len(samples)} samples in {out}" + (f" and {png}" if png else ""))


@app.command()
def diff(
    a: Annotated[str, typer.Argument(help="folder of a corpus")],
    b: Annotated[str, typer.Argument(help="folder of another")],
    n: Annotated[int, typer.Option("--n", "-n", min=0, help="examples of each change")] = 5,
) -> None:
    """Show how two corpora differ: thresholds, decisions, keys."""
    from pipelines.diff import diff as difference
    from pipelines.diff import show

    show(difference(a, b, n), Console())


@app.command()
def calibrate(
    folder: Annotated[str, typer.Argument(help="folder of a corpus with CLIP scores")],
    plot: Annotated[Path | None, typer.Option(help="draw the curves here (.png or .svg)")] = None,
) -> None:
    """Show which CLIP thresholds keep which share, by source and language."""
    from pipelines import calibrate as calibration

    found = calibration.curves(folder)
    calibration.show(found, Console())
    if plot is not None:
        calibration.plot(found, plot)
        print(f"wrote {plot}")


@app.command()
def schema() -> None:
    """Print the JSON Schema of recipes, for editors."""
    from schemas.recipe import Recipe

    print(json.dumps(Recipe.model_json_schema(), indent=2, ensure_ascii=False))


@app.command()
def status(folder: Annotated[str, typer.Argument(help="folder of a corpus")], as_json: Json = False) -> None:
    """Show what is done, running, failed; rows; why rows are in quarantine."""
    from pipelines import status as state

    found = state.read(folder)
    print(json.dumps(found.to_json(), ensure_ascii=False)) if as_json else state.show(found, Console())


@app.command()
def train(
    corpus: Annotated[str, typer.Argument(metavar="RECIPE|DIR", help="a corpus, or the recipe that made it")],
    out: Annotated[Path, typer.Option(help="everything goes below OUT/train")] = Path("."),
    stage: Annotated[
        str, typer.Option(help="all, or primer, language, sight, 1, 2, 3, separated by commas")
    ] = "all",
    preset: Annotated[str, typer.Option(help="tiny, small, base, qwen-vl-7b, or a YAML file")] = "tiny",
    steps: Annotated[int | None, typer.Option(min=1, help="optimiser steps of every stage")] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")] = "auto",
    workers: Annotated[
        int | None, typer.Option(min=0, help="loader processes; default: 4 beside a GPU, none on a CPU")
    ] = None,
    init: Annotated[
        list[str] | None,
        typer.Option(help="PART=PATH: weights that vision, language or the whole model starts from; or none"),
    ] = None,
) -> None:
    """Train the bundled model on a corpus, through the paper's three stages."""
    from pipelines import training

    asked = training.Training(corpus, out, stage, preset, steps, seed, device, workers, tuple(init or ()))
    training.train(asked)


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="folder of a trained model")],
    shards: Annotated[str, typer.Argument(help="folder of a corpus")],
    out: Annotated[Path, typer.Option(help="folder for predictions and metrics.json")],
    split: Annotated[str, typer.Option(help="which samples are answered")] = "eval",
    limit: Annotated[int, typer.Option(min=1, help="samples a task")] = 400,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")] = "auto",
) -> None:
    """Answer held-out samples and score the answers."""
    from pipelines import training

    training.evaluate(model, shards, out, split, limit, device)


@app.command()
def judge(
    a: Annotated[str, typer.Argument(metavar="RECIPE_A", help="a corpus, or the recipe that made it")],
    b: Annotated[str, typer.Argument(metavar="RECIPE_B", help="the other")],
    held_out: Annotated[
        str | None,
        typer.Option(help="a corpus whose eval samples both are asked; default: A's own, or B's"),
    ] = None,
    out: Annotated[Path, typer.Option(help="folder for models and judgement.json")] = Path("judgement"),
    stage: Annotated[
        str, typer.Option(help="all, or primer, language, sight, 1, 2, 3, separated by commas")
    ] = "all",
    preset: Annotated[str, typer.Option(help="tiny, small, base or a YAML file")] = "tiny",
    steps: Annotated[int | None, typer.Option(min=1, help="optimiser steps of every stage")] = None,
    seeds: Annotated[int, typer.Option(min=2, help="models a corpus")] = 3,
    limit: Annotated[int, typer.Option(min=1, help="held-out samples a task")] = 400,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")] = "auto",
) -> None:
    """Judge two corpora by training the same small model on each."""
    from pipelines import training

    first = training.Training(a, out, stage, preset, steps, 0, device, None)
    training.judge(first, b, held_out, seeds, limit)


@app.command()
def chat(
    model: Annotated[Path, typer.Argument(help="folder of a trained model")],
    pictures: Annotated[list[Path] | None, typer.Argument(help="pictures to talk about")] = None,
    out: Annotated[Path, typer.Option(help="where an answer's boxes are drawn")] = Path("answer.png"),
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N")] = "auto",
) -> None:
    """Talk with a trained model about pictures."""
    from pipelines import training

    training.chat(model, pictures or [], out, device)


@synth_app.command("crawl")
def synth_crawl(
    out: Annotated[Path, typer.Option(help="folder for shards/ and truth.jsonl")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="samples")] = 2000,
    seed: Annotated[int, typer.Option(min=0)] = 1,
    per_shard: Annotated[int, typer.Option(min=1)] = 250,
) -> None:
    """Make the demo crawl: raw shards with planted defects, and the truth about them beside."""
    from synth.crawl import write_crawl

    try:
        write_crawl(out, n, seed, per_shard)
    except OSError as error:
        raise OutputError(f"cannot write the crawl to {out}: {why(error)}; {remedy(error)}") from error
    print(f"{n} samples in {out / 'shards'}, the truth about them in {out / 'truth.jsonl'}")


@synth_app.command("ocr")
def synth_ocr(
    out: Annotated[str, typer.Option(help="folder of the corpus, local or s3://")],
    n: Annotated[int, typer.Option("--n", "-n", min=1, help="pages a language")] = 100,
    language: Annotated[list[str] | None, typer.Option("--language", help="en,zh or repeated")] = None,
    setting: Annotated[str, typer.Option(help="default (as SynthDoG) or mild")] = "default",
    seed: Annotated[int, typer.Option(min=0)] = 0,
    direction: Annotated[str, typer.Option(help="auto, ltr, rtl or vertical")] = "auto",
    fonts: Annotated[str | None, typer.Option(help="a folder of fonts; default: the system's")] = None,
    text: Annotated[
        list[str] | None, typer.Option(help="text files, or shards with captions; default: our own words")
    ] = None,
    pictures: Annotated[
        list[str] | None, typer.Option(help="pictures, folders or shards to lie behind; default: our own")
    ] = None,
    level: Annotated[str, typer.Option(help="what has a quad: line, word or character")] = "line",
    scene_text: Annotated[bool, typer.Option("--scene-text", help="words on pictures, not pages")] = False,
    readback: Annotated[float, typer.Option(help="share of the pages that an OCR reads back, 0-1")] = 0.0,
    engine: Engines = EngineName.local,
    workers: Workers = None,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Make pages of text with true quads: N a language, one sample a page."""
    given = {
        "count": n,
        "setting": setting,
        "direction": direction,
        "fonts": fonts,
        "texts": text,
        "pictures": pictures,
        "level": level,
        "readback": readback,
    }
    extra = _extra(out, language or ["en,zh"], None, None, None)
    recipe = recipes.for_pages({**extra, "seed": seed}, given, "scene_text" if scene_text else "ocr")
    runs.run(recipe, "card", Options(engine, workers, address, None, _runner_options), reporter_for(as_json))


@synth_app.command("score")
def synth_score(
    corpus: Annotated[str, typer.Argument(help="folder of the corpus built from the crawl")],
    crawl: Annotated[Path, typer.Argument(help="folder that `synth crawl` wrote")],
) -> None:
    """Hold a corpus against the crawl's truth: precision and recall of every rule."""
    from pipelines.truth import print_score

    print_score(corpus, crawl, Console())


def _extra(
    out: str | None,
    language: list[str] | None,
    sample: float | None,
    max_quarantine: float | None,
    max_bad_shards: int | None,
) -> dict[str, Any]:
    """Options that stand for keys of the recipe, where they are given."""
    languages = [code.strip() for given in language or [] for code in given.split(",") if code.strip()]
    if language and not languages:
        raise RecipeError("--language names no language; give ISO 639-1 codes such as en,zh, or leave it out")
    given = {
        "out": out,
        "languages": languages or None,
        "sample": sample,
        "max_quarantine": max_quarantine,
        "max_bad_shards": max_bad_shards,
    }
    return {key: value for key, value in given.items() if value is not None}


def _recipe(inputs: list[str], kind: str, extra: dict[str, Any]) -> Any:
    if len(inputs) == 1 and inputs[0].endswith((".yaml", ".yml")):
        return recipes.from_file(inputs[0], extra)
    return recipes.for_inputs(inputs, kind, extra)


_runner_options: list[str] = []


def main() -> None:
    """Run the command; a user's mistake is one sentence and exit code 1, never a traceback."""
    arguments = sys.argv[1:]
    # what follows is the Beam runner's business
    at = arguments.index("--") if "--" in arguments else len(arguments)
    arguments, _runner_options[:] = arguments[:at], arguments[at + 1 :]
    try:
        app(args=arguments, prog_name="vlcorpus")
    except VlcorpusError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("stopped; run the same command again to go on", file=sys.stderr)
        sys.exit(130)
