"""The list of what is removed: what is read, what is refused, and that it holds hashes alone."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.layout import Layout
from pipelines.recipe.load import load
from pipelines.removal import NAME, Entry, Removed, gathered, hashed, hosts_of, kept, read, spellings
from schemas.errors import InputError

KEY = "0123456789abcdef0123456789abcdef"


def written(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text, "utf-8")
    return str(path)


def values(removed: Removed) -> set[tuple[str, str]]:
    return {(entry.column, entry.sha256) for entry in removed.entries}


@pytest.mark.parametrize(
    ("text", "column", "plain"),
    [
        (f"key\n{KEY.upper()}\n{KEY}-caption-0\n\n", "key", [KEY]),
        ("id\n 17 \nb,c\n", "id", ["17", "b,c"]),
        ("url\nhttps://a.org/x?y=1,2\n", "url", ["https://a.org/x?y=1,2"]),
        ("url\nHTTPS://A.org:443\nhttp://b.org/a b#c\n", "url", ["https://a.org/", "http://b.org/a%20b"]),
        ("\ufeffhost\nA.Example.org\nb.org.\n", "host", ["a.example.org", "b.org"]),
        ("host\nB\u00fccher.de\n[2001:DB8::0]\n", "host", ["xn--bcher-kva.de", "2001:db8::"]),
        (f"sha256\n{'AB' * 32}\n", "sha256", ["ab" * 32]),
    ],
)
def test_text(tmp_path: Path, text: str, column: str, plain: list[str]) -> None:
    """The first line of a text says what its values are; each is held by its hash, whatever its case and spaces."""
    assert values(read(written(tmp_path, "list.txt", text))) == {(column, hashed(value)) for value in plain}


def test_hosts_of_addresses() -> None:
    """A host is the whole name in small letters, without port, user and the dot at its end; some texts have none."""
    found = [
        hosts_of(one) for one in ("https://me@A.Example.org.:80/x", "a.org/x", "http://[::1", "https:///x")
    ]
    assert found == [{"a.example.org"}, set(), set(), set()]
    assert hosts_of("http://B\u00fccher.de/") == {"b\u00fccher.de", "xn--bcher-kva.de"}
    assert hosts_of("http://[2001:DB8::0]:80/") >= {"2001:db8::"}


def test_spellings_of_addresses() -> None:
    """An address is known as it is written and as it is asked, so lists and rows may differ in how they spell it."""
    assert spellings("HTTP://A.org/x#y") == {"HTTP://A.org/x#y", "http://a.org/x"}
    assert spellings("http://a.org/x") == {"http://a.org/x"}
    for other in ("scan.pdf#3", "s3://Bucket/A#1", "http://me@a.org/x#1"):
        assert spellings(other) == {other}, "what is not asked for is one thing with its fragment"


def test_tables(tmp_path: Path) -> None:
    """CSV and Parquet have the value, a reason and a date by their columns' names; numbers are as text has them."""
    path = written(tmp_path, "list.csv", 'reason,id,date\n"a wish, by mail",17,2026-01-02\n,18,\n')
    entries = {
        Entry("id", hashed("17"), "a wish, by mail", "2026-01-02", False),
        Entry("id", hashed("18"), None, None, False),
    }
    assert set(read(path).entries) == entries
    pq.write_table(pa.table({"id": [17, 18, None], "other": [1, 2, 3]}), tmp_path / "list.parquet")
    assert values(read(str(tmp_path / "list.parquet"))) == values(read(path))


def test_a_column_that_is_told(tmp_path: Path) -> None:
    """Where the column is told, a text needs no first line for it, and of a table it is that column."""
    assert values(read(written(tmp_path, "a", "b.org\n"), column="host")) == {("host", hashed("b.org"))}
    assert values(read(written(tmp_path, "b", "host\nb.org\n"), column="host")) == {("host", hashed("b.org"))}
    both = written(tmp_path, "c.csv", f"key,id\n{KEY},17\n")
    assert values(read(both, column="id")) == {("id", hashed("17"))}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("a.txt", "17\n18\n", "has no column key or id or url or host or sha256"),
        ("a.csv", "name,date\nx,y\n", "has no column key or id"),
        ("a.csv", "key,url\nx,y\n", "has the columns key and url: name one"),
        ("a.txt", "", "has no column"),
        ("a.txt", "id\n\n  \n", "holds no id"),
        ("a.csv", "id\n", "holds no id"),
        ("a.txt", "key\n" + KEY + "\nhttps://a.org\n", "value 2 is no key"),
        ("a.txt", "sha256\nabc\n", "value 1 is no sha256"),
        ("a.txt", "host\nhttps://a.org/b\n", "value 1 is no host"),
        ("a.parquet", "key\n", "cannot be read .ArrowInvalid.: give Parquet"),
    ],
)
def test_bad_lists(tmp_path: Path, name: str, text: str, problem: str) -> None:
    """A list that names no column, several or no value, or holds another kind of value, is one sentence."""
    with pytest.raises(InputError, match=problem) as found:
        read(written(tmp_path, name, text))
    assert "\n" not in str(found.value)
    assert name in str(found.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """A list that is not there, or no text, is one sentence."""
    with pytest.raises(InputError, match=r"none\.txt"):
        read(str(tmp_path / "none.txt"))
    (tmp_path / "latin").write_bytes("id\nÄ\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"cannot be read .UnicodeDecodeError."):
        read(str(tmp_path / "latin"))


def test_lists_add_up() -> None:
    """A value of two lists keeps its first reason, and rows like it go if one of them says so."""
    one = Removed().with_([Entry("id", "b", "first", None, True), Entry("id", "a", None, None, True)])
    two = one.with_([Entry("id", "b", "second", None, False), Entry("id", "a", None, None, True)])
    assert two.entries == (Entry("id", "a", None, None, True), Entry("id", "b", "first", None, False))
    assert two.with_(two.entries) == two
    assert two.digest() != one.digest()
    assert Removed().digest() is None


def test_the_list_of_a_corpus(tmp_path: Path) -> None:
    """A corpus keeps its list by hashes alone, and a list that is given adds to it; a damaged one is a sentence."""
    layout = Layout(str(tmp_path / "out"))
    assert kept(layout) == Removed()
    listed = gathered(layout, written(tmp_path, "one", "host\nsecret.org\n"), only_listed=True)
    listed.keep(layout)
    assert kept(layout) == listed
    assert b"secret" not in (tmp_path / "out" / NAME).read_bytes()
    more = gathered(layout, written(tmp_path, "two", "id\n7\n"), only_listed=False)
    assert {entry.column: entry.only_listed for entry in more.entries} == {"host": True, "id": False}
    (tmp_path / "out" / NAME).write_bytes(b"PAR1")
    with pytest.raises(InputError, match=r"removed\.parquet is damaged"):
        kept(layout)


def test_a_recipes_digest() -> None:
    """The digest of a recipe covers the list by what it holds, not by where it lies."""
    plain, listed = (
        load({"sources": [{"id": "a", "path": "b"}]} | more) for more in ({}, {"removed": "list.txt"})
    )
    assert plain.digest() == listed.digest()
    assert plain.digest("a list") not in (plain.digest(), plain.digest("another"))
