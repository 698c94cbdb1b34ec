"""Records of CSV and TSV: open quotes, widths, delimiters, encodings and limits."""

import csv
import gzip
import io
import re
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.files import Store
from pipelines.sources import InputShard, discover, read
from pipelines.sources.columns import Columns, ReadLimits
from schemas.errors import InputError, ShardError
from schemas.row import RawRow

Rows = Callable[..., list[RawRow]]
COLUMNS = Columns()


@pytest.fixture
def rows_of(tmp_path: Path) -> Rows:
    """Reads a text set of the given content."""

    def rows(
        content: str | bytes, form: str = "csv", columns: Columns = COLUMNS, **limits: Any
    ) -> list[RawRow]:
        path = tmp_path / f"a.{form}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        shard = InputShard("web", "a", str(path), "text", form.removesuffix(".gz"), path.stat().st_size)  # type: ignore[arg-type]
        return list(read(shard, columns, limits=ReadLimits(**limits)))

    return rows


def captions(rows: list[RawRow]) -> list[str | None]:
    """What each row says: its caption, or the class of its error."""
    return [row.error.kind if row.error else (row.caption or b"").decode() for row in rows]


def messages(rows: list[RawRow]) -> str:
    return " | ".join(row.error.message for row in rows if row.error)


def test_tsv_has_no_quotes_unless_the_recipe_says_so(rows_of: Rows) -> None:
    """A caption of a TSV may begin with a quote: it is a letter like others."""
    tsv = 'url\tcaption\nu0\t"Sunset\nu1\tplain\nu2\tthe "old" town\nu3\tends "\n'
    assert captions(rows_of(tsv, "tsv")) == ['"Sunset', "plain", 'the "old" town', 'ends "']
    assert captions(rows_of('url\tcaption\nu0\t"a ""b""\nc"\n', "tsv", quotes=True)) == ['a "b"\nc']
    assert captions(rows_of('url,caption\nu0,"a\nu1,b"\n', quotes=False)) == ['"a', 'b"']


@pytest.mark.parametrize(
    ("form", "mark"), [("tsv", "\t"), ("csv", "\t"), ("csv", ","), ("csv", ";"), ("csv", "|")]
)
def test_a_row_of_empty_fields_is_a_row(rows_of: Rows, form: str, mark: str) -> None:
    """Whatever parts the fields; a line of nothing but space is none, nor is a tab that parts no fields."""
    lines = ["url,caption,extra", "u0,a,", ",,", " , ,", "u1,b,", "", "  ", ",,"]
    found = captions(rows_of("\n".join(line.replace(",", mark) for line in lines), form))
    assert [one.strip() for one in found if one is not None] == ["a", "", "", "b", ""]
    other = "\t" if mark != "\t" else "\x0b"
    assert captions(rows_of(f"url{mark}caption\nu0{mark}a\n{other}\n", form)) == ["a"]
    assert captions(rows_of('caption\na\n""\n\n', form, quotes=True)) == ["a", ""]


@pytest.mark.parametrize(
    ("lines", "found", "words"),
    [
        (['u0/1,"open', "u1/1,a", "u2/1,b"], ["bad_row", "a", "b"], "line 2: .* does not close"),
        (['u0/1,"open', "u1/1,a", 'u2/1,"b"', "u3/1,c"], ["bad_row", "a", "b", "c"], "line 2: .* does not"),
        (['u0/1,"open', "u1/1,a", 'u2/1,b"', "u3/1,c"], ["bad_row", "a", 'b"', "c"], "swallows the 2 lines"),
        (
            ['cat,"open', "dog,a b", 'cow,b c"', "elk,c"],
            ["bad_row", "a b", 'b c"', "c"],
            "swallows the 2 lines",
        ),
        (["u0/1,a", "u1/1,b", 'u2/1,"open'], ["a", "b", "bad_row"], "line 4: .* does not close"),
        (['u0/1,"open', 'u1/1,"open', "u2/1,a"], ["bad_row", "bad_row", "a"], "line 2: .*line 3: "),
    ],
)
def test_an_open_quote_costs_one_record(
    rows_of: Rows, lines: list[str], found: list[str], words: str
) -> None:
    """A quoted field that swallows records or never closes is one bad row that names its line."""
    rows = rows_of("url,caption\n" + "\n".join(lines) + "\n")
    assert captions(rows) == found
    assert len(rows) == len(lines)
    assert re.search(words, messages(rows))


def test_sound_fields_of_several_lines_are_one_record(rows_of: Rows) -> None:
    """Line breaks, commas and doubled quotes inside quotes are the caption's own."""
    rows = rows_of('url,caption\nu0/1,"one,\ntwo, three\n""four"" 5,6"\nu1/1,next\nu2/1,"\n\nend"\n')
    assert captions(rows) == ['one,\ntwo, three\n"four" 5,6', "next", "\n\nend"]
    first = 'caption,url\n"one,two\nthree",http://h/1\n"one\ntwo",http://h/2\n"one, two\nthree",http://h/3\n'
    assert captions(rows_of(first)) == ["one,two\nthree", "one\ntwo", "one, two\nthree"]
    assert captions(rows_of('caption,lang\na,en\n"one\ntwo, three",de\n')) == ["a", "one\ntwo, three"]


@pytest.mark.parametrize(
    ("field", "caption"),
    [
        ('"Sunset" by the sea', '"Sunset" by the sea'),
        ('"Sunset, late" by the sea', '"Sunset, late" by the sea'),
        ('"A ""big""" dog', '"A ""big""" dog'),
        ('"Big" and "small"', '"Big" and "small"'),
        ('the "old" town', 'the "old" town'),
        ('"enclosed" ', "enclosed "),
        ('"a ""b"" c"', 'a "b" c'),
        ('"""a"" b"', '"a" b'),
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_quotes_that_enclose_no_field_are_kept(rows_of: Rows, field: str, caption: str, end: str) -> None:
    """A field with text after its closing quote is read as it stands; the fields beside it as always."""
    (row,) = rows_of(f'url,caption,"id"\n"u, ""0""",{field},"5"{end}', columns=Columns(extra=("id",)))
    assert (row.url, (row.caption or b"").decode(), row.extra) == ('u, "0"', caption, {"id": "5"})


def test_quotes_that_divide_a_field_are_a_bad_row(rows_of: Rows) -> None:
    """A quote within quotes that is not doubled, and a delimiter after it, give another number of fields."""
    assert captions(rows_of('url,caption\nu0,"A "big, red" dog"\nu1,b\n')) == ["bad_row", "b"]


def test_a_record_of_another_width_is_a_bad_row(rows_of: Rows) -> None:
    """A file that changes its number of fields half-way: each such record names its line and both numbers."""
    rows = rows_of("url,caption\nu0,a\nu1,b,c\nu2\n\nu3,d\n")
    assert captions(rows) == ["a", "bad_row", "bad_row", "d"]
    assert "line 3 has 3 fields, the first line names 2" in messages(rows)
    assert "line 4 has 1 fields" in messages(rows)


@pytest.mark.parametrize(
    ("content", "form"),
    [
        ("url;caption\nu0;a, b\nu1;c\n", "csv"),
        ("url|caption\nu0|a, b\nu1|c\n", "csv"),
        ("url\tcaption\nu0\ta, b\nu1\tc\n", "csv"),
        ("sep=;\nurl;caption\nu0;a, b\nu1;c\n", "csv"),
        ('url,caption\nu0,"a, b"\nu1,c\n', "csv"),
        ("url;caption\nu0;a, b\nu1;c\n", "tsv"),
        ("\n\nurl;caption\r\nu0;a, b\r\nu1;c", "csv"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_delimiter_and_encoding_are_recognised(rows_of: Rows, content: str, form: str, encoding: str) -> None:
    """Comma, semicolon, bar and tab; UTF-8 and UTF-16, with a byte order mark or without."""
    rows = rows_of(content.encode(encoding), form)
    assert captions(rows) == ["a, b", "c"]
    assert [row.url for row in rows] == ["u0", "u1"]


def test_delimiter_and_encoding_can_be_named(rows_of: Rows) -> None:
    """Where the recipe names them nothing is guessed; a name that does not exist is refused."""
    rows = rows_of("caption#url\n图,片#u0\n".encode("gb18030"), delimiter="#", encoding="GB18030")
    assert [(row.caption, row.url) for row in rows] == [("图,片".encode(), "u0")]
    assert captions(rows_of("été\n".encode("latin-1"), "txt", encoding="latin-1")) == ["été"]
    assert captions(rows_of('{"text": "é"}\n'.encode("utf-16"), "jsonl")) == ["é"]
    for wrong in ({"encoding": "klingon"}, {"encoding": "hex"}, {"delimiter": ",,"}, {"delimiter": '"'}):
        with pytest.raises(ValueError, match=r"encoding|delimiter"):
            ReadLimits.model_validate(wrong)


def test_the_only_limit_is_record_bytes(rows_of: Rows) -> None:
    """A field of 200,000 characters is a field; a line above the limit is one `too_large`."""
    rows = rows_of(f"url,caption\nu0,{'x' * 200_000}\nu1,b\n")
    assert [len(row.caption or b"") for row in rows] == [200_000, 1]
    for form in ("csv", "tsv"):
        mark = "," if form == "csv" else "\t"
        content = f"url,caption\nu0,{'é' * 60}\nu1,{'x' * 90}\nu2,c\nu3,{'x' * 500}".replace(",", mark)
        found = captions(rows_of(content, form, record_bytes=100))
        assert found == ["too_large", "x" * 90, "c", "too_large"]


def test_an_open_quote_is_given_up_at_the_limit(rows_of: Rows) -> None:
    """A quote that is not closed within `record_bytes` is one bad row; a line too large inside it is another."""
    lines = ['u0,"open', *(f"u{i},{'x' * 20}" for i in range(1, 9)), "u9," + "x" * 200, 'uA,b"', "uB,c"]
    rows = rows_of("url,caption\n" + "\n".join(lines), record_bytes=100)
    assert captions(rows) == ["bad_row", *["x" * 20] * 8, "too_large", 'b"', "c"]
    assert "does not close within 100 bytes" in messages(rows)


@pytest.mark.parametrize("form", ["csv", "tsv", "jsonl", "txt"])
def test_a_line_without_end_takes_no_memory(tmp_path: Path, form: str) -> None:
    """A line of 64 MiB is skipped in pieces of the limit's size, packed or not."""
    path = tmp_path / f"a.{form}.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b"caption\n" if form != "jsonl" else b'{"caption": "a"}\n')
        for _ in range(64):
            file.write(b"x" * 2**20)
        file.write(b"\nb\n" if form != "jsonl" else b'\n{"caption": "b"}\n')
    shard = InputShard("web", "a", str(path), "text", form, path.stat().st_size)  # type: ignore[arg-type]
    tracemalloc.start()
    rows = list(read(shard, COLUMNS, limits=ReadLimits(record_bytes=2**20)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert captions(rows)[-2:] == ["bad_row" if form == "jsonl" else "too_large", "b"]
    assert peak < 20 * 2**20


def test_a_first_line_that_names_nothing_stops(rows_of: Rows) -> None:
    """An open quote among the names, a name that stands twice, a column that is not there: one sentence each."""
    with pytest.raises(ShardError, match=r"its first line must name the columns .*line 1: a quoted field"):
        rows_of('"url,caption\nu0,a\n')
    with pytest.raises(InputError, match="'caption' stands twice"):
        rows_of("caption,caption\na,b\n")
    with pytest.raises(InputError, match=r"no column .* for the caption; it has: link, title"):
        rows_of("title;link\na;b\n")
    assert rows_of("") == []


def test_json_over_many_lines_is_recognised(rows_of: Rows) -> None:
    """A JSON list or a pretty-printed object named .jsonl stops with the way to make lines of it."""
    for whole in ('[{"text": "a"}, {"text": "b"}]', '[\n {\n  "text": "a"\n }\n]', '{\n  "text": "a"\n}'):
        with pytest.raises(InputError, match=r"not one JSON object a line; .*jq -c"):
            rows_of(whole, "jsonl")
    assert captions(rows_of('{"text": "a"}\n[1]\n', "jsonl")) == ["a", "bad_row"]


def test_the_nan_of_json_is_no_text(rows_of: Rows) -> None:
    """NaN and Infinity are null, as caption, URL and score."""
    columns = Columns(extra=("score",))
    rows = rows_of('{"text": NaN, "url": NaN, "score": -Infinity}\n{"text": "b"}\n', "jsonl", columns)
    assert [(row.caption, row.url, row.error) for row in rows] == [(None, None, None), (b"b", None, None)]
    assert rows[0].extra == {"score": None}


def test_a_name_may_hold_two_colons(tmp_path: Path, s3_options: dict[str, Any]) -> None:
    """`a::b.jpg` is a file of the folder like others, here and on S3."""
    (tmp_path / "a::b.jpg").write_bytes(b"1")
    (tmp_path / "a.jsonl").write_text('{"file": "a::b.jpg", "caption": "c"}\n')
    store = Store(s3_options)
    for name in ("a::b.jpg", "a.jsonl"):
        store.write_bytes(f"s3://bucket/colons/{name}", (tmp_path / name).read_bytes(), "/tmp")
    for root, options in ((str(tmp_path), None), ("s3://bucket/colons", s3_options)):
        (shard,) = discover("web", [root], "auto", options).shards
        assert list(read(shard, COLUMNS, options)) == [RawRow("a::b", b"1", b"c")]


def test_damaged_gzip_gives_its_records_first(tmp_path: Path) -> None:
    """Records before the damage are rows, then one sentence."""
    data = gzip.compress(b"url,caption\n" + b"".join(b"u,%d\n" % (i * 7919) for i in range(20_000)))
    path = tmp_path / "a.csv.gz"
    path.write_bytes(data[: len(data) // 2])
    rows: list[RawRow] = []
    with pytest.raises(ShardError, match="damaged gzip data"):
        rows.extend(read(InputShard("web", "a", str(path), "text", "csv", len(data)), COLUMNS))
    assert captions(rows)[0] == "0"
    assert len(rows) > 1000


FIELD = st.lists(
    st.sampled_from(["a", "b", " ", ", ", ";", '"', "\n", "\r", "\t", "é", "图"]), max_size=8
).map("".join)


@settings(deadline=None, max_examples=200)
@given(st.lists(st.tuples(FIELD, FIELD), max_size=6))
def test_what_a_writer_of_csv_writes_is_read(records: list[tuple[str, str]]) -> None:
    """Any words, quotes and line breaks that Python's writer puts into a CSV come back as they were."""
    out = io.StringIO()
    csv.writer(out).writerows([("url", "caption"), *records])
    store = Store()
    data = out.getvalue().encode()
    store.write_bytes("memory://delimited/a.csv", data, "/tmp")
    shard = InputShard("web", "a", "memory://delimited/a.csv", "text", "csv", len(data))
    assert [(row.url or "", (row.caption or b"").decode()) for row in read(shard, COLUMNS)] == records
    assert not any(row.error for row in read(shard, COLUMNS))


@settings(deadline=None, max_examples=200)
@given(st.text(st.sampled_from('ab "'), min_size=1, max_size=8))
def test_a_line_of_one_record_loses_no_letter(field: str) -> None:
    """Of a field without a delimiter each letter is in the caption, and each quote that encloses or doubles none."""
    store = Store()
    data = f"url,caption\nu,{field}\nu,b\n".encode()
    store.write_bytes("memory://delimited/c.csv", data, "/tmp")
    row = next(read(InputShard("web", "c", "memory://delimited/c.csv", "text", "csv", len(data)), COLUMNS))
    sound = re.fullmatch(r'"((?:[^"]|"")*)"( *)', field)
    whole = sound.group(1).replace('""', '"') + sound.group(2) if sound else field
    assert row.error or (row.caption or b"").decode() == whole


@settings(deadline=None, max_examples=200)
@given(st.lists(st.text(st.sampled_from('ab,"'), min_size=1, max_size=8), min_size=1, max_size=8))
def test_every_line_is_in_some_record(lines: list[str]) -> None:
    """Whatever quotes there are: each physical line is a row, or part of a row of several lines."""
    store = Store()
    data = ("caption,url\n" + "".join(f"{line}\n" for line in lines)).encode()
    store.write_bytes("memory://delimited/b.csv", data, "/tmp")
    shard = InputShard("web", "b", "memory://delimited/b.csv", "text", "csv", len(data))
    rows = list(read(shard, COLUMNS))
    breaks = sum((row.caption or b"").count(b"\n") + (row.url or "").count("\n") for row in rows)
    assert len(rows) + breaks == len(lines)
