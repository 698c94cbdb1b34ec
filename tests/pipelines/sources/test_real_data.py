"""Real files in the formats of the field are read as they are, and hostile ones do no harm."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.sources import InputShard, discover, fetch, read
from pipelines.sources.columns import Columns
from schemas.errors import InputError, ShardError
from schemas.row import RawRow

Sharder = Callable[..., InputShard]
Collector = Callable[..., tuple[list[RawRow], InputError | None]]


def rows_of(path: Path, kind: str = "auto", columns: Columns | None = None) -> list[RawRow]:
    """All rows of all shards; every fetched picture is the one read."""
    rows: list[RawRow] = []
    for shard in discover("real", [str(path)], kind).shards:
        own = list(read(shard, columns or Columns()))
        wanted = [(row.member, row.offset) for row in own if row.image is not None]
        if wanted:
            expected = {row.member: row.image for row in own if row.image is not None}
            assert dict(fetch(shard, columns or Columns(), wanted)) == expected
        rows += own
    return rows


def test_the_cc12m_shard(test_data: Path) -> None:
    """32 samples with picture, caption and URL, in the tar's own order."""
    rows = rows_of(test_data / "formats/webdataset/cc12m-train-0000.tar")
    assert len(rows) == 32
    assert [row.member for row in rows[:3]] == ["000000003", "000000004", "000000001"]
    assert all(row.image and row.caption and row.url and row.offset and row.error is None for row in rows)
    assert rows[0].caption == b"Red Square is a city square in Moscow, Russia."


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("clip-retrieval-image1.tar", 4),
        ("clip-retrieval-image2.tar", 3),
        ("clip-retrieval-image3.tar", 2),
        ("clip-retrieval-image4.tar", 2),
        ("croissant-PASS.0.tar", 4),
        ("croissant-PASS.1.tar", 4),
        ("wds-sample.tgz", 90),
    ],
)
def test_tars_without_captions(test_data: Path, name: str, count: int) -> None:
    """Pictures alone are rows without caption, compressed or not, in folders or not."""
    rows = rows_of(test_data / "formats/webdataset" / name)
    assert len(rows) == count
    assert all(row.image and row.caption is None and row.error is None for row in rows)


def test_parquet_with_bytes(test_data: Path) -> None:
    """Data-Juicer's Parquet: lists of one picture, guessed without a map."""
    rows = rows_of(test_data / "formats/metadata/data-juicer-images-bytes.parquet")
    assert [bool(row.image) for row in rows] == [True] * 3
    assert rows[0].caption == b"<__dj__image> A comfortable bed."


def test_laion_metadata_is_text(test_data: Path) -> None:
    """LAION's Parquet has no pictures: refused as such, read as text."""
    path = test_data / "formats/metadata/laion-url-text-10000.parquet"
    with pytest.raises(InputError, match="kind: text"):
        rows_of(path)
    rows = rows_of(path, "text", Columns.model_validate("laion"))
    assert len(rows) == 10_000
    assert all(row.url and row.caption is not None for row in rows)


def test_pairs_are_a_folder(test_data: Path) -> None:
    """Images beside a JSONL: one row a line, each with its picture."""
    lines = (test_data / "pairs/pairs.jsonl").read_bytes().count(b"\n")
    rows = rows_of(test_data / "pairs/pairs.jsonl")
    assert len(rows) == lines
    assert len({row.member for row in rows}) == lines
    assert all(row.image and row.caption and row.error is None for row in rows)


def test_text_sets(test_data: Path) -> None:
    """Data-Juicer's JSONL has as many rows as lines."""
    path = test_data / "formats/metadata/data-juicer-dedup.jsonl"
    rows = rows_of(path, "text")
    assert len(rows) == path.read_bytes().count(b"\n") + (not path.read_bytes().endswith(b"\n"))
    assert all(row.caption for row in rows)


def test_hostile_tars(test_data: Path, shard_of: Sharder, collect: Collector) -> None:
    """Every hostile tar is read or a ShardError, soon; the damaged ones are damage; no row comes twice."""
    damaged = set()
    for path in sorted((test_data / "hostile/tar").rglob("*.*")):
        start = time.process_time()
        rows, damage = collect(shard_of(path))
        assert time.process_time() - start < 5, path
        assert damage is None or isinstance(damage, ShardError), path
        assert len({row.member for row in rows}) == len(rows), path
        for row in rows:
            row.member.encode()
        if damage:
            damaged.add(path.name)
            assert str(path) in str(damage)
    assert {"bad-cksum.tar", "test_read_format_tar_acl_oob_read.tar"} <= damaged
    sound = {"pax.tar", "utf8.tar", "long-paths.tar", "sparse-large.tar", "test_compat_zstd_2.tar.zst"}
    assert not sound & damaged


def maps_for(path: Path) -> list[Columns]:
    """The guesses, and each column as the picture and as the caption."""
    try:
        names = [name for name in pq.read_schema(path).names if name]
    except (pa.ArrowException, OSError, ValueError):
        names = []
    return [
        Columns(),
        *(Columns(image=(name,)) for name in names),
        *(Columns(caption=(name,)) for name in names),
    ]


def test_hostile_parquet(test_data: Path, shard_of: Sharder, collect: Collector) -> None:
    """Every hostile Parquet file, by every column map, is read, damaged, or lacks a column: one sentence."""
    outcomes: dict[Any, int] = {}
    for path in sorted((test_data / "hostile/parquet").rglob("*.parquet")):
        for kind in ("parquet", "text"):
            for columns in maps_for(path):
                _, damage = collect(shard_of(path, kind, "parquet"), columns)
                assert "\n" not in str(damage), path
                assert damage is None or str(damage).startswith("source web: ")
                outcomes[type(damage)] = outcomes.get(type(damage), 0) + 1
    assert set(outcomes) == {type(None), InputError, ShardError}


@pytest.mark.parametrize("form", ["txt", "jsonl", "csv"])
def test_hostile_text(test_data: Path, form: str, collect: Collector) -> None:
    """Text of broken encodings, read as any format: rows with names of their own, or one sentence."""
    for path in sorted((test_data / "hostile/text").iterdir()):
        shard = InputShard("web", "0", str(path), "text", form, path.stat().st_size)  # type: ignore[arg-type]
        rows, damage = collect(shard)
        assert rows or damage
        assert len({row.member for row in rows}) == len(rows)
        assert damage is None or str(damage).startswith("source web: ")
