import hashlib
import io
import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image as Pixels

from pipelines.writers import parquet
from pipelines.writers.columns import SIGNALS, Item
from schemas.sample import ImageRef, Sample, Text, Turn, text_sample
from tests.pipelines.corpora import image, item, items, picture


def pair(number: int) -> Item:
    pictures = [picture(number), picture(number + 1, "PNG")]
    turn = Turn("document", (ImageRef(1), Text("x"), ImageRef(0)))
    sample = Sample(
        f"{number:032x}", "interleaved", "train", "en", "s", "l", tuple(map(image, pictures)), (turn,)
    )
    return Item(sample, pictures)


def test_the_same_samples_give_the_same_bytes() -> None:
    """Writing twice gives equal files, and what is told of them is what a second read would find."""
    files = [io.BytesIO(), io.BytesIO()]
    told = [parquet.write(items(9), file, "one") for file in files]
    assert files[0].getvalue() == files[1].getvalue()
    assert told[0] == told[1]
    assert (told[0].rows, told[0].size) == (9, len(files[0].getvalue()))
    assert told[0].sha256 == hashlib.sha256(files[0].getvalue()).hexdigest()


def test_rows_carry_picture_and_sample() -> None:
    """Each row holds the picture's bytes as they are, its member's name, and the whole sample."""
    file = io.BytesIO()
    parquet.write(items(3), file, "one")
    rows = pq.read_table(file).to_pylist()
    for number, row in enumerate(rows):
        assert row["image"] == {"bytes": picture(number), "path": f"{number:032x}-caption-0.jpg"}
        assert Sample.from_json(row["sample"]) == item(number).sample
        assert row["pictures"][0]["sha256"] == hashlib.sha256(picture(number)).hexdigest()


def test_several_pictures_are_a_list() -> None:
    """With layout many the pictures are a list, in the order of the sample's images."""
    file = io.BytesIO()
    parquet.write([pair(1)], file, "many")
    (row,) = pq.read_table(file).to_pylist()
    assert [one["bytes"] for one in row["images"]] == [picture(1), picture(2, "PNG")]


def test_features_say_which_column_is_a_picture() -> None:
    """The schema's metadata hold the features as the datasets library stores them."""
    file = io.BytesIO()
    parquet.write([], file, "many")
    metadata = pq.read_schema(file).metadata
    assert metadata is not None
    features: dict[str, Any] = json.loads(metadata[b"huggingface"])["info"]["features"]
    assert features["images"] == [{"_type": "Image"}]
    assert features["phash"] == {"dtype": "uint64", "_type": "Value"}
    assert features["clip_score"] == {"dtype": "float32", "_type": "Value"}
    assert set(features) == set(pq.read_schema(file).names)


@pytest.mark.parametrize("layout", ["one", "many"])
def test_the_datasets_library_opens_pictures_as_pictures(layout: parquet.Layout, tmp_path: Any) -> None:
    """load_dataset("parquet") gives decoded images without being told of them."""
    datasets = pytest.importorskip("datasets", reason="the datasets library is not installed")
    path = tmp_path / "00000.parquet"
    with path.open("wb") as file:
        parquet.write(items(3) if layout == "one" else [pair(0)], file, layout)
    rows = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path), split="train")
    shown = [rows[0]["image"]] if layout == "one" else rows[0]["images"]
    assert all(isinstance(one, Pixels.Image) for one in shown)
    assert shown[0].size == (8, 9)


def test_a_sample_must_fit_the_layout() -> None:
    """A sample with another number of pictures than the layout holds is a mistake of the caller."""
    for samples, layout in (([item(0)], "none"), ([pair(0)], "one")):
        with pytest.raises(ValueError, match=f"layout '{layout}'"):
            parquet.write(samples, io.BytesIO(), layout)  # type: ignore[arg-type]


def test_text_needs_no_picture() -> None:
    """Layout none is for pure text: no column for pictures at all."""
    sample = text_sample("b" * 32, "词", split="train", language="zh", source="s", licence="l")
    file = io.BytesIO()
    parquet.write([Item(sample)], file, "none", pa.schema([]))
    assert not {"image", "images", "pictures", *SIGNALS.names} & set(pq.read_schema(file).names)


def test_row_groups_are_small() -> None:
    """A reader that wants one row decodes a few hundred at most."""
    file = io.BytesIO()
    parquet.write(items(600), file, "one")
    metadata = pq.ParquetFile(file).metadata
    assert [metadata.row_group(at).num_rows for at in range(metadata.num_row_groups)] == [256, 256, 88]
