import hashlib
import io
import tarfile
import tracemalloc
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.writers import webdataset
from pipelines.writers.columns import Item, member_names
from schemas.errors import OutputError
from schemas.sample import Image, ImageRef, Sample, Text, Turn, text_sample
from tests.pipelines.corpora import image, item, items, picture


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
        f"{number:032x}-caption-0.{suffix}" for number in range(3) for suffix in ("json", "jpg")
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


def test_no_column_is_without_a_type() -> None:
    """A shard in which a column is all null, or that is empty, has the schema of every other."""
    empty, full = (pq.read_schema(io.BytesIO(written(count)[1])) for count in (0, 3))
    assert empty == full
    assert not any(pa.types.is_null(field.type) for field in full)


def test_several_pictures_are_numbered() -> None:
    """The pictures of one sample are KEY.0.jpg, KEY.1.png, …, each by its own format."""
    pictures = [picture(1), picture(2, "PNG"), picture(3, "WEBP")]
    turn = Turn("document", (ImageRef(2), Text("x"), ImageRef(0), ImageRef(1)))
    sample = Sample("k-1", "interleaved", "train", "en", "s", "l", tuple(map(image, pictures)), (turn,))
    tar = io.BytesIO()
    webdataset.write([Item(sample, pictures)], tar, io.BytesIO())
    tar.seek(0)
    with tarfile.open(fileobj=tar) as archive:
        assert archive.getnames() == ["k-1.json", "k-1.0.jpg", "k-1.1.png", "k-1.2.webp"]


def test_text_samples_have_no_picture() -> None:
    """Pure text is a JSON member alone; its words are in the column text."""
    sample = text_sample("b" * 32, "词", split="train", language="zh", source="s", licence="l")
    tar, index = io.BytesIO(), io.BytesIO()
    webdataset.write([Item(sample)], tar, index)
    (row,) = pq.read_table(index).to_pylist()
    assert (row["images"], row["caption"], row["text"]) == ([], None, "词")


def test_keys_must_rise() -> None:
    """A key out of order, or twice, is a mistake of the caller."""
    for keys in ((1, 0), (1, 1)):
        with pytest.raises(ValueError, match="key order"):
            webdataset.write((item(number) for number in keys), io.BytesIO(), io.BytesIO())


def test_a_picture_that_changed_is_noticed() -> None:
    """Bytes that are not those the sample describes stop the run with a sentence."""
    wrong = Item(item(0).sample, [picture(1)])
    with pytest.raises(OutputError, match="no longer the one measured"):
        webdataset.write([wrong], io.BytesIO(), io.BytesIO())
    with pytest.raises(ValueError, match="0 pictures for 1 images"):
        webdataset.write([Item(item(0).sample)], io.BytesIO(), io.BytesIO())


def test_extra_columns_are_declared() -> None:
    """A scalar that the schema does not know, or a column of our own name, is refused."""
    with pytest.raises(ValueError, match="colour"):
        webdataset.write([Item(item(0).sample, [picture(0)], {"colour": 1})], io.BytesIO(), io.BytesIO())
    with pytest.raises(ValueError, match="twice"):
        webdataset.write([], io.BytesIO(), io.BytesIO(), pa.schema([("key", pa.string())]))


@pytest.mark.parametrize("form", ["../x", "a.b", "", "J/PEG", "ÄPNG"])
def test_a_format_is_never_a_path(form: str) -> None:
    """What is no plain word cannot become the ending of a member."""
    with pytest.raises(ValueError, match="no picture format"):
        member_names("k", [Image(form, 1, 1, "0" * 64)])


@given(st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True), st.integers(0, 8 * 1024**3 - 1))
def test_headers_are_those_that_tarfile_reads(key: str, size: int) -> None:
    """Every header parses back to its name and size, whatever the key and up to 8 GiB."""
    member = tarfile.TarInfo.frombuf(webdataset.header(f"{key}.0.webp", size), "utf-8", "strict")
    assert (member.name, member.size, member.isreg()) == (f"{key}.0.webp", size, True)


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
