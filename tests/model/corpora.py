"""Small corpora of every task, drawn and written as the project writes shards."""

import hashlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path

from PIL import Image, ImageDraw

from model import tokenizer as tokenizers
from model.config import AdapterConfig, LanguageConfig, ModelConfig, VisionConfig
from model.tokenizer import TagTokenizer
from pipelines.writers import parquet, webdataset
from pipelines.writers.columns import Item
from schemas.sample import Example, ImageRef, Phrase, Sample, Segment, Text, Turn
from schemas.sample import Image as Known

COLOURS = ("red", "green", "blue", "yellow", "black", "white")
SHAPES = ("circle", "square")

TINY = ModelConfig(
    "test",
    VisionConfig(width=16, layers=2, heads=2, mlp=32, patch=8, grid=2),
    AdapterConfig(queries=4, heads=2),
    LanguageConfig(vocab=400, hidden=16, layers=2, heads=2, mlp=32, context=256),
    (16, 32),
)
"""Smaller than any preset, with all of its parts."""


@cache
def picture(number: int) -> tuple[bytes, str, str, tuple[int, int, int, int]]:
    """PNG bytes of one object on grey, its colour and shape, its box."""
    colour, shape = COLOURS[number % 6], SHAPES[number // 6 % 2]
    x, y = 4 + number * 7 % 40, 4 + number * 11 % 20
    box = (x, y, x + 16, y + 16)
    image = Image.new("RGB", (64, 48), (120, 120, 100 + number % 100))
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "circle" else pen.rectangle)(box, fill=colour)
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue(), colour, shape, box


def example(task: str, number: int, ordinal: int = 0, *, split: str = "train", source: str = "s") -> Example:
    """Example `number` of `task`; ordinals ask different things of one image."""
    data, colour, shape, box = picture(number)
    said = f"{colour} {shape}"
    bodies: Mapping[str, Sequence[Segment]] = {
        "caption": (ImageRef(0), Text(f"a {said} is here", supervised=True)),
        "vqa": (
            ImageRef(0),
            Text(("What colour is it?", "Which shape is it?", "How many are there?")[ordinal % 3]),
            Text((colour, shape, "1")[ordinal % 3], supervised=True),
        ),
        "referring": (ImageRef(0), Phrase(said, (box,), supervised=True)),
        "grounded_caption": (ImageRef(0), Phrase(said, (box,), supervised=True)),
        "grounding": (ImageRef(0), Text("a ", supervised=True), Phrase(said, (box,), supervised=True)),
        "ocr": (
            ImageRef(0),
            Phrase(f"line {number}", (), (((1, 1), (30, 1), (30, 9), (1, 9)),), supervised=True),
        ),
        "text": (Text(f"Number {number} is written here, and <ref> is a word.", supervised=True),),
    }
    known = (Known("PNG", 64, 48, hashlib.sha256(data).hexdigest()),)
    if task == "chat":
        turns: tuple[Turn, ...] = (
            Turn("user", (ImageRef(0), Text("What is it?"))),
            Turn("assistant", (Text(f"A {said}.", supervised=True),)),
        )
    else:
        turns = (Turn("document", tuple(bodies[task])),)
    images = () if task == "text" else known
    key = f"{number:08x}-{task}-{ordinal}"
    return Example(key, task, split, "en", source, "", images, turns)


def item(task: str, number: int, *ordinals: int, split: str = "train", source: str = "s") -> Item:
    """A sample of one image, with a view of the task for each ordinal; for 0 where none is given."""
    views = [example(task, number, one, split=split, source=source) for one in ordinals or (0,)]
    return one_of(views, () if task == "text" else (picture(number)[0],))


def one_of(views: Sequence[Example], images: Sequence[bytes] = ()) -> Item:
    """A sample of those views, named by what their keys begin with."""
    return Item(Sample.of(views[0].key.partition("-")[0], views), images)


TASKS = ("caption", "vqa", "referring", "grounded_caption", "grounding", "ocr", "text", "chat")


def items(task: str, count: int, *, split: str = "train", source: str = "s") -> list[Item]:
    """Samples with `count` views in all, in key order; of vqa, three questions on each image."""
    each = 3 if task == "vqa" else 1
    made = [
        item(task, at // each, *range(min(each, count - at)), split=split, source=source)
        for at in range(0, count, each)
    ]
    return sorted(made, key=lambda one: one.sample.key)


def examples(task: str, count: int, *, split: str = "train", source: str = "s") -> list[Example]:
    """The views of `items`."""
    return [one for made in items(task, count, split=split, source=source) for one in made.sample.examples]


def write(root: Path, made: Sequence[Item], number: int = 0, form: str = "tar") -> Path:
    """Writes samples of one stratum as shard `number`; gives the path of its Parquet."""
    sample = made[0].sample
    folder = root / "shards" / sample.split / sample.views[0].task / sample.source
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{number:05d}.parquet"
    with path.open("wb") as index:
        if form == "tar":
            with path.with_suffix(".tar").open("wb") as tar:
                webdataset.write(made, tar, index)
        else:
            parquet.write(made, index, parquet.ONE)
    return path


def corpus(
    root: Path, counts: Mapping[str, int], *, split: str = "train", form: str = "tar", size: int = 40
) -> Path:
    """A corpus with `counts[task]` views of each task in shards of `size` samples."""
    for task, count in counts.items():
        made = items(task, count, split=split)
        for number, start in enumerate(range(0, len(made), size)):
            write(root, made[start : start + size], number, form)
    return root


@cache
def tokenizer() -> TagTokenizer:
    """A tokenizer of the corpora's words."""
    texts = [one.text for task in TASKS for one in examples(task, 36)]
    return tokenizers.train(texts, 340, 0)


def preset_file(folder: Path) -> str:
    """A preset of TINY's sizes whose stages take a few steps."""
    import yaml

    model = asdict(TINY)
    del model["name"]
    model["sides"] = list(TINY.sides)
    stage = {
        "length": 96,
        "batch": 4,
        "micro": 2,
        "steps": 8,
        "warmup": 2,
        "rate": 1e-2,
        "floor": 1e-4,
        "pool": 32,
    }
    document = {
        "model": model,
        "tokenizer": {"base": 340, "extras": 0},
        "stages": {
            name: {**stage, "side": 32 if name in "23" else 16}
            for name in ("primer", "language", "sight", "1", "2", "3")
        },
    }
    path = folder / "test.yaml"
    path.write_text(yaml.safe_dump(document))
    return str(path)
