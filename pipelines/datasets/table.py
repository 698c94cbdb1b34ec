"""The annotation datasets that can be read: ours, and those that installed packages give."""

import json
from collections.abc import Collection
from typing import Final

from pipelines.datasets import (
    coco,
    conversations,
    flickr30k,
    grit,
    interleaved,
    ocr_labels,
    pages,
    prompted,
    refcoco,
    tuples,
    visual_genome,
    vqa,
)
from pipelines.datasets.dataset import Dataset, Glimpse
from pipelines.files import Store
from schemas import plugins
from schemas.plugins import Plugin

DATASETS: Final[dict[str, Dataset]] = {
    "grounding": tuples.GROUNDING,
    "grit": grit.GRIT,
    "grit_greedy": grit.GREEDY,
    "flickr30k": flickr30k.FLICKR30K,
    "visual_genome": visual_genome.REGIONS,
    "refcoco": refcoco.REFCOCO,
    "vqav2": vqa.VQAV2,
    "vgqa": visual_genome.QUESTIONS,
    "gqa": vqa.GQA,
    "ocrvqa": vqa.OCRVQA,
    "docvqa": vqa.DOCVQA,
    "textvqa": vqa.TEXTVQA,
    "chartqa": vqa.CHARTQA,
    "dvqa": vqa.DVQA,
    "ai2d": vqa.AI2D,
    "qwen": conversations.QWEN,
    "qwen2_vl": conversations.QWEN2_VL,
    "qwen2_5_vl": conversations.QWEN2_5_VL,
    "qwen3_vl": conversations.QWEN3_VL,
    "llava": conversations.LLAVA,
    "conversations": conversations.CONVERSATIONS,
    "conversations_lines": conversations.LINES,
    "paligemma": prompted.PALIGEMMA,
    "kosmos2": prompted.KOSMOS2,
    "mmc4": interleaved.MMC4,
    "obelics": interleaved.OBELICS,
    "pages": pages.PAGES,
    "ocr_labels": ocr_labels.OCR_LABELS,
    "coco_captions": coco.CAPTIONS,
    "coco_instances": coco.INSTANCES,
}
"""Our datasets by the `format` of a recipe's source."""


_READ: Final = 64 * 1024
"""Bytes of each end of a file that tell its format."""


def find(name: str) -> tuple[Dataset, Plugin | None]:
    """Returns the dataset of that name, and the package that gives it where it is not ours.

    Raises RecipeError where there is none.
    """
    return plugins.lookup(plugins.DATASETS, name, DATASETS, Dataset)


def recognise(seen: Glimpse) -> str | None:
    """Returns the name of the dataset that a file with these ends is of; None where the ends do not tell."""
    for name in (*DATASETS, *plugins.names(plugins.DATASETS)):
        recognised = find(name)[0].recognised
        if recognised is not None and recognised(seen):
            return name
    return None


def format_of(store: Store, path: str) -> str | None:
    """Returns the format of a JSON document or of JSON lines; None where the ends do not tell."""
    return recognise(glimpse(store, path))


def suggestion(form: str, seen: Glimpse) -> str:
    """Returns the end of a sentence that names the format of what is seen; empty where that may well be `form`."""
    dataset, other = find(form)[0], recognise(seen)
    if other is None or other == form or (dataset.recognised is not None and dataset.recognised(seen)):
        return ""
    # dialects of dialogues are told apart by their texts, and formats without marks by nothing
    alike = dataset.recognised is None or dataset.tasks == ("chat",)
    return "" if alike and find(other)[0].tasks == dataset.tasks else f" (it looks like format: {other})"


def glimpse(store: Store, path: str) -> Glimpse:
    """Returns the ends of a file."""
    size = store.info(path).size
    with store.open(path) as file, store.reading(path):
        first = file.read(_READ)
        file.seek(max(size - _READ, 0))
        last = file.read(_READ)
    start = first.lstrip(b"\xef\xbb\xbf \t\r\n")
    return Glimpse(start, last, frozenset(_fields(start.partition(b"\n")[0])))


def _fields(line: bytes) -> Collection[str]:
    """Returns the names of a JSON object's fields; none where the line is no object."""
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):  # a document of several lines, or one that is cut
        return ()
    return found.keys() if isinstance(found, dict) else ()
