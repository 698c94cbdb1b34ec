"""The table of kinds: a kind is one module and one line of it."""

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pipelines.audit.verify import verify
from pipelines.recipe.load import load
from pipelines.recipe.model import Source
from pipelines.sources import discover, head
from pipelines.sources.table import KINDS, Kind
from schemas.errors import InputError, RecipeError
from tests.pipelines.building import build, rows
from tests.pipelines.phases.test_ground import samples
from tests.pipelines.raw import picture
from tests.pipelines.sources import sqlite_rows


@pytest.fixture
def added(monkeypatch: pytest.MonkeyPatch) -> None:
    """The kind `sqlite`, added to the table by its one line."""
    monkeypatch.setitem(KINDS, "sqlite", Kind("sqlite", sqlite_rows, {"sqlite": (".sqlite", ".db")}))


def database(path: Path, count: int) -> None:
    """A file of pairs."""
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("CREATE TABLE pairs (name TEXT, caption TEXT, image BLOB)")
        told = [(f"{n:03d}", f"a thing of number {n}", picture(n)) for n in range(count)]
        connection.executemany("INSERT INTO pairs VALUES (?, ?, ?)", told)
    connection.close()


def recipe(path: Path, **more: Any) -> dict[str, Any]:
    """A recipe of one source of the added kind."""
    return {"sources": [{"id": "db", "kind": "sqlite", "path": str(path), **more}]}


@pytest.mark.usefixtures("added")
def test_a_kind_is_one_module_and_one_line(tmp_path: Path) -> None:
    """Rows of an added kind are measured, decided, written and verified, and their files alone are read."""
    database(tmp_path / "a.sqlite", 3)
    database(tmp_path / "b.db", 1)
    (tmp_path / "notes.txt").write_text("no input")
    _, heard = build(recipe(tmp_path), tmp_path / "out")
    assert [
        (row["shard"], row["member"], row["decision"]) for row in rows(tmp_path / "out", "decisions")
    ] == [
        ("a", "000", "kept"),
        ("a", "001", "kept"),
        ("a", "002", "kept"),
        ("b", "000", "dropped"),
    ]
    assert {sample.text for sample in samples(tmp_path / "out")} == {
        f"a thing of number {n}" for n in range(3)
    }
    assert any("notes.txt" in sentence for sentence in heard.said)
    assert verify(str(tmp_path / "out")) == []
    shard = discover("db", [str(tmp_path)], "sqlite").shards[0]
    assert head(shard, 1) == [{"name": "000", "caption": "a thing of number 0", "image": picture(0)}]


@pytest.mark.usefixtures("added")
def test_what_the_line_says_goes_for_the_recipe(tmp_path: Path) -> None:
    """Keys that are for other kinds are refused, as the facts of the kind say."""
    with pytest.raises(RecipeError, match="files and images are for kind: annotations"):
        load(recipe(tmp_path, images="x"))
    with pytest.raises(InputError, match="nothing to read as sqlite"):
        build(recipe(tmp_path), tmp_path / "out")


def test_an_unknown_kind_is_one_sentence(tmp_path: Path) -> None:
    """The nearest name stands in it, and all that there are."""
    with pytest.raises(
        RecipeError, match=r"sources\.0\.kind: there is no such kind; did you mean parquet\? allowed"
    ):
        load({"sources": [{"id": "a", "path": "x", "kind": "parket"}]})


def test_the_schema_lists_the_kinds() -> None:
    """An editor completes the kinds of the table."""
    assert Source.model_json_schema()["properties"]["kind"]["enum"] == [*KINDS]
