"""Pieces of a shuffle on a node's scratch disk: one Arrow file a task, its batches marked by partition.

As in a sort-based shuffle, a task writes one file whatever the number of partitions, and a partition
reads its own batches from each file, memory-mapped.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa

from pipelines.engines.step import Json
from pipelines.files import why
from schemas.errors import OutputError


def write(pieces: Iterable[tuple[int, pa.Table]], path: str) -> Json:
    """Write a task's pieces to `path`; gives back {"path", "batches": {partition: [batch number]}}.

    There is no file where no piece has a row. Raises OutputError where the disk is full.
    """
    batches: dict[str, list[int]] = {}
    file: pa.RecordBatchFileWriter | None = None
    count = 0
    try:
        for partition, table in pieces:
            for batch in table.combine_chunks().to_batches() if table.num_rows else ():
                with _writing(path):
                    file = file or pa.ipc.new_file(path, batch.schema)
                    file.write_batch(batch)
                batches.setdefault(str(partition), []).append(count)
                count += 1
    finally:
        if file is not None:
            with _writing(path):
                file.close()
    return {"path": path, "batches": batches}


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
