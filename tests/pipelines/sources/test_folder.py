"""Rows of folders of pictures, with JSONL, CSV or sidecars; text sets; limits and paths that lead out."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.files import Store
from pipelines.recipe.model import Source
from pipelines.sources import InputShard, discover, fetch, identity, read
from pipelines.sources.columns import Columns, ReadLimits
from schemas.errors import InputError, ShardError
from schemas.row import RawImage, RawRow, image_name

Sharder = Callable[..., InputShard]
Collector = Callable[..., tuple[list[RawRow], InputError | None]]
COLUMNS = Columns()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with images/0.jpg … images/4.jpg, each one byte."""
    (tmp_path / "images").mkdir()
    for i in range(5):
        (tmp_path / "images" / f"{i}.jpg").write_bytes(bytes([i]))
    return tmp_path


def jsonl(path: Path, records: list[Any]) -> Path:
    path.write_text("".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records), "utf-8")
    return path


def errors(rows: list[RawRow]) -> list[str | None]:
    return [row.error.kind if row.error else None for row in rows]


@pytest.mark.parametrize("name", ["file", "file_name", "image", "path"])
def test_jsonl_names_its_pictures(pictures: Path, shard_of: Sharder, name: str) -> None:
    """A record's picture is relative to the JSONL; members are paths without suffix."""
    path = jsonl(
        pictures / "a.jsonl",
        [{name: f"images/{i}.jpg", "caption": f"图 {i}", "url": f"u{i}"} for i in range(5)],
    )
    rows = list(read(shard_of(path, "folder", "jsonl"), COLUMNS))
    assert rows == [RawRow(f"images/{i}", bytes([i]), f"图 {i}".encode(), f"u{i}") for i in range(5)]


@pytest.mark.parametrize("name", ["images", "image"])
def test_a_list_names_several_images(pictures: Path, shard_of: Sharder, name: str) -> None:
    """Its images are a row's on request; a list of one is that image; one that is not there has its number."""
    lists = [
        ["images/0.jpg", "images/1.jpg"],
        ["images/2.jpg"],
        ["images/3.jpg", "images/9.jpg"],
        ["../x", "y"],
    ]
    shard = shard_of(
        jsonl(pictures / "a.jsonl", [{name: one, "text": "t"} for one in lists]), "folder", "jsonl"
    )
    assert errors(list(read(shard, COLUMNS))) == ["several_images", None, "several_images", "bad_row"]
    rows = list(read(shard, COLUMNS, several=True))
    assert [(row.member, row.image, row.further) for row in rows[:2]] == [
        ("images/0", b"\0", (RawImage(b"\1"),)),
        ("images/2", b"\2", ()),
    ]
    messages = [row.error.message if row.error else "" for row in rows[2:]]
    assert messages[0] == "image 2 of 2: the image that the record names is not there"
    assert messages[1].startswith("image 1 of 2: the image's path leads out")
    wanted = [(image_name("images/0", 1), None), ("images/2", None), ("images/0", None)]
    found = dict(fetch(shard, COLUMNS, wanted))
    assert found == {"images/0": b"\0", image_name("images/0", 1): b"\1", "images/2": b"\2"}


@pytest.mark.parametrize(("form", "mark"), [("csv", ","), ("tsv", "\t")])
def test_csv_names_its_pictures(pictures: Path, shard_of: Sharder, form: str, mark: str) -> None:
    """CSV and TSV with a first line of names; a byte order mark, quotes and line breaks are no trouble."""
    limits = ReadLimits(quotes=True)
    lines = [mark.join(("file_name", "text")), f'images/0.jpg{mark}"a ""big""\ncat"', f"images/1.jpg{mark}"]
    path = pictures / f"metadata.{form}"
    path.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([*lines, f"images/2.jpg{mark}été"]).encode())
    rows = list(read(shard_of(path, "folder", form), COLUMNS, limits=limits))
    assert [row.caption for row in rows] == [b'a "big"\ncat', b"", "été".encode()]
    assert [row.image for row in rows] == [b"\0", b"\1", b"\2"]


def test_a_picture_named_twice_is_two_rows(pictures: Path, shard_of: Sharder) -> None:
    """Two captions of one picture are two rows with two names."""
    path = jsonl(pictures / "a.jsonl", [{"file": "images/1.jpg", "caption": c} for c in "abc"])
    rows = list(read(shard_of(path, "folder", "jsonl"), COLUMNS))
    assert [(row.member, row.caption) for row in rows] == [
        ("images/1", b"a"),
        ("images/1#2", b"b"),
        ("images/1#3", b"c"),
    ]


@pytest.mark.parametrize(
    "value",
    ["../secret.jpg", "/etc/hostname", "images/../../x", "file:///etc/hostname", "http://h/a.jpg", "a\0b", 7],
)
def test_paths_that_lead_out_are_bad_rows(pictures: Path, shard_of: Sharder, value: Any) -> None:
    """No picture outside the JSONL's folder is opened."""
    folder = pictures / "inner"
    folder.mkdir()
    (pictures / "secret.jpg").write_bytes(b"secret")
    path = jsonl(folder / "a.jsonl", [{"file": value, "caption": "c"}])
    (row,) = read(shard_of(path, "folder", "jsonl"), COLUMNS)
    assert row.image is None
    assert errors([row]) == ["bad_row"]
    assert row.caption == b"c"


def test_bad_records_keep_their_rows(pictures: Path, shard_of: Sharder) -> None:
    """A missing picture, a folder, broken JSON, a line that is too long: each is one row with its error."""
    path = pictures / "a.jsonl"
    good = {"file": "images/0.jpg", "caption": "c"}
    lines = [
        good,
        {"file": "images/9.jpg"},
        {"file": "images"},
        {"caption": "no file"},
        {**good, "pad": "x" * 500},
        good,
    ]
    text = [json.dumps(line) for line in lines]
    path.write_text("\n".join([*text, "{broken", "", '"text"', json.dumps({"file": "x" * 300})]), "utf-8")
    rows = list(read(shard_of(path, "folder", "jsonl"), COLUMNS, limits=ReadLimits(record_bytes=400)))
    assert errors(rows) == [
        None,
        "no_image",
        "no_image",
        "no_image",
        "bad_row",
        None,
        "bad_row",
        "bad_row",
        "bad_row",
    ]
    assert len({row.member for row in rows}) == len(rows)


def test_scores_may_be_numbers_texts_and_lists_but_no_objects(pictures: Path, shard_of: Sharder) -> None:
    """What `extra` names is carried as it is written; an object is a bad row, null where a ready mapping names it."""
    values: list[Any] = [0.3, "0.3", None, [1, "a"], True, {"clip": 0.3}]
    records = [{"file": f"images/{n % 5}.jpg", "caption": "c", "similarity": v} for n, v in enumerate(values)]
    shard = shard_of(jsonl(pictures / "a.jsonl", records), "folder", "jsonl")
    rows = list(read(shard, Columns(extra=("similarity",))))
    assert [row.extra.get("similarity") for row in rows] == [*values[:5], None]
    assert errors(rows) == [None] * 5 + ["bad_row"]
    assert "the extra field 'similarity' holds an object" in str(rows[5].error)
    assert errors(list(read(shard, Columns.model_validate("laion")))) == [None] * 6


def test_a_later_start_gives_the_rest(pictures: Path, shard_of: Sharder) -> None:
    """Rows from read(start=k) are those of read() from number k on, repeated names too."""
    records = [{"file": f"images/{i % 3}.jpg", "caption": str(i)} for i in range(8)]
    shard = shard_of(jsonl(pictures / "a.jsonl", records), "folder", "jsonl")
    rows = list(read(shard, COLUMNS))
    for start in range(10):
        assert list(read(shard, COLUMNS, start=start)) == rows[start:]
    assert list(fetch(shard, COLUMNS, [(row.member, None) for row in rows[::-2]])) == [
        (row.member, row.image) for row in rows[1::2]
    ]
    with pytest.raises(ShardError, match="measure it again"):
        list(fetch(shard, COLUMNS, [("images/9", None)]))


def test_a_jsonl_without_pictures_says_so(pictures: Path, shard_of: Sharder) -> None:
    """When no record names a picture, the sentence lists the columns and mentions `kind: urls` and `kind: text`."""
    path = jsonl(pictures / "a.jsonl", [{"title": "a"}, {"title": "b", "size": 3}])
    with pytest.raises(InputError, match=r"for the image; it has: size, title; .*kind: urls.*kind: text"):
        list(read(shard_of(path, "folder", "jsonl"), COLUMNS))
    mapped = Columns(image=("title",), caption=("alt",))
    with pytest.raises(InputError, match=r"no column 'alt' for the caption"):
        list(read(shard_of(path, "folder", "jsonl"), mapped))


def test_sidecars_are_read_without_jsonl(tmp_path: Path) -> None:
    """img2dataset's "files" layout: pictures with .txt and .json beside them, one shard a folder."""
    for shard in ("00000", "00001"):
        (tmp_path / shard).mkdir()
        for i in range(2):
            stem = tmp_path / shard / f"{shard}{i}"
            stem.with_suffix(".jpg").write_bytes(bytes([i]))
            stem.with_suffix(".txt").write_text(f"caption {i}")
            stem.with_suffix(".json").write_text(json.dumps({"url": f"u{i}", "caption": "other"}))
        (tmp_path / f"{shard}.parquet").write_bytes(b"")
        (tmp_path / f"{shard}_stats.json").write_text("{}")
    found = discover("web", [str(tmp_path)])
    assert [(shard.shard, shard.format) for shard in found.shards] == [("00000", "files"), ("00001", "files")]
    rows = list(read(found.shards[1], COLUMNS))
    assert rows == [RawRow(f"00001{i}", bytes([i]), f"caption {i}".encode(), f"u{i}") for i in range(2)]
    assert list(read(found.shards[1], COLUMNS, start=1)) == rows[1:]
    assert list(fetch(found.shards[1], COLUMNS, [("000011", None)])) == [("000011", b"\1")]


def test_pictures_of_one_stem_are_two_rows(tmp_path: Path) -> None:
    """a.jpg and a.png beside a.txt are two rows; a broken sidecar is the row's error."""
    for name, data in {"a.jpg": b"1", "a.png": b"2", "a.txt": b"t", "b.jpg": b"3", "b.json": b"{"}.items():
        (tmp_path / name).write_bytes(data)
    (shard,) = discover("web", [str(tmp_path)]).shards
    rows = list(read(shard, COLUMNS))
    assert [(row.member, row.image, row.caption) for row in rows] == [
        ("a", b"1", b"t"),
        ("a#2", b"2", b"t"),
        ("b", b"3", None),
    ]
    assert errors(rows) == [None, None, "bad_row"]
    assert shard.shard == "root"


def test_a_folder_changes_with_its_pictures(pictures: Path) -> None:
    """The identity of a folder's shard covers the pictures, not only the file that names them."""
    jsonl(pictures / "a.jsonl", [{"file": "images/0.jpg", "caption": "c"}])
    (shard,) = discover("web", [str(pictures)]).shards
    source = Source.model_validate({"id": "web", "path": str(pictures)})
    before = identity(shard, source)
    assert identity(shard, source) == before
    (pictures / "images" / "0.jpg").write_bytes(b"x")
    assert identity(shard, source) != before


@pytest.mark.parametrize("packed", [False, True])
def test_text_is_a_row_a_line(tmp_path: Path, shard_of: Sharder, packed: bool) -> None:
    """Plain text: every line is a row, blank ones too; JSONL: every record; gzip or not."""
    text = b"\xef\xbb\xbfone\r\n\ntwo \xff\nlast"
    records = b'{"text": "one"}\n\n{"text": 5}\n{"other": 1}\n{bad\n'
    pack = gzip.compress if packed else bytes
    end = ".gz" if packed else ""
    (tmp_path / f"a.txt{end}").write_bytes(pack(text))
    (tmp_path / f"a.jsonl{end}").write_bytes(pack(records))
    plain = shard_of(tmp_path / f"a.txt{end}", "text", "txt")
    lines = shard_of(tmp_path / f"a.jsonl{end}", "text", "jsonl")
    assert [row.caption for row in read(plain, COLUMNS)] == [b"one", b"", b"two \xff", b"last"]
    assert errors(list(read(plain, COLUMNS))) == [None, None, "bad_row", None]
    rows = list(read(lines, COLUMNS))
    assert [(row.member, row.caption) for row in rows] == [
        ("0", b"one"),
        ("2", b"5"),
        ("3", None),
        ("4", None),
    ]
    assert errors(rows) == [None, None, None, "bad_row"]
    for shard in (plain, lines):
        everything = [repr(row) for row in read(shard, COLUMNS)]
        for start in range(6):
            assert [repr(row) for row in read(shard, COLUMNS, start=start)] == everything[start:]


def test_damaged_gzip_text_gives_its_lines_first(
    tmp_path: Path, shard_of: Sharder, collect: Collector
) -> None:
    """Lines before the damage are rows, then one sentence."""
    data = gzip.compress(b"".join(b"%d\n" % (i * 7919) for i in range(20_000)))
    path = tmp_path / "a.txt.gz"
    path.write_bytes(data[: len(data) // 2])
    rows, damage = collect(shard_of(path, "text", "txt"))
    assert isinstance(damage, ShardError)
    assert f"source web: {path} has damaged gzip data" in str(damage)
    assert rows[0].caption == b"0"
    assert len(rows) > 1000


def test_a_folder_on_s3_reads_as_on_disk(pictures: Path, s3_options: dict[str, Any]) -> None:
    """JSONL and pictures on S3 give the rows of the local folder, errors of rows included."""
    jsonl(pictures / "a.jsonl", [{"file": f"images/{i}.jpg", "caption": "c"} for i in (0, 3, 9)])
    store = Store(s3_options)
    for info in store.list_files(str(pictures)):
        store.write_bytes(f"s3://bucket/folder/{info.name}", Path(info.path).read_bytes(), "/tmp")
    (here,), (there,) = (
        discover("web", [str(pictures)]).shards,
        discover("web", ["s3://bucket/folder"], "auto", s3_options).shards,
    )
    assert here.shard == there.shard == "a"
    rows = list(read(there, COLUMNS, s3_options))
    assert [(row.member, row.image) for row in rows] == [
        (row.member, row.image) for row in read(here, COLUMNS)
    ]
    assert errors(rows) == [None, None, "no_image"]
