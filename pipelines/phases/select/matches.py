"""Which rows the list of removed rows names: its values are compared with the rows of every shard."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipelines.engines.step import At, Engine, Json, Step
from pipelines.files import join
from pipelines.parquet import read_table
from pipelines.phases.dedup.signals import shard_tasks
from pipelines.phases.dedup.tables import Folder
from pipelines.phases.select.candidates import Judge
from pipelines.phases.select.judged import Judged
from pipelines.phases.select.removed import IMAGES, MATCHES, REMEMBERED, Memory, hashes
from pipelines.removal import hashed, kept
from pipelines.sources.table import KINDS as SOURCE_KINDS
from schemas.sample import image_key

if TYPE_CHECKING:
    from pipelines.build import Build


def match(engine: Engine, build: "Build", scratch: str) -> tuple[str, int]:
    """Returns the path of the rows that the list names (MATCHES), and how many of its values name no row."""
    setup: Json = {"recipe": build.settled.to_json(), "layout": asdict(build.layout), "scratch": scratch}
    step = Step("select", f"{__name__}:Match", setup, build.limits, build.resources("select"))
    receipts = engine.map(step, shard_tasks(build.shards))
    folder = Folder(setup)
    tables = [
        MATCHES.empty_table(),
        *(folder.read(receipt["path"]) for receipt in receipts if receipt["path"]),
    ]
    table = pa.concat_tables(tables).sort_by([("row", "ascending"), ("column", "ascending")])
    path = join(scratch, "matched.parquet")
    folder.write(path, table, scratch=True)
    named = table.group_by(["column", "value"]).aggregate([]).num_rows
    return path, len(build.removed) - named


class Match:
    """Finds the rows of one input shard that the list names."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._folder = Folder(setup)
        self._wanted = kept(self._judge.layout).by_column()

    def run(self, task: Json, at: At) -> Json:
        """Writes each row that a value names: its number, the value, and its clusters where these go with it."""
        judged, memory = self._judge.shard(task)
        found = [
            (row, column, value, entries[value].only_listed)
            for column, entries in self._wanted.items()
            for row, value in self._hashes(column, judged, memory, task["shard"])
            if value in entries
        ]
        if not found:
            return {"path": None}
        rows, columns, values, alone = zip(*found, strict=True)
        places = np.array(rows)
        clusters = {kind: np.where(alone, "", judged.clusters[kind][places]) for kind in IMAGES}
        table = pa.table(
            {"row": judged.places[places], "column": columns, "value": values, **clusters}, MATCHES
        )
        path = self._folder.path("matches", task["number"])
        self._folder.write(path, table, scratch=True)
        return {"path": path}

    def _hashes(self, column: str, judged: Judged, memory: Memory, shard: str) -> Iterator[tuple[int, str]]:
        """Each row, by its place, with the hash of what it has of a list's column."""
        if column == "sha256":
            path = self._judge.layout.path("further", judged.source.id, shard)
            if self._judge.layout.store.exists(path):
                further = read_table(self._judge.layout, path, ["row", "sha256"])
                yield from zip(
                    further["row"].to_pylist(), map(hashed, further["sha256"].to_pylist()), strict=True
                )
        yield from hashes(column, judged.signals)
        if column == "key" and SOURCE_KINDS[judged.source.kind].drafts:
            # the samples of such a source are named by their image
            for row, digest in enumerate(judged.signals["original_sha256"].to_pylist()):
                if digest is not None:
                    yield row, hashed(image_key(judged.source.id, digest))
        if column in REMEMBERED:
            for row in np.flatnonzero(memory.blank).tolist():
                for value in (memory.rows[column][row].as_py() or "").split():
                    yield row, value
