import hashlib
import io
import json
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.writers import webdataset
from pipelines.writers.columns import Item, member_names
from schemas.errors import OutputError
from schemas.sample import Example, ImageRef, Text, Turn, text_example
from schemas.shard import COUNTS
from tests.pipelines.corpora import alone, image, item, items, picture, seen_twice


def written(count: int) -> tuple[bytes, bytes, webdataset.Shard]:
    tar, index = io.BytesIO(), io.BytesIO()
    shard = webdataset.write(items(count), tar, index)
    return tar.getvalue(), index.getvalue(), shard


def test_the_same_samples_give_the_same_bytes() -> None:
    """Writing twice gives equal files, and what is told of them is what a second read would find."""
    tar, index, shard = written(7)
    assert (tar, index) == written(7)[:2]
    for data, told in ((tar, shard.tar), (index, shard.index)):
        assert (told.rows, told.size) == (7, len(data))
        assert told.sha256 == hashlib.sha256(data).hexdigest()


def test_headers_tell_nothing_of_the_machine() -> None:
    """Members have no time, no owner, mode 0644, and stand in key order, the JSON before the picture."""
    tar, _, _ = written(3)
    with tarfile.open(fileobj=io.BytesIO(tar)) as archive:
        members = archive.getmembers()
    assert [member.name for member in members] == [
        f"{number:032x}.{suffix}" for number in range(3) for suffix in ("json", "jpg")
    ]
    for member in members:
        assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")
        assert member.mode == 0o644


def test_the_index_finds_every_member() -> None:
    """Each offset and size of the index cuts the member's very bytes out of the tar."""
    tar, index, _ = written(5)
    rows = pq.read_table(io.BytesIO(index)).to_pylist()
    assert len(rows) == 5
    for number, row in enumerate(rows):
        line = tar[row["json_offset"] : row["json_offset"] + row["json_size"]].decode()
        assert line == row["sample"] == item(number).sample.to_json()
        (place,) = row["images"]
        assert tar[place["offset"] : place["offset"] + place["size"]] == picture(number)
        assert (place["format"], place["width"], place["height"]) == ("JPEG", 8 + number % 5, 9)
        assert (row["caption"], row["text"], row["url"]) == (
            "a cat, 一只猫",
            None,
            f"https://example.org/{number}",
        )
        assert row["phash"] == 2**64 - 1 - number
        assert row["clip_score"] is None


def test_the_index_tells_of_every_view() -> None:
    """Views come with all but their turns; what they have in common stands beside them, null where they differ."""
    index = io.BytesIO()
    webdataset.write([seen_twice(3)], io.BytesIO(), index)
    file = pq.ParquetFile(index)
    (row,) = file.read().to_pylist()
    views = json.loads(row["sample"])["views"]
    assert row["views"] == [{name: one[name] for name in one if name != "turns"} for one in views]
    assert (row["caption"], row["text"]) == ("a cat, 一只猫", "What is it?a cat")
    assert (row["language"], row["licence"], row["id"]) == ("en", None, None)
    assert json.loads(file.metadata.metadata[COUNTS]) == {"caption": 1, "vqa": 1}


def test_no_column_is_without_a_type() -> None:
    """A shard in which a column is all null, or that is empty, has the schema of every other."""
    empty, full = (pq.read_schema(io.BytesIO(written(count)[1])) for count in (0, 3))
    assert empty == full
    assert not any(pa.types.is_null(field.type) for field in full)


def test_members_end_in_jpg_whatever_the_format() -> None:
    """The image of a sample is KEY.jpg, several are KEY.0.jpg, KEY.1.jpg, …; the formats stand in the JSON."""
    pictures = [picture(1), picture(2, "PNG"), picture(3, "WEBP")]
    turn = Turn("document", (ImageRef(2), Text("x"), ImageRef(0), ImageRef(1)))
    several = alone(
        Example("k-1", "interleaved", "train", "en", "s", "l", tuple(map(image, pictures)), (turn,))
    )
    one = item(2, form="PNG")
    tar = io.BytesIO()
    webdataset.write([one, Item(several, pictures)], tar, io.BytesIO())
    tar.seek(0)
    key = one.sample.key
    with tarfile.open(fileobj=tar) as archive:
        assert archive.getnames() == [
            f"{key}.json", f"{key}.jpg", "k-1.json", "k-1.0.jpg", "k-1.1.jpg", "k-1.2.jpg",
        ]  # fmt: skip
        files = [archive.extractfile(name) for name in archive.getnames()[3:]]
        assert [file.read() for file in files if file] == pictures
        record = archive.extractfile("k-1.json")
        assert record
        assert [one["format"] for one in json.load(record)["images"]] == ["JPEG", "PNG", "WEBP"]


def test_the_index_knows_images_as_they_came() -> None:
    """An image that was turned or resized has the digest of its stored bytes, and that of its source's."""
    given = item(1)
    index = io.BytesIO()
    came = replace(given.sample.images[0], original_sha256="f" * 64)
    turned = Item(replace(given.sample, images=(came,)), given.images)
    webdataset.write([turned, item(2)], io.BytesIO(), index)
    changed, same = (row["images"][0] for row in pq.read_table(index).to_pylist())
    assert (changed["sha256"], changed["original_sha256"]) == (given.sample.images[0].sha256, "f" * 64)
    assert same["original_sha256"] == same["sha256"]


def test_text_samples_have_no_picture() -> None:
    """Pure text is a JSON member alone; its words are in the column text."""
    sample = alone(text_example("b" * 32, "词", split="train", language="zh", source="s", licence="l"))
    tar, index = io.BytesIO(), io.BytesIO()
    webdataset.write([Item(sample)], tar, index)
    (row,) = pq.read_table(index).to_pylist()
    assert (row["images"], row["caption"], row["text"]) == ([], None, "词")


def test_samples_keep_their_order() -> None:
    """Samples stand as they are given; a key that comes twice is a mistake of the caller."""
    index = io.BytesIO()
    webdataset.write((item(number) for number in (1, 0)), io.BytesIO(), index)
    assert pq.read_table(index)["key"].to_pylist() == [item(number).sample.key for number in (1, 0)]
    with pytest.raises(ValueError, match="two samples of one shard"):
        webdataset.write((item(number) for number in (1, 0, 1)), io.BytesIO(), io.BytesIO())


def test_a_picture_that_changed_is_noticed() -> None:
    """Bytes that are not those the sample describes stop the run with a sentence."""
    wrong = Item(item(0).sample, [picture(1)])
    with pytest.raises(OutputError, match="no longer the one measured"):
        webdataset.write([wrong], io.BytesIO(), io.BytesIO())
    with pytest.raises(ValueError, match="0 images, but it describes 1"):
        webdataset.write([Item(item(0).sample)], io.BytesIO(), io.BytesIO())


@given(st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True), st.integers(0, 8 * 1024**3 - 1))
def test_headers_are_those_that_tarfile_reads(key: str, size: int) -> None:
    """Every header parses back to its name and size, whatever the key and up to 8 GiB."""
    name = member_names(key, 2)[1]
    member = tarfile.TarInfo.frombuf(webdataset.header(name, size), "utf-8", "strict")
    assert (member.name, member.size, member.isreg()) == (name, size, True)


def test_memory_does_not_grow_with_the_shard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writing four times as many samples takes no more memory than the index rows of one group."""
    monkeypatch.setattr(webdataset, "_GROUP", 256)
    written(1)  # what the first write imports is no part of it
    peaks = []
    for count in (256, 1024):
        with (tmp_path / "t").open("wb") as tar, (tmp_path / "i").open("wb") as index:
            tracemalloc.start()
            webdataset.write(items(count), tar, index)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
