"""What decisions say of duplicates is true: who is named as kept is kept, whatever rules are on."""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.files import Store
from pipelines.layout import Layout, Name
from pipelines.phases.dedup.tables import Columns, Folder
from pipelines.phases.select import keepers
from pipelines.phases.select.driver import SelectPlan, select
from pipelines.recipe.model import Recipe
from schemas.row import SCORES
from tests.pipelines.phases.test_select import (
    SHARDS,
    Row,
    caption,
    clustered,
    decided,
    engine,
    of_one_image,
    put,
    write,
)

SCORER = "a scorer"
RULES: dict[str, dict[str, Any]] = {
    "semantic": {"similarity": 0.9, "rows": 10},
    "max_per_caption": {"max": 1},
}


def recipe(captions: str, rules: dict[str, Any]) -> Recipe:
    return Recipe.model_validate(
        {
            "languages": ["en", "zh"],
            "sources": [{"id": "a", "path": "a"}, {"id": "b", "path": "b"}],
            "captions": captions,
            "clip": {
                "embeddings": True,
                "allow_embedded": True,
                "scorers": {"default": {"model": "embedded"}},
            },
            "rules": {"script": False, **rules},
        }
    )


@st.composite
def crowds(draw: st.DrawFn) -> list[Row]:
    """Rows of few keys and images, nearly all of which are in clusters of every kind."""
    places, digits = st.sampled_from([("a", "0"), ("a", "1"), ("b", "0")]), st.integers(0, 1)
    rows = []
    for number in range(draw(st.integers(4, 14))):
        (source, shard), key = (
            draw(places),
            "".join(map(str, draw(st.tuples(digits, digits, digits, digits)))),
        )
        side, chars, language = draw(st.sampled_from([(200, 10, "en"), (300, 20, "en"), (300, 20, "zh")]))
        rows.append(Row(source, shard, f"{number:03d}", key.rjust(32, "1"), language, side, chars, None, {}))
    return [clustered(row, rows) for row in rows]


def captioned(rows: Sequence[Row]) -> list[Row]:
    """The rows with clusters of equal captions."""
    names = {text: f"{number:032x}" for number, text in enumerate(sorted({caption(row) for row in rows}), 1)}
    return [replace(row, clusters={**row.clusters, "caption": names[caption(row)]}) for row in rows]


def measured(
    layout: Layout, rows: Sequence[Row], vectors: Sequence[Any], shards: Sequence[Name] = SHARDS
) -> dict[Name, Any]:
    """Writes signals, clusters and scores of rows with these embeddings; returns what score says of each shard."""
    write(layout, captioned(rows), shards)
    schema = pa.schema([*SCORES, pa.field("image_embedding", pa.list_(pa.float16()))])
    for source, shard in shards:
        records = [
            {
                "source": source,
                "shard": shard,
                "member": row.member,
                "key": row.key,
                "clip_score": 0.3,
                "scorer": SCORER,
                "truncated": False,
                "image_embedding": vector,
            }
            for row, vector in zip(rows, vectors, strict=True)
            if (row.source, row.shard) == (source, shard)
        ]
        put(layout.path("scores", source, shard), pa.Table.from_pylist(records, schema))
    return {name: {"reached": len(rows), "scorers": [SCORER], "bins": {}} for name in shards}


def run(
    rows: Sequence[Row], vectors: Sequence[Any], one: Recipe, seed: int = 0, small: bool = False
) -> list[dict[str, Any]]:
    """The decisions on rows with these embeddings."""
    with tempfile.TemporaryDirectory() as folder:
        layout, shards = Layout(folder), SHARDS
        scored = measured(layout, rows, vectors)
        sizes = dict.fromkeys(shards, len(rows)) if small else {}
        select(engine(seed), SelectPlan(one, layout, shards, 2, scored=scored, rows=sizes))
        assert not list(Path(folder).rglob("*exchange/*/*"))
        return decided(layout, shards)


def named(row: dict[str, Any]) -> tuple[str, str]:
    """The key that a detail names, and what it says becomes of that row."""
    words = str(row["detail"]).removeprefix("like ").split(", ", 1)
    return words[0], words[1]


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(
    rows=crowds(),
    data=st.data(),
    captions=st.sampled_from(["one_per_language", "longest", "all"]),
    rules=st.sets(st.sampled_from([*RULES])),
    keep=st.sampled_from([None, 0.5]),
    off=st.sets(st.sampled_from(["exact", "pixels", "phash"])),
    seed=st.integers(0, 9),
    small=st.booleans(),
    home=st.sampled_from([(1, 10**6), (2, 10**6), (64, 10**6), (64, 10)]),
)
def test_who_is_named_as_kept_is_kept(
    rows: list[Row],
    data: st.DataObject,
    captions: str,
    rules: set[str],
    keep: float | None,
    off: set[str],
    seed: int,
    small: bool,
    home: tuple[int, int],
) -> None:
    """And every row that a duplicate beats names such a row, or one that the cap on captions drops, however many shards
    share a file of losers."""
    turns = data.draw(st.lists(st.sampled_from(DIRECTIONS), min_size=len(rows), max_size=len(rows)))
    on: dict[str, Any] = {name: RULES[name] for name in rules}
    if "semantic" in on:
        on["semantic"] = {**on["semantic"], "keep": keep}
    with patch.object(keepers, "_SHARDS_A_HOME", home[0]), patch.object(keepers, "_ROWS_A_HOME", home[1]):
        found = run(rows, turns, recipe(captions, on | dict.fromkeys(off, False)), seed, small)
    fates: dict[str, set[str]] = {}
    for row in found:
        fates.setdefault(row["key"], set()).add(row["reason"] or row["decision"])
    for row in found:
        if row["reason"] in ("repeat", "exact", "pixels", "phash", "semantic"):
            key, fate = named(row)
            assert fate in ("which is kept", "which max_per_caption drops")
            assert ("kept" if fate == "which is kept" else "max_per_caption") in fates[key]


def opened(folder: Path, shards: int) -> float:
    """How many files select opens a shard, with every rule that compares rows."""
    names = [("a", f"{number:03d}") for number in range(shards)]
    rows = of_one_image(shards, 6, repeats=False)
    repeats = {**rows[0].clusters, "repeat": rows[0].key}
    rows = [
        replace(row, key=rows[0].key, clusters=repeats)
        if number % 3 == 0
        else replace(row, clusters=row.clusters if number % 3 == 1 else {})
        for number, row in enumerate(rows)
    ]
    layout, vectors = Layout(str(folder)), [DIRECTIONS[number % 4] for number in range(len(rows))]
    scored = measured(layout, rows, vectors, names)
    with patch.object(Store, "open", autospec=True, side_effect=Store.open) as opening:
        one, sizes = recipe("all", RULES), dict.fromkeys(names, 6)
        select(engine(), SelectPlan(one, layout, names, 2, scored=scored, rows=sizes))
    assert {"repeat", "exact", "semantic", "max_per_caption"} <= {
        row["reason"] for row in decided(layout, names)
    }
    return opening.call_count / shards


def test_select_opens_few_files_a_shard_whatever_rules_are_on(tmp_path: Path) -> None:
    """At most ten files a shard with repeats, equal images, embeddings and captions, of twenty shards as of sixty."""
    with patch.object(keepers, "_SHARDS_A_HOME", 10):
        few, many = (opened(tmp_path / str(shards), shards) for shards in (20, 60))
    assert many <= few + 0.5
    assert many <= 10


DIRECTIONS = [[1.0, 0.0, 0.0], [0.9, 0.3, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]


def chain(cap: Any) -> tuple[list[Row], list[Any], Recipe]:
    """A row repeats one whose image loses to another, whose embedding loses to a third, which the cap may drop."""
    near = {"phash": "1" * 32}
    row = Row("a", "0", "repeat", "1" * 32, "en", 200, 10, None, {"repeat": "1" * 32, **near})
    rows = [
        row,
        replace(row, member="picture", shard="1", side=210),
        replace(row, member="semantic", shard="0", key="1" * 31 + "2", side=220, clusters=near),
        replace(row, member="best", source="b", key="3" * 32, side=900, clusters={}),
        replace(row, member="other", source="b", key="0" * 32, clusters={}),
    ]
    sources = [{"id": "b", "path": "b"}, {"id": "a", "path": "a"}]
    one = recipe("longest", {"semantic": {"similarity": 0.9, "rows": 10}, "max_per_caption": cap})
    one = Recipe.model_validate({**one.model_dump(exclude_unset=True), "sources": sources})
    return rows, [[1.0, 0.0]] * 4 + [[0.0, 1.0]], one


def test_a_chain_through_all_rounds_names_its_end() -> None:
    """The first row and all behind it name the last one, and what becomes of it."""
    for cap, fate in ((False, "is kept"), ({"max": 1}, "max_per_caption drops")):
        found = {line["member"]: line for line in run(*chain(cap))}
        assert {member: line["reason"] for member, line in found.items()} == {
            "repeat": "repeat",
            "picture": "phash",
            "semantic": "semantic",
            "best": "max_per_caption" if cap else None,
            "other": None,
        }
        for member in ("repeat", "picture", "semantic"):
            assert found[member]["detail"] == f"like {'3' * 32}, which {fate}"


def test_no_step_writes_over_what_another_one_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a driver that dies loses one step: receipts of earlier ones vouch for what they wrote."""
    written: list[str] = []

    def saved(folder: Folder, step: str, partition: int, columns: Columns) -> str:
        written.append(folder.path(step, partition))
        return save(folder, step, partition, columns)

    save = Folder.save
    monkeypatch.setattr(Folder, "save", saved)
    run(*chain({"max": 1}))
    assert len(written) == len({*written}) > 10
