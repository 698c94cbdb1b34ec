"""Held-out shards put to a model: what it answers, what that is worth, and what it would be worth blind.

`chance` is the same model's figure with every image exchanged for another sample's of the task: what a
model can know from the words alone. Image-text matching: of four images, the one with which the model finds a
caption likeliest.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from model import checkpoint, parallel, predictions, shards
from model.batch import Collator
from model.encode import Encoded, encode, encode_pieces, prompt_pieces
from model.generate import Prompt, generate
from model.images import ImageError, square
from model.journal import merge_metrics
from model.loader import KNOWN_TASKS, Feed, Loader, require_known
from model.packing import Bin, Group, Member
from model.qwen_vl import QwenVL
from model.sampler import generator
from model.shards import Reader, Row, Stratum
from model.store import Store
from model.tasks import ANSWERED, Answered, Known
from model.tokenizer import TagTokenizer
from schemas.errors import InputError
from schemas.markup import STAGE2, Piece, Style
from schemas.sample import Example

OTHERS: Final = 3
"""Images beside a caption's own."""


@dataclass(frozen=True, slots=True)
class EvalConfig:
    """What is evaluated: the model, the shards, at most `limit` samples a task, chosen by `seed`.

    `choose`: of captions also, which of four images each is of.
    """

    model: Path
    shards: str
    out: Path
    split: str = "eval"
    tasks: tuple[str, ...] = KNOWN_TASKS
    limit: int = 400
    batch: int = 32
    side: int | None = None
    style: Style = STAGE2
    seed: int = 0
    chance: bool = True
    choose: bool = False
    device: str = "auto"
    threads: int | None = None
    storage_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Question:
    """A sample to be answered, with its images as the model sees them, and one of them as stored."""

    sample: Example
    pieces: tuple[Piece, ...]
    images: tuple[Any, ...]
    stored: bytes


def evaluate(config: EvalConfig) -> dict[str, Any]:
    """Writes predictions.parquet, predictions.html and metrics.json's `eval` into `out`; returns that part."""
    device = parallel.device_of(config.device)
    if config.threads:
        torch.set_num_threads(config.threads)
    model, tokenizer = checkpoint.from_pretrained(config.model)
    model.to(device)
    store = Store(config.shards, config.storage_options)
    require_known(store, shards.find(store, config.split))
    strata = shards.find(store, config.split, config.tasks)
    side = config.side or checkpoint.side_of(config.model, model.config)
    figures: dict[str, Any] = {}
    kept: list[predictions.Prediction] = []
    questions, known = _questions(config, store, strata, side)
    for task in sorted(questions):
        figures[task], own = _task(config, model, tokenizer, questions[task], known)
        kept += own
    if config.choose and "caption" in questions:
        figures["caption"]["choice"] = matching_figure(
            _matches(config, model, tokenizer, questions["caption"])
        )
    context, queries = model.config.language.context, model.config.adapter.queries
    feed = Feed(store, strata, context, 4, side, queries, style=config.style, endless=False, fixed=False)
    for task, loss in losses(model, tokenizer, replace(feed, max_drop=1.0)).items():
        figures.setdefault(task, {})["loss"] = loss
        if task == "text":
            figures[task]["perplexity"] = math.exp(min(loss, 700.0))
    config.out.mkdir(parents=True, exist_ok=True)
    predictions.write_parquet(kept, config.out / "predictions.parquet")
    predictions.write_page(kept, figures, config.out / "predictions.html")
    merge_metrics(config.out / "metrics.json", {"eval": figures})
    return figures


@torch.inference_mode()
def losses(model: QwenVL, tokenizer: TagTokenizer, feed: Feed) -> dict[str, float]:
    """Returns the mean loss of each task's taught tokens, over every sample once; their exponential is perplexity."""
    sums: dict[str, float] = defaultdict(float)
    counts: dict[str, int] = defaultdict(int)
    device = next(model.parameters()).device
    for batch in Loader(feed, tokenizer):
        found = model(batch.to(device))
        for task, total, count in zip(batch.tasks, found.sums.tolist(), found.counts.tolist(), strict=True):
            sums[task] += total
            counts[task] += count
    return {task: sums[task] / counts[task] for task in sorted(sums) if counts[task]}


def _questions(
    config: EvalConfig, store: Store, strata: Sequence[Stratum], side: int
) -> tuple[dict[str, list[Question]], Known]:
    """Returns the chosen samples of each task that can be answered, and what all samples say of the images."""
    questions: dict[str, list[Question]] = {}
    known = Known()
    for sample in shards.examples(store, strata):
        known.add(sample)
    for task in sorted({one.task for one in strata} & ANSWERED.keys()):
        own = [one for one in strata if one.task == task]
        found = [_question(sample, row, config.style, side) for sample, row in _chosen(config, store, own)]
        questions[task] = [one for one in found if one is not None]
        if not questions[task]:
            raise InputError(f"{store.root}: none of the {task} samples can be shown to a model")
    return questions, known


def _chosen(config: EvalConfig, store: Store, strata: Sequence[Stratum]) -> Iterator[tuple[Example, Row]]:
    """Returns at most `limit` samples of one task, spread over its sources by chance, in the shards' order."""
    places = [(shard, row) for stratum in strata for shard in stratum.shards for row in range(shard.rows)]
    random = generator(config.seed, "evaluate", strata[0].task)
    count = min(config.limit, len(places))
    reader = Reader(store)
    for at in sorted(random.choice(len(places), count, replace=False)):
        shard, number = places[at]
        row = reader.row(shard, number)
        yield row.example, row


def _question(sample: Example, row: Row, style: Style, side: int) -> Question | None:
    """Returns None where an image cannot be decoded."""
    try:
        images = tuple(square(data, side) for data in row.images)
    except ImageError:
        return None
    pieces, _ = prompt_pieces(sample, style)
    return Question(sample, pieces, images, row.images[0] if row.images else b"")


def _task(
    config: EvalConfig, model: QwenVL, tokenizer: TagTokenizer, questions: list[Question], known: Known
) -> tuple[dict[str, Any], list[predictions.Prediction]]:
    """Returns a task's figures, each with value, chance and n, and what was answered."""
    task = questions[0].sample.task
    plain = _answers(config, model, tokenizer, questions, questions)
    blind = _answers(config, model, tokenizer, questions, exchanged(questions)) if config.chance else plain
    counts = [known.count(question.sample.images[0].sha256) for question in questions]
    # scenes with one object ask little: the headline is of the others, where objects are known at all
    headline = [at for at, count in enumerate(counts) if count != 1]
    figures = _figures(task, plain, blind, known, headline or list(range(len(questions))), config.chance)
    figures["by_objects"] = {
        str(count): _figures(
            task, plain, blind, known, [i for i, c in enumerate(counts) if c == count], config.chance
        )
        for count in sorted(set(counts))
        if count
    }
    kept = [
        predictions.Prediction(one, other.text, question.stored, known.count(one.image))
        for question, one, other in zip(questions, plain, blind, strict=True)
    ]
    return figures, kept


def _matches(
    config: EvalConfig, model: QwenVL, tokenizer: TagTokenizer, questions: Sequence[Question]
) -> list[bool]:
    """Returns for each caption whether the model finds its image among four."""
    room = model.config.language.context
    encoded = [
        (one, encode(one.sample, tokenizer, model.config.adapter.queries, config.style)) for one in questions
    ]
    fits = [(one, found) for one, found in encoded if len(one.images) == 1 and len(found) <= room]
    return matches(
        model,
        [found for _, found in fits],
        [one.images[0] for one, _ in fits],
        [one.sample.images[0].sha256 for one, _ in fits],
        tokenizer.end,
        config.batch,
    )


def _figures(
    task: str,
    plain: Sequence[Answered],
    blind: Sequence[Answered],
    known: Known,
    which: Sequence[int],
    chance: bool,
) -> dict[str, Any]:
    own = ANSWERED[task].score([plain[at] for at in which], known)
    other = ANSWERED[task].score([blind[at] for at in which], known)
    return {
        name: {"value": value, "chance": other[name] if chance else None, "n": len(which)}
        for name, value in own.items()
    }


def exchanged(questions: Sequence[Question]) -> list[Question]:
    """Returns for each question one with another image, wherever there is one."""
    count = len(questions)
    found = []
    for at, question in enumerate(questions):
        own = question.sample.images[0].sha256 if question.sample.images else ""
        others = (questions[(at + count // 2 + step) % count] for step in range(count))
        fits = (
            one
            for one in others
            if len(one.images) == len(question.images) and one.sample.images[0].sha256 != own
        )
        found.append(next(fits, question))
    return found


def _answers(
    config: EvalConfig,
    model: QwenVL,
    tokenizer: TagTokenizer,
    questions: Sequence[Question],
    shown: Sequence[Question],
) -> list[Answered]:
    """Returns what the model writes for each question, given the images of `shown`."""
    task = questions[0].sample.task
    prompts = [
        prompt_of(question.pieces, other.images, tokenizer, model.config.adapter.queries)
        for question, other in zip(questions, shown, strict=True)
    ]
    # alike lengths together: little padding
    order = sorted(range(len(prompts)), key=lambda at: len(prompts[at].ids))
    texts = [""] * len(prompts)
    stops = (tokenizer.end, tokenizer.ids["<|im_end|>"])
    for start in range(0, len(order), config.batch):
        some = order[start : start + config.batch]
        found = generate(model, [prompts[at] for at in some], ANSWERED[task].limit, stops, tokenizer.end)
        for at, ids in zip(some, found, strict=True):
            texts[at] = tokenizer.decode(ids)
    return [Answered(question.sample, text) for question, text in zip(questions, texts, strict=True)]


def prompt_of(
    pieces: Sequence[Piece], images: Sequence[np.ndarray[Any, Any]], tokenizer: TagTokenizer, queries: int
) -> Prompt:
    """Returns the prompt that rendered pieces make, showing `images` by their numbers."""
    encoded = encode_pieces(pieces, tokenizer, queries)
    return Prompt(encoded.ids, encoded.places, tuple(images[at] for at in encoded.images))


@torch.inference_mode()
def matches(
    model: QwenVL,
    captions: Sequence[Encoded],
    images: Sequence[NDArray[np.uint8]],
    names: Sequence[str],
    padding: int,
    batch: int = 32,
) -> list[bool]:
    """Returns for each caption whether its own image makes it likelier than each of three others does.

    The caption's words are the same with every image, so nothing is gained by knowing likely words: a
    model that does not look is right one time in four. `names` identify equal images.
    """
    shown = [
        (at, other)
        for at in range(len(captions))
        for other in (at, *_others(at, names))
        if captions[at].places
    ]
    device = next(model.parameters()).device
    # alike lengths together: little padding
    order = sorted(range(len(shown)), key=lambda one: len(captions[shown[one][0]]))
    loss = np.zeros(len(shown))
    collator = Collator(model.config.language.context, images[0].shape[-1] if len(images) else 1, padding)
    for start in range(0, len(order), batch):
        some = order[start : start + batch]
        texts = [captions[shown[one][0]] for one in some]
        bins = [Bin([Group([Member(text)])], len(text)) for text in texts]
        seen = iter([images[shown[one][1]] for one in some])
        found = model(collator.batch(bins, lambda member, place, seen=seen: next(seen), False).to(device))  # type: ignore[misc]
        loss[some] = found.sums.float().cpu().numpy()
    own: dict[int, list[float]] = {}
    for (at, _), value in zip(shown, loss, strict=True):
        own.setdefault(at, []).append(float(value))
    return [values[0] < min(values[1:]) for values in own.values() if len(values) > 1]


def _others(at: int, names: Sequence[str]) -> list[int]:
    """Returns other images, spread over the set, the same each time."""
    count = len(names)
    found: list[int] = []
    for step in range(count):
        other = (at + count // 2 + step * 7) % count
        if names[other] not in {names[at], *(names[one] for one in found)}:
            found.append(other)
        if len(found) == OTHERS:
            break
    return found


def matching_figure(right: Sequence[bool]) -> dict[str, Any]:
    """Returns the share of right choices, as evaluations give figures."""
    return {"value": sum(right) / len(right), "chance": 1 / (1 + OTHERS), "n": len(right)}
