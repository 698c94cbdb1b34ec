"""Large Parquet files, read in parts."""

import json
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.audit.diff import diff
from pipelines.audit.verify import verify
from pipelines.files import Store
from pipelines.layout import Layout, file_and_row, in_order, part_id
from pipelines.recipe.model import Recipe
from pipelines.sources import InputShard, discover, fetch, input_shards, parts, read
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.identities import Identities
from pipelines.sources.parts import BYTES, Cuts, cut_at, in_parts
from pipelines.sources.shard import Reading
from pipelines.verdicts import Verdicts
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
        assert (
            sum(size for count, size in groups if count) <= BYTES or sum(count > 0 for count, _ in groups) < 2
        )
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
        ("b,row-000000000", (0, 10, 11)),
        ("b,row-000000010", (10, 11, 11)),
        ("c", None),
    ]


def test_two_shards_of_one_name(tmp_path: Path) -> None:
    """A file that is called as a part of another one is refused."""
    table(tmp_path, "b", 11, 5)
    table(tmp_path, "b,row-000000010", 1, 5)
    with pytest.raises(InputError, match=r"would both have a shard 'b,row-000000010', .* rename one"):
        shards_of(tmp_path)


@pytest.mark.parametrize("count", [5, 24, 26])
def test_a_file_that_has_more_or_fewer_rows(tmp_path: Path, count: int) -> None:
    """The parts of a file that was replaced are none of what is there now."""
    table(tmp_path, "b", 25, 5)
    found = shards_of(tmp_path)
    table(tmp_path, "b", count, 5)
    for part in found:
        with pytest.raises(
            ChangedError, match=r"source web: .*b\.parquet has another number of rows than when"
        ):
            list(read(part, Columns()))


def pairs(path: Path, numbers: Iterable[int]) -> Path:
    """A file of the numbered pictures and captions in one row group."""
    path.parent.mkdir(exist_ok=True)
    known = [*numbers]
    columns = {"image": [*map(raw.picture, known)], "caption": [*map(raw.caption, known)]}
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("phase", ["measure", "shard"])
@pytest.mark.parametrize("count", [3, 15, 30])
def test_a_file_that_is_replaced_during_a_run(tmp_path: Path, phase: str, count: int) -> None:
    """It is cut anew and measured again, each row once; a run that begins afterwards has nothing to do."""
    recipe = {"languages": ["en"], "sources": [{"id": "web", "path": str(tmp_path / "web")}]}
    path = pairs(tmp_path / "web" / "a.parquet", range(22))
    new = pairs(tmp_path / "new" / "a.parquet", range(100, 100 + count))

    def swap() -> None:
        if new.exists():
            new.rename(path)

    results, heard = build(recipe, tmp_path / "out", before={phase: swap})
    assert [line for line in heard.said if f"{path} " in line and "it is made again now" in line]
    assert sum(receipt["rows"] for receipt in results["measure"].values()) == count
    assert not [name for name, receipt in results["measure"].items() if receipt["damaged"]]
    assert sorted(int(one["member"]) for one in rows(tmp_path / "out", "decisions")) == [*range(count)]
    assert verify(str(tmp_path / "out"), work=True) == []
    _, again = build(recipe, tmp_path / "out")
    assert not sum(again.ran.values())


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


NAMES = st.text(" !+-,.0(Aa", min_size=1, max_size=4)


@given(st.dictionaries(NAMES, st.lists(st.integers(0, 10**12), unique=True, max_size=3), max_size=6))
def test_parts_stand_in_the_place_of_their_file(files: dict[str, list[int]]) -> None:
    """The order of files says which of equal rows is kept, so it is the same however they are cut."""
    wanted = [
        ("web", name)
        for file, firsts in sorted(files.items())
        for name in ([part_id(file, first) for first in sorted(firsts)] or [file])
    ]
    assert in_order(wanted[::-1]) == wanted


def test_of_equal_rows_the_same_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row of a file in parts wins over that of a file whose name comes later, as one of the whole file does."""
    for name, numbers in (("a", range(12)), ("a-b", range(6, 14)), ("a (1)", (3, 11))):
        pairs(tmp_path / "web" / f"{name}.parquet", numbers)
    recipe = {"languages": ["en"], "sources": [{"id": "web", "path": str(tmp_path / "web")}]}
    build(recipe, tmp_path / "parts")
    monkeypatch.setattr(parts, "ROWS", 100)
    build(recipe, tmp_path / "whole")
    found, wanted = (
        {
            (file_and_row(one["shard"])[0], one["member"]): (one["decision"], one["reason"])
            for one in rows(tmp_path / out, "decisions")
        }
        for out in ("parts", "whole")
    )
    assert found == wanted
    assert len(found) == 22
    assert [*found.values()].count(("kept", None)) == 14
    assert diff(str(tmp_path / "parts"), str(tmp_path / "whole")).moves == ()


@pytest.mark.parametrize("first", [10, 100])
def test_verdicts_stay_when_a_file_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    """A row that was given up stays so when its file is cut, or is whole again, here and where they are replayed."""
    pairs(tmp_path / "web" / "a.parquet", range(13))
    source = {"id": "web", "path": str(tmp_path / "web"), "max_quarantine": 0.5}
    recipe = {"languages": ["en"], "sources": [source]}
    asked = [{"source": "web", "shard": "a", "member": "11", "kind": "crash"}]
    asked.append({"source": "web", "shard": "b,row-000000000", "member": "1", "kind": "crash"})
    given_up = {("11", "crash")}

    def lost(out: str) -> set[tuple[str, str]]:
        return {(one["member"], one["error"]) for one in rows(tmp_path / out, "signals") if one["error"]}

    monkeypatch.setattr(parts, "ROWS", first)
    _, heard = build(recipe, tmp_path / "out", given=Verdicts.parse(json.dumps(asked).encode(), "list"))
    said = [line for line in heard.said if "verdicts" in line]
    assert said == [
        "warning: verdicts are given on 1 input file that no source has, so nothing follows from them: web/b"
    ]
    assert lost("out") == given_up
    manifest = (tmp_path / "out" / "manifest.json").read_bytes()
    assert [one["member"] for one in json.loads(manifest)["verdicts"]] == ["11"]
    monkeypatch.setattr(parts, "ROWS", 110 - first)
    _, heard = build(recipe, tmp_path / "out")
    assert heard.ran["measure"] == len(shards_of(tmp_path / "web"))
    _, heard = build(recipe, tmp_path / "other", given=Verdicts.parse(manifest, "manifest"))
    assert lost("out") == lost("other") == given_up
    assert not [line for line in heard.said if "verdicts" in line]
    assert [file.name for file in (tmp_path / "out" / "work" / "verdicts").rglob("*.json")] == ["a.json"]


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
        *(f"train-00000-of-00002,row-{first:09d}" for first in (0, 7, 15)),
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
