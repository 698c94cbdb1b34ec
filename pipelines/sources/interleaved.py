"""Rows of pairs that have several images: views of them all, and which rows they are.

A sample of ours that is read again keeps its turns; of any other row the images come first, then the caption.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipelines.layout import Layout
from pipelines.parquet import read_table
from pipelines.sources.own import stored_image
from schemas.errors import RowError
from schemas.row import RawRow, image_name
from schemas.sample import SEVERAL, Example, ImageRef, Sample, Text, Turn, view_key

if TYPE_CHECKING:
    from pipelines.recipe.model import Source

Json = dict[str, Any]


def check_sizes(written: Sample, images: Sequence[Mapping[str, Any]]) -> None:
    """Raises RowError where an image is measured in another size than the one in which its regions are given."""
    phrases = (phrase for example in written.examples for phrase in example.phrases)
    if not any(phrase.boxes or phrase.quads for phrase in phrases):
        return
    for number, (said, found) in enumerate(zip(written.images, images, strict=True), 1):
        if (said.width, said.height) != (found["width"], found["height"]):
            raise RowError(
                "bad_row",
                f"image {number} of {len(images)} is {found['width']} x {found['height']} pixels, but the sample gives "
                f"its regions for {said.width} x {said.height}",
            )


def drafts(source: "Source", record: Json, row: RawRow) -> list[Json]:
    """Returns rows of work/drafts: the row's views but for split, language and caption, and where its images are."""
    facts = [record, *(one.columns for one in record["further"])]
    urls = (
        [image.url for image in row.written.images]
        if row.written
        else [row.url, *(None for _ in row.further)]
    )
    images = tuple(map(stored_image, facts, urls))
    views = [(one.task, one.turns) for one in row.written.views] if row.written else [("interleaved", ())]
    places = {
        "images": [image_name(row.member, number) for number in range(len(images))],
        "offsets": [row.offset, *(one.offset for one in row.further)],
    }
    made = []
    for number, (task, turns) in enumerate(views):
        task = task if task in SEVERAL else "interleaved"
        key = view_key(record["key"], task, number)
        example = Example(key, task, "train", "und", source.id, source.licence, images, turns)
        line = Sample.of(key, [example]).to_json()
        made.append({"member": row.member, "task": task, **places, "sample": line})
    return made


def drafts_of(layout: Layout, source: "Source", shard: str) -> dict[str, list[Json]]:
    """Returns what `drafts` gave for the rows of several images, by member; none where the source keeps none."""
    if not source.keeps_several:
        return {}
    found: dict[str, list[Json]] = {}
    for one in read_table(layout, layout.path("drafts", source.id, shard)).to_pylist():
        found.setdefault(one["member"], []).append(one)
    return found


def finished(drafted: Json, row: Json) -> Example | None:
    """Returns the view of a kept row; None where it has no words."""
    (example,) = Sample.from_json(drafted["sample"]).examples
    turns = example.turns
    if not turns:
        if row["caption"] is None:
            return None
        shown = (ImageRef(number) for number in range(len(example.images)))
        turns = (Turn("document", (*shown, Text(row["caption"], supervised=True))),)
    return replace(example, split=row["split"], language=row["language"] or "und", turns=turns)
