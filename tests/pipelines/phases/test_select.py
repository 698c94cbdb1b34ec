"""The choice of keepers, against a slow choice made row by row."""

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from filters.table import SIGNALS
from pipelines.engines.step import Json, Step, load_worker
from pipelines.files import Store
from pipelines.layout import Layout
from pipelines.phases.select import keepers
from pipelines.phases.select.driver import CONTEST, SelectPlan, select
from pipelines.recipe.model import Recipe
from schemas.row import CLUSTERS, DECISIONS
from tests.pipelines.phases.test_dedup import InProcess

KINDS = ("repeat", "exact", "pixels", "phash")


@dataclass(frozen=True)
class Row:
    """A row as far as the choice looks: where it is, what it is, and the clusters that it is in."""

    source: str
    shard: str
    member: str
    key: str
    language: str
    side: int
    chars: int
    error: str | None
    clusters: dict[str, str]
    image: str = ""
    """What it shows; without it what the key's first digits say."""

    @property
    def sound(self) -> bool:
        """Whether it passes every rule but those on duplicates (the limits of the recipe below)."""
        return self.error is None and self.side >= 200 and self.language in ("en", "zh")


@st.composite
def corpora(draw: st.DrawFn) -> list[Row]:
    """Rows in nested clusters: repeats share a key, and every finer kind lies within one of the coarser."""
    rows = []
    for number in range(draw(st.integers(1, 14))):
        near = draw(st.integers(0, 3))
        pixels = draw(st.integers(0, 1))
        exact = draw(st.integers(0, 1))
        key = draw(st.integers(0, 2))
        picture = f"{near}{pixels}{exact}"
        source, shard = draw(st.sampled_from([("a", "0"), ("a", "1"), ("b", "0")]))
        rows.append(
            Row(
                source=source,
                shard=shard,
                member=f"{number:03d}",
                # the digits before it are one, since a name of zeros means none
                key=f"{picture}{key}".rjust(32, "1"),
                language=draw(st.sampled_from(["en", "zh", "fr"])),
                side=draw(st.sampled_from([100, 200, 300])),
                chars=draw(st.sampled_from([10, 20])),
                error=draw(st.sampled_from([None, None, None, "truncated"])),
                clusters={},
            )
        )
    return [clustered(row, rows) for row in rows]


def clustered(row: Row, rows: Sequence[Row]) -> Row:
    """The row with the clusters that dedup would give it: named by their smallest key, two rows at least."""
    found = {}
    for kind, length in (("repeat", 32), ("exact", 31), ("pixels", 30), ("phash", 29)):
        members = [
            other.key
            for other in rows
            if other.key[:length] == row.key[:length]
            and (kind == "repeat" or other.error is None)
            and (kind != "repeat" or other.source == row.source)
        ]
        if len(members) > 1 and (kind == "repeat" or row.error is None):
            found[kind] = min(members)
    return Row(**{**row.__dict__, "clusters": found})


def expected(rows: Sequence[Row], captions: str) -> dict[tuple[str, str, str], str]:
    """(source, shard, member) -> kept or the rule that gives the reason, by the words of the design."""
    fate = {place(row): "" for row in rows}
    for row in rows:
        if row.error:
            fate[place(row)] = row.error
        elif row.language not in ("en", "zh"):
            fate[place(row)] = "language"
        elif row.side < 200:
            fate[place(row)] = "min_side"
    alive = [row for row in rows if row.sound]
    for kind in KINDS:
        alive = survivors(alive, kind, captions, fate)
    for row in alive:
        fate[place(row)] = "kept"
    return fate


def survivors(alive: list[Row], kind: str, captions: str, fate: dict[tuple[str, str, str], str]) -> list[Row]:
    """Those that stay after a round; the fate of the others is the kind."""

    def variant(row: Row) -> str:
        if kind == "repeat" or captions == "longest":
            return ""
        return row.language if captions == "one_per_language" else caption(row)

    def group(row: Row) -> tuple[str, str]:
        return row.clusters.get(kind, f"alone {place(row)}"), variant(row)

    left = []
    for _, members in groupby(sorted(alive, key=group), key=group):
        best, *others = sorted(members, key=lambda row: rank(row, captions))
        left.append(best)
        for other in others:
            fate[place(other)] = kind
    return left


def rank(row: Row, captions: str) -> tuple[Any, ...]:
    """Source's rank, picture area, length of the caption, key, row; `longest` puts the length first."""
    sizes = (-row.side * row.side, -row.chars)
    return (row.source, *(sizes[::-1] if captions == "longest" else sizes), row.key, row.shard, row.member)


def place(row: Row) -> tuple[str, str, str]:
    return row.source, row.shard, row.member


def caption(row: Row) -> str:
    return f"{row.language} {'x' * row.chars}"[: row.chars].ljust(row.chars, "x")


SHARDS = (("a", "0"), ("a", "1"), ("b", "0"))


def write(
    layout: Layout, rows: Sequence[Row], shards: Sequence[tuple[str, str]] = SHARDS
) -> Sequence[tuple[str, str]]:
    """Signals and clusters of the rows, as measure and dedup leave them."""
    for source, shard in shards:
        mine = [row for row in rows if (row.source, row.shard) == (source, shard)]
        signals = [signals_of(row) for row in mine]
        clusters = [
            {
                "source": source,
                "shard": shard,
                "member": row.member,
                "key": row.key,
                "kind": kind,
                "cluster": name,
            }
            for row in mine
            for kind, name in row.clusters.items()
        ]
        put(layout.path("signals", source, shard), pa.Table.from_pylist(signals, SIGNALS))
        put(layout.path("clusters", source, shard), pa.Table.from_pylist(clusters, CLUSTERS))
    return shards


def signals_of(row: Row) -> dict[str, Any]:
    measured = {
        "sha256": (row.image or row.key)[:31].ljust(64, "0"),
        "pixels": (row.image or row.key)[:30].ljust(32, "0"),
        "phash": int((row.image or row.key)[:29][-15:], 16),
        "width": row.side,
        "height": row.side,
        "aspect_ratio": 1.0,
        "grey_std": 50.0,
        "grey_range": 200,
    }
    return {
        **dict(zip(("source", "shard", "member"), place(row), strict=True)),
        "key": row.key,
        "caption_raw": caption(row),
        "caption": caption(row),
        "caption_chars": row.chars,
        "caption_words": 2,
        "caption_han": 0,
        "emoji": 0,
        "letters": row.chars,
        "scripts": [{"script": "Latin", "letters": row.chars}],
        "language": row.language,
        "language_score": 0.99,
        "error": row.error,
        **({} if row.error else measured),
    }


def put(path: str, table: pa.Table) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


def decided(layout: Layout, shards: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    tables = [pq.ParquetFile(layout.path("decisions", *shard)).read() for shard in shards]
    assert all(table.schema.equals(DECISIONS) for table in tables)
    return [row for table in tables for row in table.to_pylist()]


def recipe(captions: str = "one_per_language", **more: Any) -> Recipe:
    sources = [{"id": "a", "path": "a"}, {"id": "b", "path": "b"}]
    # two languages of one script, so that an undetermined one is never guessed
    record = {"languages": ["en", "zh"], "sources": sources, "captions": captions, "rules": {"script": False}}
    return Recipe.model_validate(record | more)


@pytest.mark.parametrize("captions", ["one_per_language", "longest", "all"])
@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(rows=corpora(), partitions=st.integers(1, 4), small=st.booleans(), seed=st.integers(0, 9))
def test_keepers(captions: str, rows: list[Row], partitions: int, small: bool, seed: int) -> None:
    """Who is kept, and the reason of who is not, are those of the slow choice, whatever partitions and tasks."""
    with tempfile.TemporaryDirectory() as folder:
        layout = Layout(folder)
        shards = write(layout, rows)
        sizes = dict.fromkeys(shards, len(rows)) if small else {}
        receipts = select(
            engine(seed), SelectPlan(recipe(captions), layout, shards, partitions, scored={}, rows=sizes)
        )
        found = {
            (row["source"], row["shard"], row["member"]): row["reason"] or row["decision"]
            for row in decided(layout, shards)
        }
        assert not list(Path(folder).rglob("*exchange/*/*"))
    assert found == expected(rows, captions)
    assert sum(receipt["rows"] for receipt in receipts) == len(rows)
    assert sum(receipt["kept"] for receipt in receipts) == [*found.values()].count("kept")


class Engine(InProcess):
    """Also maps."""

    def map(self, step: Any, tasks: Sequence[Any], done: Any = None, weights: Any = ()) -> list[Any]:
        worker = load_worker(step)
        return [worker.run(task, lambda row: None) for task in tasks]

    def open(self, layout: Layout) -> None: ...

    def close(self) -> None: ...


def engine(seed: int = 0) -> Engine:
    return Engine(seed)


def test_a_keeper_that_fails_a_rule(tmp_path: Path) -> None:
    """The better picture is too long in French: the worse one is kept, and the cluster lives on."""
    both = dict.fromkeys(("exact", "pixels", "phash"), "1" * 32)
    better = Row("a", "0", "m1", "1" * 32, "fr", 300, 20, None, both)
    worse = Row("b", "0", "m2", "1" * 31 + "2", "en", 200, 10, None, both)
    layout = Layout(str(tmp_path))
    shards = write(layout, [better, worse])
    select(engine(), SelectPlan(recipe(), layout, shards, 2, scored={}))
    assert [(row["member"], row["decision"], row["reason"]) for row in decided(layout, shards)] == [
        ("m1", "dropped", "language"),
        ("m2", "kept", None),
    ]


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    """Without `write` the funnel is told and no file is made."""
    layout = Layout(str(tmp_path))
    rows = [Row("a", "0", f"m{n}", f"{n:032x}", "en", 300, 20, None, {}) for n in range(5)]
    shards = write(layout, rows)
    receipts = select(engine(), SelectPlan(recipe(), layout, shards, 2, scored={}, write=False))
    assert sum(receipt["kept"] for receipt in receipts) == 5
    assert not (tmp_path / "work" / "decisions").exists()


def test_duplicates_never_straddle(tmp_path: Path) -> None:
    """All languages of one picture go to the same split; an eval source goes to eval whole."""
    rows = []
    for number in range(60):
        cluster = f"{number:032x}"
        for language in ("en", "zh"):
            key = f"{number:031x}{'1' if language == 'zh' else '0'}"
            rows.append(
                Row("a", "0", f"{number}{language}", key, language, 300, 20, None, {"phash": cluster})
            )
    layout = Layout(str(tmp_path))
    shards = write(layout, rows)
    select(engine(), SelectPlan(recipe(splits={"val": 0.3}), layout, shards, 2, scored={}))
    found: dict[str, set[str]] = {}
    for row in decided(layout, shards):
        assert row["decision"] == "kept"
        found.setdefault(row["member"][:-2], set()).add(row["split"])
    assert all(len(splits) == 1 for splits in found.values())
    assert {split for splits in found.values() for split in splits} == {"train", "val"}
    sources = [{"id": "a", "path": "a", "role": "eval"}, {"id": "b", "path": "b"}]
    select(engine(), SelectPlan(recipe(sources=sources, splits={"val": 0.3}), layout, shards, 2, scored={}))
    assert {row["split"] for row in decided(layout, shards)} == {"eval"}


@pytest.mark.parametrize(
    ("rows", "starts"),
    [
        ([], [0]),
        ([1] * 130, [0, 64, 128]),
        ([3_000_000] * 3, [0, 1, 2]),
        ([900_000] * 5, [0, 2, 4]),
        ([0, 9], [0]),
    ],
)
def test_losers_of_few_shards_and_rows_share_a_file(rows: list[int], starts: list[int]) -> None:
    """Sixty-four shards or two million rows share one; a larger shard has its own."""
    assert keepers.home_starts(rows) == starts
    homes = keepers.Homes(starts).of(np.arange(len(rows)))
    assert homes.tolist() == [sum(start <= number for start in starts) - 1 for number in range(len(rows))]


class Sent(Engine):
    """Counts the rows that the shards send to a contest of duplicates."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, int] = {}

    def shuffle(self, step: Step, tasks: Sequence[Json], partitions: int) -> list[Json]:
        if step.worker == CONTEST:
            worker = load_worker(step)
            pieces = [table for task in tasks for _, table in worker.split(task, lambda row: None)]
            self.rows[step.setup["round"]] = sum(table.num_rows for table in pieces)
        return super().shuffle(step, tasks, partitions)


def of_one_image(shards: int, rows: int, repeats: bool) -> list[Row]:
    """Rows that all show one image, every second one of a shard in Chinese; the last of all shows it largest."""
    first, count = "1" * 32, shards * rows
    clusters = dict.fromkeys(("repeat",) if repeats else ("exact", "pixels", "phash"), first)
    return [
        Row(
            source="a",
            shard=f"{number % shards:03d}",
            member=f"{number:06d}",
            key=first if repeats else f"{int(first, 16) + number:032x}",
            language=("en", "zh")[number // shards % 2],
            side=300 if number == count - 1 else 200,
            chars=20,
            error=None,
            clusters=clusters,
            image=first,
        )
        for number in range(count)
    ]


@pytest.mark.parametrize(("round_", "reason", "kept"), [("repeat", "repeat", 1), ("picture", "exact", 2)])
def test_equal_rows_by_the_thousand_come_to_one_worker_as_one_a_shard(
    tmp_path: Path, round_: str, reason: str, kept: int
) -> None:
    """Of repeats a shard sends the best alone, of equal images the best in each language; all others lose."""
    shards, each = 4, 1_500
    layout, names = Layout(str(tmp_path)), [("a", f"{number:03d}") for number in range(shards)]
    write(layout, of_one_image(shards, each, repeats=round_ == "repeat"), names)
    counted = Sent()
    select(counted, SelectPlan(recipe(), layout, names, 3, scored={}, rows=dict.fromkeys(names, each)))
    assert counted.rows[round_] == shards * kept, "a better row of another shard stands for none of this one"
    found = decided(layout, names)
    assert Counter(row["reason"] for row in found) == {None: kept, reason: shards * each - kept}
    assert found[-1]["member"] == f"{shards * each - 1:06d}"
    assert found[-1]["decision"] == "kept"


def opens(folder: Path, monkeypatch: pytest.MonkeyPatch, shards: int, small: bool) -> float:
    """How often select opens a file, a shard; of every shard rows lose in both rounds, to each other and to others."""
    names = [("a", f"{number:03d}") for number in range(shards)]
    layout = Layout(str(folder))
    images = [
        replace(row, key=f"{number:032x}", member=f"x{row.member}", image="2" * 32)
        for number, row in enumerate(of_one_image(shards, 4, repeats=False), 1)
    ]
    write(layout, [*of_one_image(shards, 4, repeats=True), *images], names)
    opened: list[str] = []
    rows = dict.fromkeys(names, 8)

    def counted(store: Store, path: str) -> Any:
        opened.append(path)
        return open_(store, path)

    def asked(store: Store, path: str) -> bool:
        assert not path.startswith(layout.exchange), "what passes between the rounds is named, not looked for"
        return exists(store, path)

    open_, exists = Store.open, Store.exists
    with monkeypatch.context() as patch:
        patch.setattr(Store, "open", counted)
        patch.setattr(Store, "exists", asked)
        select(
            engine(), SelectPlan(recipe(), layout, names, shards // 10, scored={}, rows=rows if small else {})
        )
    reasons = Counter(row["reason"] for row in decided(layout, names))
    assert reasons == {None: 3, "repeat": 4 * shards - 1, "exact": 4 * shards - 2}
    return len(opened) / shards


@pytest.mark.parametrize(("small", "most"), [(False, 10), (True, 5)])
def test_select_opens_as_many_files_a_shard_whatever_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small: bool, most: int
) -> None:
    """Losers lie by shard when they are read: so many files a shard, two a partition, of twenty shards as of sixty."""
    monkeypatch.setattr(keepers, "_SHARDS_A_HOME", 10)
    few, many = (opens(tmp_path / str(shards), monkeypatch, shards, small) for shards in (20, 60))
    assert many <= few <= most + 2 / 10
