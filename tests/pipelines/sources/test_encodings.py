"""Bytes that are no text in the encoding recognised or named: one bad row, whose message names the remedy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.sources import InputShard, read
from pipelines.sources.columns import Columns, ReadLimits
from schemas.errors import InputError
from schemas.row import RawRow

Sharder = Callable[..., InputShard]
TarWriter = Callable[..., Path]

COLUMNS = Columns()
FILES = {
    "txt": "un café\nplain\n小鸟\n",
    "csv": "caption,url\nun café,u\nplain,u\n小鸟,u\n",
    "tsv": "caption\turl\nun café\tu\nplain\tu\n小鸟\tu\n",
    "jsonl": '{"caption": "un café"}\n{"caption": "plain"}\n{"caption": "小鸟"}\n',
}
"""Text sets by format, each of the same three captions."""


def outcomes(rows: list[RawRow]) -> list[str]:
    """The caption of each row, or the class of its error."""
    return [row.error.kind if row.error else (row.caption or b"").decode() for row in rows]


def limits(encoding: str | None) -> ReadLimits:
    return ReadLimits(encoding=encoding)


@pytest.mark.parametrize("form", FILES)
def test_another_encoding_is_a_bad_row_with_the_remedy(tmp_path: Path, shard_of: Sharder, form: str) -> None:
    """A row with GBK bytes names `read.encoding`; with that encoding named it is read."""
    path = tmp_path / f"a.{form}"
    path.write_bytes(FILES[form].encode("gb18030"))
    shard = shard_of(path, "text", form)
    rows = list(read(shard, COLUMNS))
    assert outcomes(rows) == ["bad_row", "plain", "bad_row"]
    told = {row.error.message for row in rows if row.error}
    assert len(told) == 1, "a stop counts equal messages"
    assert "no text in utf-8" in told.pop()
    assert outcomes(list(read(shard, COLUMNS, limits=limits("gb18030")))) == ["un café", "plain", "小鸟"]


@pytest.mark.parametrize("form", FILES)
@pytest.mark.parametrize("encoding", ["big5", "ascii", "shift_jis"])
def test_a_wrong_name_is_told(tmp_path: Path, shard_of: Sharder, form: str, encoding: str) -> None:
    """Bytes that are no text in the encoding that the recipe names are bad rows too, and nothing is replaced."""
    path = tmp_path / f"a.{form}"
    path.write_bytes(FILES[form].replace("小鸟", "\x80").encode("latin-1"))
    rows = list(read(shard_of(path, "text", form), COLUMNS, limits=limits(encoding)))
    assert outcomes(rows)[1] == "plain"
    assert "�" not in "".join(outcomes(rows))
    assert any(row.error and f"no text in {encoding}" in row.error.message for row in rows)


@pytest.mark.parametrize("form", FILES)
def test_damage_in_utf_16_costs_its_own_line(tmp_path: Path, shard_of: Sharder, form: str) -> None:
    """A lone surrogate in a UTF-16 file is a bad row; the lines beside it are read."""
    path = tmp_path / f"a.{form}"
    path.write_bytes(b"\xff\xfe" + FILES[form].replace("é", "\ud800").encode("utf-16-le", "surrogatepass"))
    assert outcomes(list(read(shard_of(path, "text", form), COLUMNS))) == ["bad_row", "plain", "小鸟"]


def test_names_of_columns_may_be_in_another_encoding(tmp_path: Path, shard_of: Sharder) -> None:
    """A column whose name is no text hinders only who looks for it: then the sentence has the remedy."""
    path = tmp_path / "a.csv"
    path.write_bytes("caption,小鸟\na,b\n".encode("gb18030"))
    shard = shard_of(path, "text", "csv")
    mapped = Columns(caption=("小鸟",))
    assert outcomes(list(read(shard, COLUMNS))) == ["a"]
    with pytest.raises(
        InputError, match=r"no column '小鸟' .*of the names the bytes .*read: \{encoding: gb18030"
    ):
        list(read(shard, mapped))
    assert outcomes(list(read(shard, mapped, limits=limits("gb18030")))) == ["b"]


def test_sidecars_are_read_as_utf_8_then_as_named(tmp_path: Path, shard_of: Sharder) -> None:
    """Texts and records beside images, in UTF-8 or in the encoding named; else a bad row."""
    for name, text, encoding in (
        ("a.txt", "été", "latin-1"),
        ("b.txt", "été", "utf-8"),
        ("c.json", '{"caption": "été"}', "latin-1"),
        ("d.json", '{"caption": "été"}', "utf-8"),
    ):
        (tmp_path / name).write_bytes(text.encode(encoding))
        (tmp_path / name).with_suffix(".jpg").write_bytes(b"1")
    shard = shard_of(tmp_path, "folder", "files")
    assert outcomes(list(read(shard, COLUMNS))) == ["bad_row", "été", "bad_row", "été"]
    assert outcomes(list(read(shard, COLUMNS, limits=limits("latin-1")))) == ["été"] * 4


def test_texts_in_tars_are_read_as_utf_8_then_as_named(write_tar: TarWriter, shard_of: Sharder) -> None:
    """A caption or record of a tar keeps its image, and its error names the remedy; a named encoding is read."""
    latin = "été".encode("latin-1")
    members = [
        ("a.jpg", b"1"),
        ("a.txt", latin),
        ("b.jpg", b"1"),
        ("b.txt", "été".encode()),
        ("c.jpg", b"1"),
        ("c.json", b'{"caption": "' + latin + b'"}'),
    ]
    shard = shard_of(write_tar(members))
    rows = list(read(shard, COLUMNS))
    assert outcomes(rows) == ["bad_row", "été", "bad_row"]
    assert all(row.image == b"1" for row in rows)
    assert all("encoding: latin-1" in row.error.message for row in rows if row.error)
    assert outcomes(list(read(shard, COLUMNS, limits=limits("latin-1")))) == ["été"] * 3
