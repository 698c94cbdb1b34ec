"""Pieces of a shuffle on disk."""

import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.engines import exchange
from pipelines.engines.isolation import child_environment
from pipelines.engines.step import Step

pieces = st.lists(st.tuples(st.integers(0, 5), st.lists(st.integers(-9, 9), max_size=5)), max_size=8)


def table(numbers: list[int]) -> pa.Table:
    return pa.table({"number": pa.array(numbers, pa.int64())})


@settings(deadline=None)
@given(st.lists(pieces, max_size=4))
def test_every_row_comes_back_in_its_partition(tasks: list[list[tuple[int, list[int]]]]) -> None:
    """What all tasks wrote for a partition is what its reader gets, task by task and in order."""
    with tempfile.TemporaryDirectory() as folder:
        written = [
            exchange.write(((p, table(rows)) for p, rows in task), f"{folder}/{i}.arrow")
            for i, task in enumerate(tasks)
        ]
        found = {p: exchange.read(places) for p, places in exchange.by_partition(written).items()}
        files = len(os.listdir(folder))
    wanted: dict[int, list[int]] = {}
    for task in tasks:
        for partition, rows in task:
            wanted.setdefault(partition, []).extend(rows)
    assert {p: t["number"].to_pylist() for p, t in found.items()} == {p: r for p, r in wanted.items() if r}
    assert list(found) == sorted(found)
    assert files == sum(any(rows for _, rows in task) for task in tasks), "a file a task, none where no rows"


def test_chunks_are_one_batch_a_piece(tmp_path: Path) -> None:
    """A piece that comes in many chunks is written whole."""
    many = pa.concat_tables([table([n]) for n in range(100)])
    written = exchange.write([(3, many)], str(tmp_path / "a.arrow"))
    assert written["batches"] == {"3": [0]}
    assert exchange.read([(written["path"], [0])]).equals(many)


@settings(deadline=None)
@given(st.lists(st.integers(-9, 9)))
def test_a_stream_is_the_table(numbers: list[int]) -> None:
    """Bytes that travel are the table that was sent."""
    assert exchange.from_bytes(exchange.to_bytes(table(numbers))).equals(table(numbers))


FULL = """
import resource, sys
import pyarrow as pa
import pytest
from pipelines.engines import exchange
from schemas.errors import OutputError
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    exchange.write([(0, pa.table({"a": list(range(100_000))}))], sys.argv[1])
except OutputError as error:
    print(error)
"""


def test_a_full_disk_is_a_sentence(tmp_path: Path) -> None:
    """Where the disk of the pieces is full, an OutputError names the file and the remedy."""
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path / "a.arrow")],
        capture_output=True,
        text=True,
        env=child_environment(Step("x", "x")),
    )
    assert "make room there" in done.stdout, done.stderr
    assert str(tmp_path / "a.arrow") in done.stdout


def test_small_pieces_of_a_partition_are_one_batch(tmp_path: Path) -> None:
    """Pieces grow with the data: what thousands of tasks give a partition is one batch, until it fills the memory."""
    numbers = list(range(4000))
    small = ((number % 4, table([number])) for number in numbers)
    written = exchange.write(small, str(tmp_path / "a.arrow"))
    assert written["batches"] == {"0": [0], "1": [1], "2": [2], "3": [3]}
    small = ((number % 4, table([number])) for number in numbers)
    written = exchange.write(small, str(tmp_path / "b.arrow"), held=8 * 1000)
    assert {partition: len(batches) for partition, batches in written["batches"].items()} == {
        str(partition): 4 for partition in range(4)
    }
    found = exchange.read([(written["path"], written["batches"]["1"])])
    assert found["number"].to_pylist() == numbers[1::4]


@settings(deadline=None)
@given(pieces, st.integers(1, 9))
def test_blocks_make_no_difference(task: list[tuple[int, list[int]]], block: int) -> None:
    """However many rows are sorted at once, a partition's rows are one table, in their order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exchange, "BLOCK", block)
        found = [
            (p, t["number"].to_pylist()) for p, t in exchange.sliced((p, table(rows)) for p, rows in task)
        ]
    assert found == [(p, t["number"].to_pylist()) for p, t in exchange.sliced((p, table(r)) for p, r in task)]
    assert len(dict(found)) == len(found)


def test_narrow_rows_are_sorted_in_little_memory(tmp_path: Path) -> None:
    """To sort rows of one number takes less memory than the rows themselves."""
    rows, each = 4_000_000, 500_000
    numbers = table(list(range(10))).take(pa.array(np.arange(each) % 10))
    where = (np.arange(each) % 7).astype(np.int32)
    tracemalloc.start()
    exchange.write([(where, numbers)] * (rows // each), str(tmp_path / "a.arrow"))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8 * rows


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 300), st.integers(-9, 9)), max_size=40), st.integers(0, 9))
def test_bundles_are_taken_apart(rows: list[tuple[int, int]], cut: int) -> None:
    """Of many partitions a first level holds some together, and a second gives each its rows, in their order.

    It is the same whether a piece has one partition or one for each of its rows.
    """
    size = exchange.bundle_size(301)
    assert size == 18
    mixed = [(p, table([number])) for p, number in rows[:cut]]
    whole = table([number for _, number in rows[cut:]])
    pieces = [*mixed, (np.array([p for p, _ in rows[cut:]], np.int64), whole)]
    with tempfile.TemporaryDirectory() as folder:
        first = exchange.write(pieces, f"{folder}/0.arrow", size)
        apart = [
            exchange.write(exchange.unbundled(mine), f"{folder}/b{bundle}.arrow")
            for bundle, mine in exchange.by_partition([first]).items()
        ]
        found = {
            p: exchange.read(mine)["number"].to_pylist() for p, mine in exchange.by_partition(apart).items()
        }
    wanted: dict[int, list[int]] = {}
    for partition, number in rows:
        wanted.setdefault(partition, []).append(number)
    assert found == wanted


@pytest.mark.parametrize(
    ("partitions", "size"), [(1, 1), (100, 1), (101, 11), (10_000, 100), (1 << 20, 1024)]
)
def test_the_size_of_a_bundle(partitions: int, size: int) -> None:
    """Both levels have about the square root of the partitions; up to 100 one level is enough."""
    assert exchange.bundle_size(partitions) == size
