"""The data sets that can be read: which files each has, which tasks it gives, how it is built."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import BinaryIO, Final

from pipelines.datasets import (
    ai2d,
    chartqa,
    coco,
    conversations,
    docvqa,
    dvqa,
    gqa,
    grit,
    mmc4,
    obelics,
    ocrvqa,
    refcoco,
    textvqa,
    tuples,
    visual_genome,
    vqav2,
)
from pipelines.datasets.built import Built, Record
from pipelines.datasets.records import jsonl, listed, load

Files = Mapping[str, BinaryIO]
"""A data set's files by their part, open for reading."""

GROUNDED: Final = ("grounding", "referring", "grounded_caption")
REGIONS: Final = ("referring", "grounded_caption")


@dataclass(frozen=True, slots=True)
class DataSet:
    """How one data set is read: `parts` name its files, `tasks` what its samples are for."""

    parts: tuple[str, ...]
    tasks: tuple[str, ...]
    records: Callable[[Files], Iterator[Record]]
    build: Callable[[Iterable[Record]], Iterator[Built]]

    @property
    def is_lines(self) -> bool:
        """Whether the records are the lines of one file, which can be read from any line on."""
        return self.records is _lines

    def outcomes(self, files: Files) -> Iterator[Built]:
        """One outcome for each record of `files`."""
        return self.build(self.records(files))


def _lines(files: Files) -> Iterator[Record]:
    return jsonl(files["records"])


def _json(files: Files, part: str) -> object:
    return load(files[part].read(), part)


def _visual_genome(files: Files) -> Iterator[Record]:
    pictures = listed(_json(files, "regions"), "regions")
    return visual_genome.region_records(pictures, listed(_json(files, "images"), "images"))


def _vgqa(files: Files) -> Iterator[Record]:
    pictures = listed(_json(files, "questions"), "questions")
    return visual_genome.question_records(pictures, listed(_json(files, "images"), "images"))


def _whole(read: Callable[[object], Iterator[Record]]) -> Callable[[Files], Iterator[Record]]:
    return lambda files: read(_json(files, "records"))


ONE: Final = ("records",)

DATA_SETS: Final[dict[str, DataSet]] = {
    "grounding": DataSet(ONE, GROUNDED, _lines, tuples.build),
    "grit": DataSet(ONE, GROUNDED, _lines, grit.build),
    "grit_greedy": DataSet(ONE, GROUNDED, _lines, partial(grit.build, greedy=True)),
    "visual_genome": DataSet(("regions", "images"), REGIONS, _visual_genome, visual_genome.build_regions),
    "refcoco": DataSet(
        ("refs", "instances"),
        REGIONS,
        lambda files: refcoco.records(files["refs"].read(), files["instances"].read()),
        refcoco.build,
    ),
    "coco_captions": DataSet(ONE, ("caption",), _whole(coco.caption_records), coco.build_captions),
    "coco_instances": DataSet(ONE, REGIONS, _whole(coco.instance_records), coco.build_instances),
    "vqav2": DataSet(
        ("questions", "annotations"),
        ("vqa",),
        lambda files: vqav2.records(_json(files, "questions"), _json(files, "annotations")),
        vqav2.build,
    ),
    "vgqa": DataSet(("questions", "images"), ("vqa",), _vgqa, visual_genome.build_questions),
    "gqa": DataSet(ONE, ("vqa",), _whole(gqa.records), gqa.build),
    "ocrvqa": DataSet(ONE, ("vqa",), _whole(ocrvqa.records), ocrvqa.build),
    "docvqa": DataSet(ONE, ("vqa",), _whole(docvqa.records), docvqa.build),
    "textvqa": DataSet(ONE, ("vqa",), _whole(textvqa.records), textvqa.build),
    "chartqa": DataSet(ONE, ("vqa",), _whole(chartqa.records), chartqa.build),
    "dvqa": DataSet(ONE, ("vqa",), _whole(dvqa.records), dvqa.build),
    "ai2d": DataSet(ONE, ("vqa",), _whole(ai2d.records), ai2d.build),
    "conversations": DataSet(ONE, ("chat",), _whole(conversations.records), conversations.build),
    "conversations_lines": DataSet(ONE, ("chat",), _lines, conversations.build),
    "obelics": DataSet(ONE, ("interleaved", "text"), _lines, obelics.build),
    "mmc4": DataSet(ONE, ("interleaved", "text"), _lines, mmc4.build),
}
"""Data sets of single files by name. Flickr30k Entities (two files a picture) and saved pages (folders) are
read by `flickr30k.records` and `pages.records`."""
