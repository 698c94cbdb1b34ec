"""The annotation datasets that can be read: ours, and those that installed packages give."""

from typing import Final

from pipelines.datasets import (
    coco,
    conversations,
    flickr30k,
    grit,
    interleaved,
    ocr_labels,
    pages,
    refcoco,
    tuples,
    visual_genome,
    vqa,
)
from pipelines.datasets.dataset import Dataset, Glimpse
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
    "conversations": conversations.CONVERSATIONS,
    "conversations_lines": conversations.LINES,
    "mmc4": interleaved.MMC4,
    "obelics": interleaved.OBELICS,
    "pages": pages.PAGES,
    "ocr_labels": ocr_labels.OCR_LABELS,
    "coco_captions": coco.CAPTIONS,
    "coco_instances": coco.INSTANCES,
}
"""Our datasets by the `format` of a recipe's source."""


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
