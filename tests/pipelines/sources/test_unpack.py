"""Packed tars: every compression gives the rows of the plain tar, damage is named, and bombs are capped."""

import bz2
import gzip
import lzma
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from pipelines.sources import InputShard, discover, fetch, read
from pipelines.sources.columns import Columns
from schemas.errors import ShardError
from schemas.row import RawRow

TarWriter = Callable[..., Path]
Sharder = Callable[..., InputShard]
Collector = Callable[..., tuple[list[RawRow], ShardError | None]]


def zstd(data: bytes) -> bytes:
    packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
    return packed


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar.gz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": zstd,
}
EVERY = pytest.mark.parametrize("suffix", PACKERS)


def members(count: int, size: int = 5000) -> list[tuple[str, bytes]]:
    noise = random.Random(0)
    return [
        (f"{i:03d}.{suffix}", data)
        for i in range(count)
        for suffix, data in (("jpg", noise.randbytes(size)), ("txt", b"a cat"))
    ]


@EVERY
def test_a_packed_tar_is_read_as_the_plain_one(
    write_tar: TarWriter, shard_of: Sharder, tmp_path: Path, suffix: str
) -> None:
    """Rows and fetched images are the same, also of a file in two streams with padding after them."""
    path = write_tar(members(8))
    plain = [(row.member, row.image, row.caption) for row in read(shard_of(path), Columns())]
    data = path.read_bytes()
    for body in (PACKERS[suffix](data), PACKERS[suffix](data[:9000]) + PACKERS[suffix](data[9000:])):
        packed = tmp_path / f"packed{suffix}"
        packed.write_bytes(body)
        shard = shard_of(packed)
        assert [(row.member, row.image, row.caption) for row in read(shard, Columns())] == plain
        wanted = [(member, None) for member, _, _ in plain[::-1]]
        assert list(fetch(shard, Columns(), wanted)) == [(name, image) for name, image, _ in plain[::-1]]


def test_a_zstandard_file_may_begin_with_a_frame_to_skip(
    write_tar: TarWriter, shard_of: Sharder, tmp_path: Path
) -> None:
    """As pzstd writes it."""
    path = tmp_path / "a.tar.zst"
    path.write_bytes(b"\x50\x2a\x4d\x18\4\0\0\0abcd" + zstd(write_tar(members(3)).read_bytes()))
    assert len(list(read(shard_of(path), Columns()))) == 3


@EVERY
def test_packed_tars_are_found(tmp_path: Path, suffix: str) -> None:
    """A folder with packed tars is WebDataset; the id is the name without the whole suffix."""
    (tmp_path / f"00000{suffix}").write_bytes(b"")
    (tmp_path / "00000.parquet").write_bytes(b"")
    found = discover("web", [str(tmp_path)])
    assert [(shard.shard, shard.format) for shard in found.shards] == [("00000", "tar")]
    assert found.ignored == ()


@EVERY
def test_a_cut_packed_tar_gives_its_sound_rows(
    write_tar: TarWriter, shard_of: Sharder, tmp_path: Path, collect: Collector, suffix: str
) -> None:
    """What can be unpacked before the cut is rows; then one sentence names the compression and the place."""
    data = PACKERS[suffix](write_tar(members(100, 20_000)).read_bytes())
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(data[: len(data) * 3 // 4])
    rows, damage = collect(shard_of(path))
    assert 20 < len(rows) < 100
    assert isinstance(damage, ShardError)
    assert "has damaged" in str(damage)
    assert "write it again" in str(damage)


@EVERY
def test_a_flipped_byte_is_damage(
    write_tar: TarWriter, shard_of: Sharder, tmp_path: Path, collect: Collector, suffix: str
) -> None:
    """Every compression's own checksum or structure shows a flip, or the tar's headers do; no traceback."""
    data = bytearray(PACKERS[suffix](write_tar(members(4)).read_bytes()))
    data[len(data) // 2] ^= 0x55
    path = tmp_path / f"flip{suffix}"
    path.write_bytes(data)
    rows, damage = collect(shard_of(path))
    if suffix == ".tar.zst":  # without its optional checksum a flip in the literals passes
        assert len(rows) <= 4
    else:
        assert isinstance(damage, ShardError)


@EVERY
def test_a_bomb_is_capped(
    shard_of: Sharder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, collect: Collector, suffix: str
) -> None:
    """A file that unpacks beyond the ratio is cut off there and reported."""
    monkeypatch.setattr("pipelines.sources.unpack._FREE", 1000)
    path = tmp_path / f"bomb{suffix}"
    path.write_bytes(PACKERS[suffix](bytes(30_000_000)))
    rows, damage = collect(shard_of(path))
    assert rows == []
    assert "unpacks to more than 200 times its size" in str(damage)


def test_an_xz_that_wants_much_memory_is_refused(
    shard_of: Sharder, tmp_path: Path, collect: Collector
) -> None:
    """A dictionary of more than 128 MiB is damage, before the memory is taken."""
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 0, "dict_size": 512 << 20}]
    path = tmp_path / "a.tar.xz"
    path.write_bytes(lzma.compress(bytes(2048), filters=filters))
    rows, damage = collect(shard_of(path))
    assert rows == []
    assert "has damaged xz data after 0 bytes (LZMAError)" in str(damage)
