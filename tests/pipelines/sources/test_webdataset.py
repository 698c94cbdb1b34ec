"""Rows of WebDataset tars: grouping, captions, errors of a row, damage of a shard, later fetches."""

import gzip
import io
import json
import random
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.sources import InputShard, fetch, read
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.grouping import split_name
from schemas.errors import OutputError, ShardError
from schemas.row import RawRow

TarWriter = Callable[..., Path]
Sharder = Callable[..., InputShard]
Collector = Callable[..., tuple[list[RawRow], ShardError | None]]
COLUMNS = Columns()


def samples_of(*samples: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [member for members in samples for member in members]


def sample(key: str, image: bytes = b"\xff\xd8", caption: str | None = "a cat") -> list[tuple[str, bytes]]:
    meta = {"url": f"https://host/{key}.jpg", "caption": caption, "similarity": 0.5}
    texts = [] if caption is None else [(f"{key}.txt", caption.encode())]
    return [(f"{key}.jpg", image), *texts, (f"{key}.json", json.dumps(meta).encode())]


def messages(rows: list[RawRow]) -> list[str]:
    return [row.error.message for row in rows if row.error]


def errors(rows: list[RawRow]) -> list[str | None]:
    return [row.error.kind if row.error else None for row in rows]


def test_a_sample_is_one_row(write_tar: TarWriter, shard_of: Sharder) -> None:
    """Picture, caption, URL, the extra fields that are mapped, and where the picture's bytes are."""
    path = write_tar(sample("000", b"picture"))
    columns = Columns(extra=("similarity", "key"))
    (row,) = read(shard_of(path), columns)
    assert row == RawRow("000", b"picture", b"a cat", "https://host/000.jpg", 512, {"similarity": 0.5}, None)
    assert path.read_bytes()[512 : 512 + 7] == b"picture"


def test_txt_beats_the_caption_in_json(write_tar: TarWriter, shard_of: Sharder) -> None:
    """Without a map .txt wins, then `caption` in the record; a map of the user's own is obeyed."""
    record = json.dumps({"caption": "from json", "alt": "alt"}).encode()
    path = write_tar(
        [("a.jpg", b"1"), ("a.json", record), ("a.txt", b"from txt"), ("b.json", record), ("b.jpg", b"")]
    )
    assert [row.caption for row in read(shard_of(path), Columns())] == [b"from txt", b"from json"]
    assert [row.caption for row in read(shard_of(path), Columns(caption=("alt",)))] == [b"alt", b"alt"]
    laion = Columns.model_validate("laion")
    assert [row.caption for row in read(shard_of(path), laion)] == [b"from txt", b"from json"]


def test_absent_and_empty_captions_differ(write_tar: TarWriter, shard_of: Sharder) -> None:
    """No caption is None, an empty one is b"", and bytes that are no UTF-8 are a bad row."""
    path = write_tar(
        [("a.jpg", b"1"), ("b.jpg", b"1"), ("b.txt", b""), ("c.jpg", b"1"), ("c.txt", b"\xff\xfe")]
    )
    rows = list(read(shard_of(path), COLUMNS))
    assert [row.caption for row in rows] == [None, b"", b"\xff\xfe"]
    assert errors(rows) == [None, None, "bad_row"]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 6), anywhere=st.booleans())
def test_the_order_of_members_makes_no_difference(
    write_tar: TarWriter, shard_of: Sharder, seed: int, count: int, anywhere: bool
) -> None:
    """Members shuffled within their samples give the same rows; over the whole tar, the same set of rows."""
    rng = random.Random(seed)
    samples = [sample(f"d/{i:03d}", b"%d" % i, None if i == 2 else f"caption {i}") for i in range(count)]
    expected = [content(row) for row in read(shard_of(write_tar(samples_of(*samples))), COLUMNS)]
    for members in samples:
        rng.shuffle(members)
    mixed = samples_of(*samples)
    if anywhere:
        rng.shuffle(mixed)
    found = [content(row) for row in read(shard_of(write_tar(mixed)), COLUMNS)]
    assert (sorted(found) if anywhere else found) == expected


def content(row: RawRow) -> tuple[Any, ...]:
    return row.member, row.image, row.caption is None, row.caption, row.url


def test_a_key_that_comes_again_is_another_row(write_tar: TarWriter, shard_of: Sharder) -> None:
    """A repeated member starts a new row with #2, and takes what follows; no two rows share a name."""
    path = write_tar(
        [
            *sample("a", b"1", "one"),
            *sample("a#2", b"x", "odd"),
            *sample("a", b"2", "two"),
            *sample("a", b"3", "three"),
        ]
    )
    rows = list(read(shard_of(path), COLUMNS))
    assert [(row.member, row.image, row.caption) for row in rows] == [
        ("a", b"1", b"one"),
        ("a#2", b"x", b"odd"),
        ("a#3", b"2", b"two"),
        ("a#4", b"3", b"three"),
    ]


def test_only_pictures_captions_and_records_make_rows(write_tar: TarWriter, shard_of: Sharder) -> None:
    """Labels alone are no row, nor are hidden files; a caption or a record without picture is one."""
    path = write_tar(
        [
            ("a.cls", b"1"),
            ("._b.jpg", b"1"),
            (".DS_Store", b""),
            ("c.txt", b"c"),
            ("d.json", b"{}"),
            ("e.HEIC", b"1"),
            ("README", b""),
        ]
    )
    rows = list(read(shard_of(path), COLUMNS))
    assert [row.member for row in rows] == ["c", "d", "e"]
    assert errors(rows) == ["no_image", "no_image", None]


@pytest.mark.parametrize(
    ("name", "key", "suffix"),
    [
        ("000010042.jpg", "000010042", "jpg"),
        ("dir.x/000010042.seg.PNG", "dir.x/000010042", "seg.png"),
        ("./a/b.txt", "a/b", "txt"),
        ("plain", "plain", ""),
        ("a/.hidden", "", "hidden"),
        ("folder/", "", ""),
    ],
)
def test_a_member_is_named_up_to_the_first_dot(name: str, key: str, suffix: str) -> None:
    """The key is the path up to the first dot of its last part."""
    assert split_name(name) == (key, suffix)


def test_bad_records_keep_their_rows(write_tar: TarWriter, shard_of: Sharder) -> None:
    """JSON that is broken, deep, no object, or with a caption of a wrong type is the row's error alone."""
    deep = b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    bad = [b"{", b"[1]", deep, b"\xff", b'{"caption": ["x"]}', b'{"a": ' + b"9" * 10_000 + b"}"]
    members = [pair for i, record in enumerate(bad) for pair in ((f"{i}.jpg", b"1"), (f"{i}.json", record))]
    rows = list(read(shard_of(write_tar(members)), COLUMNS))
    assert errors(rows) == ["bad_row"] * len(bad)
    assert all(row.image == b"1" for row in rows)
    assert "a caption of type list, not text; write a record a caption" in messages(rows)


def test_what_is_no_unicode_is_written_out(write_tar: TarWriter, shard_of: Sharder) -> None:
    """Lone surrogates in URLs and names, and names that are no UTF-8, become text that can be stored."""
    record = b'{"caption": "\\ud800", "url": "http://h/\\ud800", "licence": "\\udfff"}'
    path = write_tar([("\udce9.jpg", b"1"), ("\udce9.json", record)])
    (row,) = read(shard_of(path), Columns(extra=("licence",)))
    assert row.member == "\\xe9"
    assert row.url == "http://h/\\ud800"
    assert row.extra == {"licence": "\\udfff"}
    assert row.caption == b"\xed\xa0\x80"


def test_members_over_the_limit_are_not_read(write_tar: TarWriter, shard_of: Sharder) -> None:
    """Pictures and captions beyond the limits are `too_large`, records `bad_row`; the rows stay."""
    limits = ReadLimits(image_bytes=10, text_bytes=10, record_bytes=60)
    path = write_tar(
        [
            ("a.jpg", bytes(11)),
            ("a.txt", b"a"),
            ("b.jpg", b"1"),
            ("b.txt", bytes(11)),
            ("c.jpg", b"1"),
            ("c.json", json.dumps({"caption": "c" * 60}).encode()),
        ]
    )
    rows = list(read(shard_of(path), COLUMNS, limits=limits))
    assert errors(rows) == ["too_large", "too_large", "bad_row"]
    assert [row.image for row in rows] == [None, b"1", b"1"]


def test_a_link_is_no_picture(tmp_path: Path, shard_of: Sharder) -> None:
    """A picture that is a link to some file is never followed: the row has no image."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(info)
    (row,) = read(shard_of(path), COLUMNS)
    assert row.image is None
    assert errors([row]) == ["no_image"]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_a_later_start_gives_the_rest(write_tar: TarWriter, shard_of: Sharder, name: str) -> None:
    """Rows from read(start=k) are those of read() from number k on."""
    path = write_tar(
        samples_of(*(sample(f"{i:03d}", b"%d" % i) for i in range(7))), name, "w:gz" if "gz" in name else "w"
    )
    rows = list(read(shard_of(path), COLUMNS))
    assert len(rows) == 7
    for start in range(9):
        assert list(read(shard_of(path), COLUMNS, start=start)) == rows[start:]


@pytest.mark.parametrize("name", ["a.tar", "a.tar.gz"])
def test_fetched_pictures_are_those_read(write_tar: TarWriter, shard_of: Sharder, name: str) -> None:
    """Any members, in any order, come back with the bytes that read gave, with or without offsets."""
    members = samples_of(*(sample(f"{i:03d}", bytes([i]) * 900) for i in range(7))) + sample("003", b"again")
    shard = shard_of(write_tar(members, name, "w:gz" if "gz" in name else "w"))
    rows = list(read(shard, COLUMNS))
    assert all((row.offset is None) == ("gz" in name) for row in rows)
    random.Random(1).shuffle(rows)
    for wanted in ([(row.member, row.offset) for row in rows[:5]], [(row.member, None) for row in rows]):
        found = list(fetch(shard, COLUMNS, wanted))
        assert found == [(row.member, row.image) for row in rows[: len(wanted)]]
    assert list(fetch(shard, COLUMNS, [])) == []


def test_a_changed_tar_is_noticed(write_tar: TarWriter, shard_of: Sharder) -> None:
    """A member or an offset that is no longer there is a ShardError that says to measure again."""
    shard = shard_of(write_tar(sample("a", bytes(600))))
    for wanted in ([("b", None)], [("a", 1024)], [("a", 10**9)]):
        with pytest.raises(ShardError, match="measure it again"):
            list(fetch(shard, COLUMNS, wanted))


def test_gzip_is_told_by_content(write_tar: TarWriter, shard_of: Sharder) -> None:
    """A plain tar named .tgz and a gzip named .tar are both read."""
    plain = write_tar(sample("a"), "plain.tgz")
    packed = write_tar(sample("a"), "packed.tar", "w:gz")
    (one,), (two,) = read(shard_of(plain), COLUMNS), read(shard_of(packed), COLUMNS)
    assert content(one) == content(two)


@pytest.mark.parametrize("packed", [False, True])
def test_a_cut_shard_gives_its_sound_rows_first(
    write_tar: TarWriter, shard_of: Sharder, packed: bool, collect: Collector
) -> None:
    """Rows before the damage come out whole, then one sentence with source, file and remedy."""
    noise = random.Random(0)
    path = write_tar(samples_of(*(sample(f"{i}", noise.randbytes(5000)) for i in range(10))))
    whole = list(read(shard_of(path), COLUMNS))
    data = gzip.compress(path.read_bytes()) if packed else path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    rows, damage = collect(shard_of(path))
    assert 2 <= len(rows) < 10
    assert [content(row) for row in rows] == [content(row) for row in whole[: len(rows)]]
    assert isinstance(damage, ShardError)
    assert str(damage).startswith(f"source web: {path} ")
    assert "write it again" in str(damage)
    assert "\n" not in str(damage)


def test_the_sample_that_is_cut_is_no_row(
    write_tar: TarWriter, shard_of: Sharder, collect: Collector
) -> None:
    """A sample whose last member is cut would look like one without a caption: it belongs to the damage."""
    path = write_tar([*sample("a"), ("b.jpg", b"1"), ("b.txt", b"x" * 2000)])
    path.write_bytes(path.read_bytes()[: 6 * 512 + 512 + 512 + 512 + 100])
    rows, damage = collect(shard_of(path))
    assert [row.member for row in rows] == ["a"]
    assert isinstance(damage, ShardError)
    assert "ends inside the member 'b.txt'" in str(damage)


def test_a_gzip_bomb_stops(
    tmp_path: Path, shard_of: Sharder, monkeypatch: pytest.MonkeyPatch, collect: Collector
) -> None:
    """A gzip that unpacks beyond the ratio is cut off there and reported."""
    monkeypatch.setattr("pipelines.sources.unpack._FREE", 1000)
    path = tmp_path / "bomb.tar.gz"
    path.write_bytes(gzip.compress(bytes(20_000_000)))
    rows, damage = collect(shard_of(path))
    assert rows == []
    assert isinstance(damage, ShardError)
    assert "unpacks to more than 200 times its size" in str(damage)


def test_no_room_to_unpack_is_one_sentence(
    write_tar: TarWriter, shard_of: Sharder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full temporary folder stops with its name and what to do."""

    class Full(io.BytesIO):
        def write(self, _: Any) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(OutputError, match="TMPDIR"):
        list(read(shard_of(write_tar(sample("a"), "a.tar.gz", "w:gz")), COLUMNS))


def test_a_tar_on_s3_reads_as_on_disk(
    write_tar: TarWriter, shard_of: Sharder, s3_options: dict[str, Any]
) -> None:
    """Rows and fetched pictures of an object are those of the file."""
    from pipelines.files import Store

    path = write_tar(samples_of(*(sample(f"{i}", bytes([i]) * 700) for i in range(4))))
    rows = list(read(shard_of(path), COLUMNS))
    remote = "s3://bucket/webdataset/00000.tar"
    Store(s3_options).write_bytes(remote, path.read_bytes(), "/tmp")
    shard = InputShard("web", "00000", remote, "webdataset", "tar", path.stat().st_size)
    assert list(read(shard, COLUMNS, s3_options)) == rows
    wanted = [(row.member, row.offset) for row in rows[::-1]]
    assert list(fetch(shard, COLUMNS, wanted, s3_options)) == [(row.member, row.image) for row in rows[::-1]]
