"""Rows of pairs that have several images: one sample of them all each, and which rows they are.

A sample of ours that is read again keeps its turns; of any other row the images come first, then the caption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.layout import Layout
from pipelines.parquet import read_table
from schemas.errors import RowError
from schemas.row import RawRow, image_name
from schemas.sample import SEVERAL, Image, ImageRef, Sample, Text, Turn, sample_key

if TYPE_CHECKING:
    from pipelines.recipe.model import Source

Json = dict[str, Any]


def check_sizes(written: Sample, images: Sequence[Mapping[str, Any]]) -> None:
    """Raises RowError where an image is measured in another size than the one in which its regions are given."""
    if not any(phrase.boxes or phrase.quads for phrase in written.phrases):
        return
    for number, (said, found) in enumerate(zip(written.images, images, strict=True), 1):
        if (said.width, said.height) != (found["width"], found["height"]):
            raise RowError(
                "bad_row",
                f"image {number} of {len(images)} is {found['width']} x {found['height']} pixels, but the sample gives "
                f"its regions for {said.width} x {said.height}",
            )


def draft(source: "Source", record: Json, row: RawRow) -> Json:
    """Returns a row of work/drafts: the row's sample but for split, language and caption, and where its images are."""
    facts = [record, *(one.columns for one in record["further"])]
    images = tuple(Image(*(one[name] for name in ("format", "width", "height", "sha256"))) for one in facts)
    task, turns = (row.written.task, row.written.turns) if row.written is not None else ("interleaved", ())
    if task not in SEVERAL:
        task = "interleaved"
    key = sample_key(record["key"], task, 0)
    sample = Sample(key, task, "train", "und", source.id, source.licence, images, turns)
    return {
        "member": row.member,
        "task": task,
        "images": [image_name(row.member, number) for number in range(len(images))],
        "offsets": [row.offset, *(one.offset for one in row.further)],
        "sample": sample.to_json(),
    }


def drafts_of(layout: Layout, source: "Source", shard: str) -> dict[str, Json]:
    """Returns what `draft` gave for the rows of several images, by member; none where the source keeps none."""
    if not source.keeps_several:
        return {}
    drafts = read_table(layout, layout.path("drafts", source.id, shard))
    return {one["member"]: one for one in drafts.to_pylist()}


def finished(drafted: Json, row: Json) -> Sample | None:
    """Returns the sample of a kept row; None where it has no words."""
    sample = Sample.from_json(drafted["sample"])
    turns = sample.turns
    if not turns:
        if row["caption"] is None:
            return None
        shown = (ImageRef(number) for number in range(len(sample.images)))
        turns = (Turn("document", (*shown, Text(row["caption"], supervised=True))),)
    return replace(sample, split=row["split"], language=row["language"] or "und", turns=turns)
