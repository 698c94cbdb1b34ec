"""Large Parquet files, read in parts."""

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.recipe.model import Recipe
from pipelines.sources import InputShard, discover, fetch, input_shards, parts, read
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.identities import Identities
from pipelines.sources.parts import BYTES, Cuts, cut_at, in_parts
from pipelines.sources.shard import Reading
from schemas.errors import ChangedError, InputError
from tests.pipelines import raw
from tests.pipelines.building import build, rows

GROUPS = st.lists(st.tuples(st.integers(0, 250_000), st.integers(0, 2 * BYTES)), max_size=30)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part has ten rows."""
    monkeypatch.setattr(parts, "ROWS", 10)
    monkeypatch.setattr(parts, "SMALL", 0)


def table(folder: Path, name: str, count: int, group: int, lists: bool = False) -> Path:
    """A file of captions and images, in groups of so many rows."""
    captions = [[f"caption {n}", f"again {n}"] if lists else f"caption {n}" for n in range(count)]
    path = folder / f"{name}.parquet"
    folder.mkdir(exist_ok=True)
    images = [b"image %d" % n for n in range(count)]
    pq.write_table(pa.table({"caption": captions, "image": images}), path, row_group_size=group)
    return path


def recipe_of(folder: Path, kind: str = "parquet") -> Recipe:
    """A recipe of one source."""
    source = {"id": "web", "kind": kind, "path": str(folder)}
    return Recipe.model_validate({"languages": ["en"], "sources": [source]})


def shards_of(folder: Path, kind: str = "parquet", cuts: Cuts | None = None) -> tuple[InputShard, ...]:
    """The input shards of a folder, as a build finds them."""
    return input_shards(recipe_of(folder, kind).sources[0], ReadLimits(), cuts).shards


@given(GROUPS)
def test_where_a_file_is_cut(groups: list[tuple[int, int]]) -> None:
    """Parts hold all rows once, none too many; several row groups are one part only where they are small together."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parts, "ROWS", 100_000)
        cut = cut_at(groups)
    total = sum(count for count, _ in groups)
    if not cut:
        assert total <= 100_000
        assert sum(size for count, size in groups if count) <= BYTES or sum(count > 0 for count, _ in groups) < 2
        return
    assert (cut[0], cut[-1]) == (0, total)
    starts, at = [], 0
    for count, size in groups:
        starts.append((at, count, size))
        at += count
    for first, stop in pairwise(cut):
        assert 0 < stop - first <= 100_000
        inside = [size for start, count, size in starts if count and first <= start and start + count <= stop]
        assert len(inside) < 2 or sum(inside) <= BYTES


@pytest.mark.parametrize(("kind", "lists"), [("parquet", False), ("parquet", True), ("text", False)])
@pytest.mark.parametrize("group", [4, 10, 7, 100])
def test_the_rows_of_all_parts_are_those_of_the_file(
    tmp_path: Path, kind: str, lists: bool, group: int
) -> None:
    """Parts give the rows of the whole file with their names in it, from any row on, and their images."""
    table(tmp_path, "big", 33, group, lists)
    (whole,) = discover("web", [str(tmp_path)], kind).shards
    found = shards_of(tmp_path, kind)
    assert len(found) >= 4
    assert sum(part.size for part in found) == whole.size
    columns = Columns(caption="caption") if kind == "text" else Columns()
    all_rows = list(read(whole, columns))
    assert [row for part in found for row in read(part, columns)] == all_rows
    assert list(read(found[1], columns, start=3)) == list(read(found[1], columns))[3:]
    assert [InputShard.from_json(part.to_json()) for part in found] == [*found]
    if kind == "parquet":
        members = [row.member for row in read(found[1], columns)]
        images = dict(fetch(found[1], columns, [(member, None) for member in members]))
        assert images == {row.member: row.image for row in all_rows if row.member in members}


def test_usual_files_stay_whole(tmp_path: Path) -> None:
    """Files of few rows are one shard each, beside the parts of a large one; so is a file that nobody can read."""
    table(tmp_path, "a", 10, 5)
    table(tmp_path, "b", 11, 5)
    (tmp_path / "c.parquet").write_bytes(b"PAR1 and nothing else")
    assert [(one.shard, one.rows) for one in shards_of(tmp_path)] == [
        ("a", None),
        ("b-row-000000000", (0, 10)),
        ("b-row-000000010", (10, 11)),
        ("c", None),
    ]


def test_two_shards_of_one_name(tmp_path: Path) -> None:
    """A file that is called as a part of another one is refused."""
    table(tmp_path, "b", 11, 5)
    table(tmp_path, "b-row-000000010", 1, 5)
    with pytest.raises(InputError, match=r"would both have a shard 'b-row-000000010', .* rename one"):
        shards_of(tmp_path)


def test_a_file_that_lost_rows(tmp_path: Path) -> None:
    """A part that the file no longer holds is no part of fewer rows."""
    path = table(tmp_path, "b", 25, 5)
    last = shards_of(tmp_path)[-1]
    table(tmp_path, "b", 5, 5)
    with pytest.raises(ChangedError, match=r"source web: .*b\.parquet no longer holds"):
        list(read(replace(last, path=str(path)), Columns()))


def test_footers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was remembered is believed of files that look the same, and of no others."""
    path = table(tmp_path, "b", 25, 5)
    first = Cuts()
    found = shards_of(tmp_path, cuts=first)
    assert not first.remembered(), "the file may change again within the tick of a clock"
    monkeypatch.setattr("pipelines.files._TICK", 0)
    opened: list[str] = []
    monkeypatch.setattr(parts.parquet, "groups", lambda reading: opened.append(reading.shard.shard) or [])
    assert shards_of(tmp_path, cuts=Cuts(first.remembered())) == found
    assert not opened
    path.touch()
    shards_of(tmp_path, cuts=Cuts(first.remembered()))
    assert opened == ["b"]


def test_only_large_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of fewer bytes than so many rows could have is not asked for its rows."""
    monkeypatch.setattr(parts, "SMALL", 1 << 18)
    monkeypatch.setattr(parts.parquet, "groups", lambda reading: pytest.fail("it was opened"))
    table(tmp_path, "a", 50, 5)
    found = discover("web", [str(tmp_path)])
    reading = Reading(found.shards[0], Store(None, "web"), Columns(), ReadLimits())
    assert in_parts(found.shards, lambda shard: reading, found.files, Cuts()) == found.shards


def test_parts_decide_as_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A build by two workers in parts has the keys, decisions and samples of one that reads the file whole."""
    web = tmp_path / "web"
    raw.scored(web / "train-00000-of-00002.parquet", [0.5, *[0.5] * 22])
    raw.scored(web / "train-00001-of-00002.parquet", [0.5, 0.5], ["too short", raw.caption(1)])
    recipe = {"languages": ["en"], "sources": [{"id": "web", "path": str(web), "columns": "laion"}]}
    build(recipe, tmp_path / "parts", workers=2)
    monkeypatch.setattr(parts, "ROWS", 100)
    build(recipe, tmp_path / "whole")
    found, wanted = (
        [
            {name: value for name, value in one.items() if name != "shard"}
            for one in rows(tmp_path / out, "decisions")
        ]
        for out in ("parts", "whole")
    )
    assert found == wanted
    assert {one["shard"] for one in rows(tmp_path / "parts", "decisions")} == {
        *(f"train-00000-of-00002-row-{first:09d}" for first in (0, 7, 15)),
        "train-00001-of-00002",
    }
    samples = [
        {(one["key"], one["sample"]) for one in rows(tmp_path / out, "samples")} for out in ("parts", "whole")
    ]
    assert samples[0] == samples[1]
    _, again = build(recipe, tmp_path / "whole")
    assert not sum(again.ran.values())
    monkeypatch.setattr(parts, "ROWS", 10)
    _, again = build(recipe, tmp_path / "parts")
    assert not sum(again.ran.values())


def test_cuts_lie_beside_the_receipts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A later run knows them without a look at the files; where what it reads is damaged, it looks again."""
    monkeypatch.setattr("pipelines.files._TICK", 0)
    table(tmp_path / "web", "b", 25, 5)
    layout = Layout(str(tmp_path / "out"))
    recipe = recipe_of(tmp_path / "web")
    first = Identities(layout)
    found = shards_of(tmp_path / "web", cuts=first.cuts)
    first.of(recipe, [], {})
    groups = parts.parquet.groups
    monkeypatch.setattr(parts.parquet, "groups", lambda reading: pytest.fail("it was opened"))
    assert shards_of(tmp_path / "web", cuts=Identities(layout).cuts) == found
    monkeypatch.setattr(parts.parquet, "groups", groups)
    for data in (b"no table", (tmp_path / "web" / "b.parquet").read_bytes()):
        (tmp_path / "out" / "work" / "receipts" / "cuts.parquet").write_bytes(data)
        assert shards_of(tmp_path / "web", cuts=Identities(layout).cuts) == found
