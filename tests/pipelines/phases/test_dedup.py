"""The dedup phase, against the definitions of its four kinds applied row by row."""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from filters.phash import phash, thumbnail
from filters.pixels import grey_pixels
from filters.sketch import TURNS, sketches
from filters.table import SIGNALS
from pipelines.engines.exchange import sliced
from pipelines.engines.local import LocalEngine
from pipelines.engines.step import Json, Step, load_worker
from pipelines.layout import Layout
from pipelines.phases.dedup import driver
from pipelines.phases.dedup import near as components
from pipelines.phases.dedup.driver import DedupPlan, dedup, partitions_for
from pipelines.phases.dedup.signals import group_tasks
from schemas.errors import DamagedError, InputError
from schemas.row import CLUSTERS
from tests.filters.pictures import noise

KINDS = ("repeat", "exact", "pixels", "phash")


class InProcess:
    """The shuffle in one process, handing out rows in an order of its own."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)
        self.steps: list[str] = []

    def shuffle(self, step: Step, tasks: Sequence[Json], partitions: int) -> list[Json]:
        self.steps.append(step.worker.partition(":")[2])
        worker = load_worker(step)
        pieces: dict[int, list[pa.Table]] = {}
        for task in self._random.sample(list(tasks), len(tasks)):
            for partition, table in sliced(list(worker.split(task, lambda row: None))):
                assert 0 <= partition < partitions
                pieces.setdefault(partition, []).append(table)
        receipts = []
        for partition in sorted(pieces):
            table = pa.concat_tables(pieces[partition])
            if table.num_rows:
                table = table.take(self._random.sample(range(table.num_rows), table.num_rows))
                receipts.append(worker.reduce(partition, table))
        return receipts


@dataclass(frozen=True)
class Row:
    """A row of signals as far as dedup looks."""

    shard: int
    key: int
    sha256: int | None
    pixels: int | None
    phash: int | None
    error: str | None = None
    member: str = ""
    sketch: int = 0


def sketch(grey: int, *colour: int) -> bytes:
    """The sketch of an image of one grey value and of one colour, which is weak."""
    pixels = np.full((1, 32, 32), grey, np.uint8)
    cells = np.repeat(np.array(colour, np.int8), 16).view(np.uint8)[None]
    return sketches(pixels, cells)[0].tobytes()


SKETCHES = (sketch(0, 0, 0), sketch(0, 4, 4), sketch(0, 8, 8), sketch(90, 0, 0))
"""The first is like the second, the second like the third; no others are alike."""


LOOKS = dict(enumerate(SKETCHES))


def are_alike(one: int, other: int) -> bool:
    return one == other or (abs(one - other) == 1 and 3 not in (one, other))


Member = tuple[int, str, str, str, int]


def text(number: int | None, digits: int) -> str | None:
    return None if number is None else f"{number:0{digits}x}"


def write_signals(out: Path, rows: Sequence[Row], shards: int) -> tuple[tuple[str, str], ...]:
    names = []
    for shard in range(shards):
        source, name = f"s{shard % 2}", f"{shard:05d}"
        records: list[dict[str, Any]] = [
            {
                "key": text(row.key, 32),
                "source": source,
                "shard": name,
                "member": row.member,
                "sha256": text(row.sha256, 64),
                "pixels": text(row.pixels, 32),
                "phash": row.phash,
                "sketch": LOOKS[row.sketch],
                "error": row.error,
            }
            for row in rows
            if row.shard == shard
        ]
        path = out / "work" / "signals" / source / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_pylist(records, SIGNALS), path)
        names.append((source, name))
    return tuple(names)


def read_clusters(out: Path) -> dict[str, bytes]:
    folder = out / "work" / "clusters"
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def members_of(out: Path, names: Sequence[tuple[str, str]]) -> list[Member]:
    found: list[Member] = []
    for shard, (source, name) in enumerate(names):
        table = pq.ParquetFile(out / "work" / "clusters" / source / f"{name}.parquet").read()
        assert table.schema.equals(CLUSTERS)
        for r in table.to_pylist():
            assert (r["source"], r["shard"]) == (source, name)
            found.append((shard, r["member"], r["kind"], r["cluster"], r["distance"]))
    return found


def numbered(rows: Sequence[Row]) -> list[Row]:
    """The rows with members of their own, in an order that is not that of their names."""
    return [replace(row, member=f"{(7 * n) % 1009:04d}") for n, row in enumerate(rows)]


def expected(rows: Sequence[Row], distance: int | None, shards: int) -> list[Member]:
    """Memberships by definition: groups of equal values, and greedy stars of hashes by smallest key."""
    measured = [(place, row) for place, row in enumerate(rows) if row.error is None]
    found: list[tuple[int, int, int, Member]] = []

    def add(place: int, row: Row, kind: int, key: int, apart: int) -> None:
        member = (row.shard, row.member, KINDS[kind], f"{key:032x}", apart)
        found.append((row.shard, place, kind, member))

    for kind, name in enumerate(("key", "sha256", "pixels")):
        for value in {getattr(row, name) for _, row in measured} - {None}:
            group = [(p, r) for p, r in measured if getattr(r, name) == value]
            group = [(p, r) for p, r in group if kind == 0 or r.sha256 is not None]
            if len(group) > 1:
                for place, row in group:
                    add(place, row, kind, min(r.key for _, r in group), 0)
    first: dict[tuple[int, int], tuple[int, int, int]] = {}
    hashed = [(p, r) for p, r in measured if r.sha256 is not None and r.phash is not None]
    for place, row in hashed if distance is not None else []:
        assert row.phash is not None
        at = (row.key, row.shard, place)
        first[row.phash, row.sketch] = min(first.get((row.phash, row.sketch), at), at)
    values = sorted(first, key=lambda value: first[value])
    while values and distance is not None:
        centre, shown = values[0]
        star = {
            (value, other)
            for value, other in values
            if (value ^ centre).bit_count() <= distance and are_alike(other, shown)
        }
        group = [(p, r) for p, r in hashed if (r.phash, r.sketch) in star]
        if len(group) > 1:
            for place, row in group:
                assert row.phash is not None
                add(place, row, 3, first[values[0]][0], (row.phash ^ centre).bit_count())
        values = [value for value in values if value not in star]
    return [member for *_, member in sorted(found, key=lambda f: f[:3])]


@st.composite
def corpora(draw: st.DrawFn) -> list[Row]:
    """Rows with many duplicates, in which equal bytes mean equal pixels and those an equal hash."""
    seeds = draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=3))
    flips = st.lists(st.integers(0, 63), max_size=5).map(lambda places: sum(1 << p for p in set(places)))
    looks = st.integers(0, len(SKETCHES) - 1)
    phashes = draw(st.lists(st.tuples(st.sampled_from(seeds), flips, looks), min_size=1, max_size=8))
    pixels = draw(st.lists(st.integers(0, len(phashes) - 1), min_size=1, max_size=10))
    images = draw(st.lists(st.integers(0, len(pixels) - 1), min_size=1, max_size=12))
    rows = []
    picks = st.none() | st.integers(0, len(images) - 1)
    for pick in draw(st.lists(picks, min_size=1, max_size=24)):
        key = draw(st.integers(0, 20)) << 64 | draw(st.integers(0, 1))
        shard = draw(st.integers(0, 3))
        error = draw(st.sampled_from([None, None, None, "truncated"]))
        if pick is None:
            rows.append(Row(shard, key, None, None, None, error))
        else:
            seed, flip, look = phashes[pixels[images[pick]]]
            rows.append(Row(shard, key, pick, images[pick], seed ^ flip, error, sketch=look))
    return numbered(rows)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Fresh folders, one for every example."""
    return (tmp_path_factory.mktemp("work") for _ in iter(int, 1))


def plan_for(out: Path, names: tuple[tuple[str, str], ...], **more: Any) -> DedupPlan:
    return DedupPlan(Layout(str(out)), names, **more)


@settings(max_examples=40, deadline=None)
@given(rows=corpora(), distance=st.sampled_from([None, 0, 2, 4, 5, 8]), partitions=st.integers(1, 5))
def test_memberships_are_those_of_the_definitions(
    folders: Iterator[Path], rows: list[Row], distance: int | None, partitions: int
) -> None:
    """Each kind's clusters, names and distances equal a slow reading of what they mean."""
    out = next(folders)
    names = write_signals(out, rows, 4)
    result = dedup(InProcess(), plan_for(out, names, distance=distance, partitions=partitions))
    members = members_of(out, names)
    assert members == expected(rows, distance, 4)
    assert result["shards"] == 4
    assert result["memberships"] == {kind: sum(m[2] == kind for m in members) for kind in KINDS}


@settings(max_examples=25, deadline=None)
@given(
    rows=corpora(),
    partitions=st.integers(1, 5),
    edges=st.sampled_from([0, 10**6]),
    fan=st.sampled_from([1, 2, 100]),
    small=st.booleans(),
    seed=st.integers(0, 99),
)
def test_files_are_the_same_however_the_work_is_spread(
    folders: Iterator[Path], rows: list[Row], partitions: int, edges: int, fan: int, small: bool, seed: int
) -> None:
    """One worker or many, any partitions, masks or shards at once, order of shards and of rows on their way: equal
    bytes."""
    out, other = next(folders), next(folders)
    names = write_signals(out, rows, 4)
    write_signals(other, rows, 4)
    dedup(InProcess(), plan_for(out, names))
    shuffled = tuple(random.Random(seed).sample(names, len(names)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(components, "ALONE", edges)
        patch.setattr(driver, "FAN", fan)
        sizes = dict.fromkeys(names, len(rows)) if small else {}
        dedup(InProcess(seed), plan_for(other, shuffled, partitions=partitions, alone=0, rows=sizes))
    assert read_clusters(other) == read_clusters(out)


@given(
    shards=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(0, 400), st.integers(0, 70_000)), unique=True
    ),
    block=st.integers(1, 80),
)
def test_small_shards_share_tasks(shards: list[tuple[str, int, int]], block: int) -> None:
    """Every shard is in one task, in order, with its number; a task has one source, one block and not too many rows."""
    rows = {(source, f"{number:03d}"): count for source, number, count in shards}
    tasks = group_tasks(rows, rows, lambda number: number // block)
    flat = [
        (task["number"] + n, (task["source"], shard), count)
        for task in tasks
        for n, (shard, count) in enumerate(zip(task["shards"], task["rows"], strict=True))
    ]
    assert flat == [(number, name, rows[name]) for number, name in enumerate(sorted(rows))]
    for task in tasks:
        assert task["number"] // block == (task["number"] + len(task["shards"]) - 1) // block
        assert len(task["shards"]) == 1 or sum(task["rows"]) <= max(
            10_000, min(65_536, sum(rows.values()) // 64)
        )
    assert len(group_tasks(rows, {})) == len(rows), "without their rows none is taken for small"


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.builds(
            Row,
            shard=st.integers(0, 2),
            key=st.just(0),
            sha256=st.integers(0, 5),
            pixels=st.none() | st.integers(0, 3),
            phash=st.none() | st.integers(0, 40),
            sketch=st.integers(0, 1),
        ),
        max_size=20,
    ),
    partitions=st.integers(1, 3),
)
def test_coarser_clusters_hold_the_finer_ones_even_where_signals_disagree(
    folders: Iterator[Path], rows: list[Row], partitions: int
) -> None:
    """Where equal bytes were measured to have unlike pixels or hashes, no cluster is torn, none too wide."""
    out, other = next(folders), next(folders)
    # keys of their own, since two clusters of repeats with unlike bytes would share a name
    rows = [replace(row, key=(5 * n) % 101) for n, row in enumerate(numbered(rows))]
    names = write_signals(out, rows, 3)
    write_signals(other, rows, 3)
    dedup(InProcess(), plan_for(out, names))
    dedup(InProcess(1), plan_for(other, names, partitions=partitions, alone=0))
    assert read_clusters(other) == read_clusters(out)
    members = members_of(out, names)
    cluster = {(shard, member, kind): name for shard, member, kind, name, _ in members}
    together: dict[tuple[str, str], set[tuple[int, str]]] = {}
    for shard, member, kind, name, distance in members:
        assert distance <= (4 if kind == "phash" else 0)
        together.setdefault((kind, name), set()).add((shard, member))
    finer = [(kind, found) for (kind, _), found in together.items() if kind in ("exact", "pixels")]
    for kind, found in finer:
        for coarser in KINDS[KINDS.index(kind) + 1 :]:
            assert len({cluster.get((*row, coarser)) for row in found}) == 1


@pytest.mark.parametrize(("second", "steps"), [(2**40 - 1, []), (3, ["Sketches", "Stars"])])
def test_sketches_are_fetched_only_where_hashes_are_near(
    tmp_path: Path, second: int, steps: list[str]
) -> None:
    """The usual corpus is read once by value and once by shard, with one worker in between."""
    names = write_signals(tmp_path, numbered([Row(0, 1, 1, 1, 1), Row(1, 2, 2, 2, second)]), 2)
    engine = InProcess()
    dedup(engine, plan_for(tmp_path, names))
    assert engine.steps == ["EqualValues", "NearAlone", *steps, "Members"]


def test_every_shard_gets_a_file_and_nothing_else_is_left(tmp_path: Path) -> None:
    """A shard without duplicates, and one without rows, get a table of no rows; scratch is gone."""
    names = write_signals(tmp_path, numbered([Row(0, 1, 1, 1, 1), Row(1, 2, 2, 2, 2**40 - 1)]), 150)
    dedup(InProcess(), plan_for(tmp_path, names))
    assert members_of(tmp_path, names) == []
    assert len(read_clusters(tmp_path)) == 150
    assert [path for path in (tmp_path / "work" / "exchange").rglob("*") if path.is_file()] == []


def test_a_corpus_of_no_shards_is_done_at_once(tmp_path: Path) -> None:
    """No signals, no clusters, no failure."""
    assert dedup(InProcess(), plan_for(tmp_path, ()))["shards"] == 0


def test_many_equal_hashes_are_one_value_a_shard(tmp_path: Path) -> None:
    """Blank pictures by the thousand make one cluster, and what travels is one entry a shard."""
    rows = numbered([Row(n % 4, n, n, n, 1 << 63) for n in range(1000)])
    names = write_signals(tmp_path, rows, 4)
    travelled: list[int] = []

    class Counting(InProcess):
        def shuffle(self, step: Step, tasks: Sequence[Json], partitions: int) -> list[Json]:
            for task in tasks:
                for _, table in load_worker(step).split(task, lambda row: None):
                    if "kind" in table.column_names:
                        kinds = table["kind"].to_pylist()
                        travelled.append(kinds.count(3))
            return super().shuffle(step, tasks, partitions)

    result = dedup(Counting(), plan_for(tmp_path, names))
    assert result["memberships"] == {"repeat": 0, "exact": 0, "pixels": 0, "phash": 1000}
    assert sum(travelled) == 8  # once on the way out and once on the way home


def test_the_local_engine_gives_what_one_process_gives(tmp_path: Path) -> None:
    """Workers are found by name in fresh processes; two of them write the same bytes."""
    rng = random.Random(3)
    rows = []
    for n in range(400):
        value = hashlib.sha256(bytes([n % 150])).digest()
        phash = int.from_bytes(value[:8], "big") ^ (1 << rng.randrange(64)) ^ (1 << rng.randrange(64))
        rows.append(Row(n % 5, rng.randrange(2**128), n, n, phash))
    here, there = tmp_path / "here", tmp_path / "there"
    names = write_signals(here, numbered(rows), 5)
    write_signals(there, numbered(rows), 5)
    dedup(InProcess(), plan_for(here, names))
    engine = LocalEngine(2)
    try:
        dedup(engine, plan_for(there, names, partitions=3, alone=0))
    finally:
        engine.close()
    assert read_clusters(there) == read_clusters(here)
    assert len(members_of(here, names)) > 300


def turned_copies(count: int) -> list[Row]:
    """Images with all their turned and mirrored copies, the hashes and sketches as measured."""
    rows = []
    for image in range(count):
        grey = thumbnail(grey_pixels(noise(120, 120, image)))
        for turn in range(TURNS):
            grid = grey[:, ::-1] if turn & 2 else grey
            grid = grid[::-1] if turn & 4 else grid
            grid = np.ascontiguousarray(grid.T if turn & 1 else grid)[None]
            made = sketches(grid, np.zeros((1, 32), np.uint8))[0].tobytes()
            name = TURNS * image + turn
            row = Row(
                name % 3, (17 * name) % 997, name, name, int(phash(grid)[0]), sketch=len(SKETCHES) + name
            )
            rows.append((row, made))
    LOOKS.update({row.sketch: made for row, made in rows})
    return numbered([row for row, _ in rows])


def test_turned_and_mirrored_copies_are_found_on_request(tmp_path: Path) -> None:
    """All eight of an image share a cluster of its own; without the request none do."""
    rows = turned_copies(20)
    asked, spread, plain = (tmp_path / name for name in ("asked", "spread", "plain"))
    for out in (asked, spread, plain):
        names = write_signals(out, rows, 3)
    dedup(InProcess(), plan_for(asked, names, turned=True))
    dedup(InProcess(3), plan_for(spread, names, turned=True, alone=0, partitions=4))
    dedup(InProcess(), plan_for(plain, names))
    assert read_clusters(spread) == read_clusters(asked)
    assert members_of(plain, names) == []
    image_of = {(row.shard, row.member): (row.sketch - len(SKETCHES)) // TURNS for row in rows}
    clusters: dict[str, set[int]] = {}
    members = members_of(asked, names)
    for shard, member, _, cluster, distance in members:
        assert distance <= 4
        clusters.setdefault(cluster, set()).add(image_of[shard, member])
    assert len(members) == len(rows)
    assert sorted(clusters.values(), key=min) == [{image} for image in range(20)]


@pytest.mark.parametrize("damage", ["no column", "no Parquet", "no key", "no file", "old hash"])
def test_signals_that_cannot_be_read_stop_with_a_sentence(tmp_path: Path, damage: str) -> None:
    """The sentence names the file, and no clusters appear."""
    names = write_signals(tmp_path, numbered([Row(0, 1, 1, 1, 1)]), 1)
    path = tmp_path / "work" / "signals" / "s0" / "00000.parquet"
    table = pq.read_table(path, partitioning=None)
    if damage == "no column":
        pq.write_table(table.drop_columns(["sha256"]), path)
    elif damage == "no Parquet":
        path.write_bytes(b"PAR1 and then nothing")
    elif damage == "old hash":
        pq.write_table(table.replace_schema_metadata({**table.schema.metadata, b"picture": b"1"}), path)
    elif damage == "no key":
        key = table.schema.get_field_index("key")
        pq.write_table(table.set_column(key, "key", pa.array(["not a key"])), path)
    else:
        path.unlink()
    with pytest.raises((DamagedError, InputError), match=r"s0/00000\.parquet"):
        dedup(InProcess(), plan_for(tmp_path, names))
    assert not (tmp_path / "work" / "clusters").exists()


def test_a_plan_that_makes_no_sense_is_refused() -> None:
    """A distance at which anything is near, and no partition at all."""
    with pytest.raises(ValueError, match="distance"):
        DedupPlan(Layout("w"), (), distance=17)
    with pytest.raises(ValueError, match="partitions"):
        DedupPlan(Layout("w"), (), partitions=0)


def test_partitions_grow_with_the_rows() -> None:
    """A partition's size, and so a worker's memory, does not."""
    assert [partitions_for(rows) for rows in (0, 1, 500_000, 500_001, 10**9)] == [1, 1, 1, 2, 2000]
