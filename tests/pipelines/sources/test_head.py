"""The first rows with all that is stored of them."""

import datetime
import gzip
import json
import tarfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources import discover, head
from pipelines.sources.columns import ReadLimits
from schemas.errors import ShardError
from tests.pipelines.raw import add, caption, picture, shard


def first(path: Path, rows: int = 2, **more: ReadLimits) -> list[dict[str, object]]:
    """The first rows of the one shard at a path."""
    [found] = discover("web", [str(path)]).shards
    return head(found, rows, **more)


def test_a_tar(tmp_path: Path) -> None:
    """Of a sample the start of each member by suffix, and the fields of its record by name."""
    one, two = first(shard(tmp_path / "a.tar", range(3)))
    assert list(one) == ["jpg", "txt", "url"]
    assert one["jpg"] == picture(0)[:4096]
    assert two == {"jpg": picture(1)[:4096], "txt": caption(1).encode(), "url": "https://example.org/1"}


def test_a_compressed_tar(tmp_path: Path) -> None:
    """Compression makes no difference."""
    plain = shard(tmp_path / "a.tar", range(3))
    (tmp_path / "b.tar.gz").write_bytes(gzip.compress(plain.read_bytes()))
    assert first(tmp_path / "b.tar.gz") == first(plain)


def test_a_tar_that_is_cut(tmp_path: Path) -> None:
    """What precedes the damage is given; where nothing does, ShardError."""
    path = shard(tmp_path / "a.tar", range(3))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert len(first(path, 9)) == 2
    path.write_bytes(whole[:700])
    with pytest.raises(ShardError, match="ends inside the member"):
        first(path)


def test_a_record_that_is_none(tmp_path: Path) -> None:
    """A member .json that is no object has no fields to give."""
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        add(tar, "1.json", b"[1]")
        add(tar, "1.txt", b"one")
    assert first(tmp_path / "a.tar") == [{"txt": b"one"}]


def test_parquet(tmp_path: Path) -> None:
    """Every column is there, whatever its type; times are text."""
    columns = {
        "text": pa.array(["one", "two"]),
        "when": pa.array([10**18, None], pa.timestamp("ms")),  # after the year 9999
        "many": pa.array([["a"], None]),
        "day": pa.array([datetime.date(2026, 1, 1), None]),
    }
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    one, two = first(tmp_path / "a.parquet")
    assert one["text"] == b"one"
    assert one["when"] == "<value out of range: 1000000000000000000>"
    assert one["many"] == [b"a"]
    assert one["day"] == "2026-01-01"
    assert list(two) == list(columns)


def test_parquet_of_large_values(tmp_path: Path) -> None:
    """A column whose values are above the limit of an image is not read, and stands there by its type."""
    pq.write_table(pa.table({"big": [b"x" * 5000] * 2, "small": ["a", "b"]}), tmp_path / "a.parquet")
    rows = first(tmp_path / "a.parquet", limits=ReadLimits(image_bytes=1000))
    assert rows == [{"big": pa.binary(), "small": b"a"}, {"big": pa.binary(), "small": b"b"}]


def test_lines(tmp_path: Path) -> None:
    """JSONL gives its objects, and passes over what is none; a plain line has a field without a name."""
    (tmp_path / "a.jsonl").write_text(f"[1]\n{json.dumps({'a': [1], 'b': None})}\n")
    assert first(tmp_path / "a.jsonl") == [{"a": [1], "b": None}]
    (tmp_path / "b.txt").write_text("one\ntwo\nthree\n")
    assert first(tmp_path / "b.txt") == [{"": b"one"}, {"": b"two"}]


def test_sidecars(tmp_path: Path) -> None:
    """Of a picture with sidecars their text, and their fields."""
    (tmp_path / "in").mkdir()
    for name, data in {"1.jpg": picture(1), "1.txt": b"one", "1.json": b'{"url": "u"}', "2.jpg": b""}.items():
        (tmp_path / "in" / name).write_bytes(data)
    one, two = first(tmp_path / "in")
    assert one == {"txt": b"one", "url": "u"}
    assert two == {}
