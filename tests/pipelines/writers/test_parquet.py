import hashlib
import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pixels

from pipelines.writers import parquet
from pipelines.writers.columns import Item
from schemas.sample import Example, ImageRef, Phrase, Sample, Text, Turn, text_example
from tests import needs
from tests.pipelines.corpora import alone, image, item, items, picture, seen_twice


def pair(number: int) -> Item:
    pictures = [picture(number), picture(number + 1, "PNG")]
    turn = Turn("document", (ImageRef(1), Text("x"), ImageRef(0)))
    key, shown = f"{number:032x}", tuple(map(image, pictures))
    return Item(alone(Example(key, "interleaved", "train", "en", "s", "l", shown, (turn,))), pictures)


def test_the_same_samples_give_the_same_bytes() -> None:
    """Writing twice gives equal files, and what is told of them is what a second read would find."""
    files = [io.BytesIO(), io.BytesIO()]
    told = [parquet.write(items(9), file, parquet.ONE) for file in files]
    assert files[0].getvalue() == files[1].getvalue()
    assert told[0] == told[1]
    assert (told[0].rows, told[0].size) == (9, len(files[0].getvalue()))
    assert told[0].sha256 == hashlib.sha256(files[0].getvalue()).hexdigest()


def test_rows_carry_picture_and_sample() -> None:
    """Each row holds the picture's bytes as they are, its member's name, and the whole sample."""
    file = io.BytesIO()
    parquet.write(items(3), file, parquet.ONE)
    rows = pq.read_table(file).to_pylist()
    for number, row in enumerate(rows):
        assert row["image"] == {"bytes": picture(number), "path": f"{number:032x}.jpg"}
        assert Sample.from_json(row["sample"]) == item(number).sample
        assert row["pictures"][0]["sha256"] == hashlib.sha256(picture(number)).hexdigest()


def test_several_pictures_are_a_list() -> None:
    """With the columns SEVERAL the images are a list, in the order of the sample's images."""
    file = io.BytesIO()
    parquet.write([pair(1)], file, parquet.SEVERAL)
    (row,) = pq.read_table(file).to_pylist()
    assert [one["bytes"] for one in row["images"]] == [picture(1), picture(2, "PNG")]


def test_views_have_every_field_of_the_sample() -> None:
    """The column views holds what the sample's JSON does: boxes, quads, and null where a segment has none."""
    box, quad = (1.0, 2.0, 3.5, 4.0), ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    phrase = Phrase("cat", (box,), (quad,), True)
    turns = (Turn("user", (ImageRef(0), Text("Where?"))), Turn("assistant", (phrase,)))
    given = seen_twice(0)
    views = tuple(replace(view, turns=turns) for view in given.sample.views)
    file = io.BytesIO()
    parquet.write([Item(replace(given.sample, views=views), given.images)], file, parquet.ONE)
    (row,) = pq.read_table(file).to_pylist()
    assert len(row["views"]) == 2
    assert row["views"] == json.loads(row["sample"])["views"]


@pytest.mark.parametrize("schema", [parquet.ONE, parquet.SEVERAL], ids=["one", "several"])
def test_the_datasets_library_opens_images_as_images(schema: pa.Schema, tmp_path: Path) -> None:
    """load_dataset("parquet") gives decoded images by the features in the file, which are those of its schema."""
    datasets = needs.package("datasets")
    path = tmp_path / "00000.parquet"
    with path.open("wb") as file:
        parquet.write(items(3) if schema is parquet.ONE else [pair(0)], file, schema)
    rows = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path), split="train")
    shown = [rows[0]["image"]] if schema is parquet.ONE else rows[0]["images"]
    assert all(isinstance(one, Pixels.Image) for one in shown)
    assert shown[0].size == (8, 9)
    assert rows.features.arrow_schema.equals(schema)


def test_a_column_for_one_image_holds_one() -> None:
    """A sample of several images in a shard for one is a mistake of the caller."""
    with pytest.raises(ValueError, match="has 2 images"):
        parquet.write([pair(0)], io.BytesIO(), parquet.ONE)


def test_text_has_no_image() -> None:
    """Pure text has null where others have their image, so that both stand in one table."""
    sample = alone(text_example("b" * 32, "词", split="train", language="zh", source="s", licence="l"))
    file = io.BytesIO()
    parquet.write([Item(sample)], file, parquet.ONE)
    (row,) = pq.read_table(file).to_pylist()
    assert (row["image"], row["pictures"], row["text"]) == (None, [], "词")


def test_pages_are_cut_by_content() -> None:
    """A row put in front changes few pages behind it: most of the file's bytes are found again in the other."""
    many = [item(number, caption=random.Random(number).randbytes(2_000).hex()) for number in range(1000)]
    files = [io.BytesIO(), io.BytesIO()]
    for file, given in zip(files, (many, many[1:]), strict=True):
        parquet.write(given, file, parquet.ONE)
    before, after = (file.getvalue() for file in files)
    blocks = [after[at : at + 4096] for at in range(0, len(after), 4096)]
    assert sum(block in before for block in blocks) > 0.5 * len(blocks)
    chunk = pq.ParquetFile(files[0]).metadata.row_group(0).column(0)
    assert (chunk.has_column_index, chunk.has_offset_index) == (True, True)


def test_row_groups_are_small() -> None:
    """A reader that wants one row decodes a few hundred at most, and about two hundred on average."""
    file = io.BytesIO()
    parquet.write(items(3000), file, parquet.ONE)
    metadata = pq.ParquetFile(file).metadata
    sizes = [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)]
    assert sum(sizes) == 3000
    assert max(sizes) <= 512
    assert min(sizes[:-1]) >= 64
    assert 10 <= len(sizes) <= 25
