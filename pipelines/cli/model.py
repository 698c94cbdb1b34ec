"""The commands of the bundled model: train, evaluate, judge, chat."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import LARGEST_SEED, MOST, Device, Preset, Stage, Steps

app = typer.Typer()

Model = Annotated[Path, typer.Argument(help="folder of a trained model")]


@app.command()
def train(
    corpus: Annotated[str, typer.Argument(metavar="RECIPE|DIR", help="a corpus, or the recipe that made it")],
    out: Annotated[Path, typer.Option(help="everything goes below OUT/train")] = Path("."),
    stage: Stage = "all",
    preset: Preset = "tiny",
    steps: Steps = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="of every random choice")] = 0,
    device: Device = "auto",
    workers: Annotated[
        int | None,
        typer.Option(min=0, max=4096, help="loader processes; default: 4 beside a GPU, none on a CPU"),
    ] = None,
    init: Annotated[
        list[str] | None,
        typer.Option(help="PART=PATH: weights that vision, language or the whole model starts from; or none"),
    ] = None,
) -> None:
    """Train the bundled model on a corpus, through the paper's three stages."""
    from pipelines.cli import training

    asked = training.Training(corpus, out, stage, preset, steps, seed, device, workers, tuple(init or ()))
    training.train(asked)


@app.command("eval")
def evaluate(
    model: Model,
    shards: Annotated[str, typer.Argument(help="folder of a corpus")],
    out: Annotated[Path, typer.Option(help="folder for predictions and metrics.json")],
    split: Annotated[str, typer.Option(help="which samples are answered")] = "eval",
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="samples a task")] = 400,
    device: Device = "auto",
) -> None:
    """Answer held-out samples and score the answers."""
    from pipelines.cli import training

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
    stage: Stage = "all",
    preset: Preset = "tiny",
    steps: Steps = None,
    seeds: Annotated[int, typer.Option(min=2, max=1000, help="models a corpus")] = 3,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="held-out samples a task")] = 400,
    device: Device = "auto",
) -> None:
    """Judge two corpora by training the same small model on each."""
    from pipelines.cli import training

    first = training.Training(a, out, stage, preset, steps, 0, device, None)
    training.judge(first, b, held_out, seeds, limit)


@app.command()
def chat(
    model: Model,
    images: Annotated[list[Path] | None, typer.Argument(help="images to talk about")] = None,
    out: Annotated[Path, typer.Option(help="where an answer's boxes are drawn")] = Path("answer.png"),
    device: Device = "auto",
) -> None:
    """Talk with a trained model about images."""
    from pipelines.cli import training

    training.chat(model, images or [], out, device)
