"""Pieces of a shuffle on disk."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow as pa
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
