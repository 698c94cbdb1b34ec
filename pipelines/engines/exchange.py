"""Pieces of a shuffle on a node's scratch disk: one Arrow file a task, its batches marked by partition.

As in a sort-based shuffle, a task writes one file whatever the number of partitions, and a partition
reads its own batches from each file, memory-mapped. Small pieces of one partition wait for one another, so that
pieces grow with the data, not with tasks and partitions; where partitions are too many for that, a first level
of files holds several partitions in a batch, and a second takes them apart.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from math import isqrt
from typing import Final

import numpy as np
import pyarrow as pa

from pipelines.engines.step import Json
from pipelines.files import why
from schemas.errors import OutputError

HELD: Final = 256 * 2**20
"""Bytes of pieces that wait in memory for others of their partitions."""
FAN: Final = 128
"""Into so many partitions tasks are split at once: of what waits each gets 2 MiB."""
_PARTITION: Final = "_partition"


def write(pieces: Iterable[tuple[int, pa.Table]], path: str, held: int = HELD) -> Json:
    """Write pieces to `path`, those of a partition together; gives back {"path", "batches": {partition: [batch]}}.

    There is no file where no piece has a row. Raises OutputError where the disk is full.
    """
    file = _File(path)
    waiting: dict[int, list[pa.Table]] = {}
    size = 0
    try:
        for partition, table in pieces:
            if table.num_rows:
                waiting.setdefault(partition, []).append(table)
                size += table.nbytes
            if size >= held:
                file.write(waiting)
                size = 0
        file.write(waiting)
    finally:
        file.close()
    return {"path": path, "batches": file.batches}


class _File:
    """An Arrow file that is opened with its first batch; `batches` are the numbers of each partition's."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: pa.RecordBatchFileWriter | None = None
        self._count = 0
        self.batches: dict[str, list[int]] = {}

    def write(self, waiting: dict[int, list[pa.Table]]) -> None:
        """Writes what waits, and lets go of it."""
        for partition in sorted(waiting):
            for batch in pa.concat_tables(waiting.pop(partition)).combine_chunks().to_batches():
                with _writing(self._path):
                    self._file = self._file or pa.ipc.new_file(self._path, batch.schema)
                    self._file.write_batch(batch)
                self.batches.setdefault(str(partition), []).append(self._count)
                self._count += 1

    def close(self) -> None:
        """Ends the file."""
        if self._file is not None:
            with _writing(self._path):
                self._file.close()


def bundle_size(partitions: int) -> int:
    """How many partitions in a row the first level of files holds together; 1: there is one level alone."""
    return 1 if partitions <= FAN else isqrt(partitions - 1) + 1


def bundled(pieces: Iterable[tuple[int, pa.Table]], size: int) -> Iterator[tuple[int, pa.Table]]:
    """The pieces of the first level: each row with its partition, in the bundle of that partition."""
    if size == 1:
        yield from pieces
        return
    for partition, table in pieces:
        numbers = pa.array(np.full(table.num_rows, partition, np.int32))
        yield partition // size, table.append_column(_PARTITION, numbers)


def unbundled(pieces: Sequence[tuple[str, Sequence[int]]]) -> Iterator[tuple[int, pa.Table]]:
    """The pieces of the partitions in a bundle, batch by batch."""
    for path, numbers in pieces:
        for number in numbers:
            table = read([(path, [number])])
            partitions = table[_PARTITION].to_numpy()
            order = np.argsort(partitions, kind="stable")
            partitions = partitions[order]
            table = table.drop_columns(_PARTITION).take(pa.array(order))
            starts = np.flatnonzero(np.diff(partitions, prepend=-1)).tolist()
            for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
                yield int(partitions[start]), table.slice(start, end - start)


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
