"""Pieces of a shuffle on a node's scratch disk: one Arrow file a task, its batches marked by partition.

As in a sort-based shuffle, a task writes one file whatever the number of partitions, and a partition
reads its own batches from each file, memory-mapped. Small pieces of one partition wait for one another, so that
pieces grow with the data, not with tasks and partitions; where partitions are too many for that, a first level
of files holds several partitions in a batch, and a second takes them apart.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isqrt
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipelines.engines.step import Json, Piece
from pipelines.files import why
from schemas.errors import OutputError

HELD: Final = 216 * 2**20
"""Bytes of pieces that wait in memory for others of their partitions."""
BLOCK: Final = 1 << 18
"""So many rows are sorted at once: of narrow tables that takes several times the memory of the rows."""
BLOCK_BYTES: Final = 32 * 2**20
"""And no more than so many bytes of wide ones."""
FAN: Final = 100
"""Into so many partitions tasks are split at once: of what waits each gets 2 MiB."""
_PARTITION: Final = "_partition"


def write(pieces: Iterable[Piece], path: str, bundle: int = 1, held: int = HELD) -> Json:
    """Write pieces to `path`, those of a partition together; gives back {"path", "batches": {partition: [batch]}}.

    With a `bundle` so many partitions in a row share their batches, until `unbundled` takes them apart.
    There is no file where no piece has a row. Raises OutputError where the disk is full.
    """
    file = _File(path)
    try:
        for number, table in sliced(pieces, bundle, held):
            file.write(number, table)
    finally:
        file.close()
    # what comes next in this process is a partition, not more pieces
    pa.default_memory_pool().release_unused()
    return {"path": path, "batches": file.batches}


class _File:
    """An Arrow file that is opened with its first batch; `batches` are the numbers of each partition's."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: pa.RecordBatchFileWriter | None = None
        self._count = 0
        self.batches: dict[str, list[int]] = {}

    def write(self, number: int, table: pa.Table) -> None:
        """Writes rows of a partition or bundle."""
        for batch in table.to_batches():
            with _writing(self._path):
                self._file = self._file or pa.ipc.new_file(self._path, batch.schema)
                self._file.write_batch(batch)
            self.batches.setdefault(str(number), []).append(self._count)
            self._count += 1

    def close(self) -> None:
        """Ends the file."""
        if self._file is not None:
            with _writing(self._path):
                self._file.close()


def sliced(
    pieces: Iterable[Piece], bundle: int = 1, held: int | None = None
) -> Iterator[tuple[int, pa.Table]]:
    """The rows of each partition, in one chunk: sorted in blocks, then cut.

    With a `bundle`, the rows of so many partitions in a row, with the partition of each as a column more. Pieces are
    let go block by block, so that there is one copy of their rows. Where these are more bytes than `held`, a partition
    comes several times, in the order of its rows.
    """
    found: defaultdict[int, list[pa.Table]] = defaultdict(list)
    size = 0
    for partitions, table in _blocks(pieces, held or BLOCK_BYTES):
        size += table.nbytes
        if bundle > 1:
            table = table.append_column(_PARTITION, pa.array(partitions.astype(np.int32)))
        numbers = partitions.astype(np.int64) // bundle
        starts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for start, end in zip(starts.tolist(), np.append(starts, len(numbers))[1:].tolist(), strict=True):
            found[int(numbers[start])].append(table.slice(start, end - start))
        if held is not None and size >= held:
            del table
            yield from _let_go(found)
            size = 0
    yield from _let_go(found)


def _let_go(found: dict[int, list[pa.Table]]) -> Iterator[tuple[int, pa.Table]]:
    """Yields what was found of each partition, and holds it no longer."""
    for number in sorted(found):
        yield number, pa.concat_tables(found.pop(number)).combine_chunks()


def _blocks(pieces: Iterable[Piece], held: int) -> Iterator[tuple[npt.NDArray[Any], pa.Table]]:
    """The rows in blocks of some BLOCK rows, or fewer where they are wide, each sorted by partition."""
    waiting: list[Piece] = []
    rows = size = 0
    for piece in pieces:
        if piece[1].num_rows:
            waiting.append(piece)
            rows += piece[1].num_rows
            size += piece[1].nbytes
        if rows >= BLOCK or size >= min(held, BLOCK_BYTES):
            yield _sorted(waiting)
            waiting.clear()
            rows = size = 0
    if waiting:
        yield _sorted(waiting)


def _sorted(pieces: Sequence[Piece]) -> tuple[npt.NDArray[Any], pa.Table]:
    """The rows of all pieces by partition, with the partition of each."""
    partitions = np.concatenate([np.broadcast_to(where, table.num_rows) for where, table in pieces])
    if int(partitions.max()) < 1 << 16:
        partitions = partitions.astype(np.uint16)  # which numpy sorts by counting
    order = np.argsort(partitions, kind="stable")
    table = pa.concat_tables([table for _, table in pieces]).take(pa.array(order)).combine_chunks()
    return partitions[order], table


def bundle_size(partitions: int) -> int:
    """How many partitions in a row the first level of files holds together; 1: there is one level alone."""
    return 1 if partitions <= FAN else isqrt(partitions - 1) + 1


def unbundled(pieces: Sequence[tuple[str, Sequence[int]]]) -> Iterator[Piece]:
    """The batches of a bundle, with the partition of every row.

    They are read, not mapped: a page of a mapped file stays in memory while anything of that file is in use.
    """
    for path, numbers in pieces:
        with pa.OSFile(path) as file:
            reader = pa.ipc.open_file(file)
            for number in numbers:
                table = pa.Table.from_batches([reader.get_batch(number)])
                yield table[_PARTITION].to_numpy(), table.drop_columns(_PARTITION)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path}, which passes between two steps ({why(error)}): make room there, "
            "then run the same command again"
        ) from error


def read(pieces: Sequence[tuple[str, Sequence[int]]]) -> pa.Table:
    """One partition's rows: the named batches of each file, in the order given."""
    batches = []
    for path, numbers in pieces:
        reader = pa.ipc.open_file(pa.memory_map(path))
        batches += [reader.get_batch(number) for number in numbers]
    return pa.Table.from_batches(batches)


def by_partition(written: Iterable[Json]) -> dict[int, list[tuple[str, list[int]]]]:
    """From what `write` gave back for each task: the pieces of every partition that has rows."""
    pieces: dict[int, list[tuple[str, list[int]]]] = {}
    for task in written:
        for partition, numbers in task["batches"].items():
            pieces.setdefault(int(partition), []).append((task["path"], numbers))
    return dict(sorted(pieces.items()))


def gather(partition: int, streams: Iterable[bytes], path: str) -> list[tuple[str, list[int]]]:
    """Writes the pieces of one partition, as `to_bytes` made them, to `path`; returns them for `read`."""
    written = write(((partition, from_bytes(stream)) for stream in streams), path)
    return by_partition([written]).get(partition, [])


def to_bytes(table: pa.Table) -> bytes:
    """The table as an Arrow stream, apart from whatever file it was mapped from."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(stream: bytes) -> pa.Table:
    """The table that `to_bytes` wrote."""
    return pa.ipc.open_stream(stream).read_all()
