"""Pieces of a shuffle on a node's scratch disk: one Arrow file a task, its batches marked by partition.

As in a sort-based shuffle, a task writes one file whatever the number of partitions, and a partition
reads its own batches from each file, memory-mapped.
"""

from collections.abc import Iterable, Sequence

import pyarrow as pa

from pipelines.engines.step import Json


def write(pieces: Iterable[tuple[int, pa.Table]], path: str) -> Json:
    """Write a task's pieces to `path`; gives back {"path", "batches": {partition: [batch number]}}."""
    batches: dict[str, list[int]] = {}
    writer: pa.RecordBatchFileWriter | None = None
    count = 0
    for partition, table in pieces:
        if table.num_rows == 0:
            continue
        if writer is None:
            writer = pa.ipc.new_file(path, table.schema)
        for batch in table.combine_chunks().to_batches():
            writer.write_batch(batch)
            batches.setdefault(str(partition), []).append(count)
            count += 1
    if writer is not None:
        writer.close()
    return {"path": path, "batches": batches}


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


def to_bytes(table: pa.Table) -> bytes:
    """The table as an Arrow stream, apart from whatever file it was mapped from."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def from_bytes(stream: bytes) -> pa.Table:
    """The table that `to_bytes` wrote."""
    return pa.ipc.open_stream(stream).read_all()
