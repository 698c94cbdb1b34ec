"""Rows whose embeddings are alike: the vectors beside the scores, in cells of k-means, and stars within each cell.

    Means   shuffle of a sample, drawn by key, to one worker: the centres of the cells, twice with other ones at first
    Alike   shuffle of the rows by cell, and of those that are left by the other cells: who loses to a better row

Only rows that every earlier rule keeps take part; rows held out for evaluation and removed ones do not.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters.corpus_rules import Semantic
from filters.semantic import I16, cells, fewer, means, stars, units
from pipelines.engines.step import At, Engine, Json, Step
from pipelines.layout import Name
from pipelines.parquet import by_member, read_table
from pipelines.phases.dedup.signals import KINDS, PLACE
from pipelines.phases.dedup.tables import Columns, Folder, columns_of, firsts, key_words, mix, stretches, take
from pipelines.phases.select.candidates import Judge
from pipelines.phases.select.captions import counted
from pipelines.phases.select.cuts import staying
from pipelines.phases.select.judged import Judged
from pipelines.phases.select.keepers import Lost, losers
from pipelines.phases.select.removed import VECTORS
from pipelines.recipe.model import Recipe
from pipelines.shares import is_drawn
from schemas.errors import InputError

ALIKE: Final = "semantic"
"""The rule's name."""
PLACE_OF_KIND: Final = len(KINDS) + 3
"""The number of the kind in files of losers; those between are the reasons of decide.py that are no kinds."""
MOST_CELLS: Final = 4096
SAMPLED: Final = 50
"""So many rows of a cell, on average, are drawn to find the centres."""
MOST_SAMPLED: Final = 50_000
WIDER: Final = 16
"""A vector is so many times what other shuffles hold of a row."""


def plan(recipe: Recipe, scored: Mapping[Name, Json]) -> Json:
    """Returns how many cells there are, and the share of the rows that is drawn to find them.

    Raises InputError where the vectors are of several scorers.
    """
    rule = recipe.rules.get(Semantic)
    assert rule is not None
    mine = {
        name: one for name, one in scored.items() if recipe.rules_of(recipe.source(name[0])).get(Semantic)
    }
    scorers = sorted({scorer for one in mine.values() for scorer in one["scorers"]})
    if len(scorers) > 1:
        raise InputError(
            f"the embeddings are of {len(scorers)} scorers ({', '.join(scorers)}), which cannot be compared: switch "
            f"the rule {ALIKE} off for some sources, or score all languages with one scorer"
        )
    rows = sum(one["reached"] for one in mine.values())
    count = max(1, min(MOST_CELLS, -(-rows // rule.rows)))
    wanted = min(MOST_SAMPLED, SAMPLED * count)
    return {"cells": count, "share": min(1.0, wanted / max(1, rows))}


class _Vectors:
    """The rows that take part, with their vectors."""

    def __init__(self, setup: Json) -> None:
        self.judge = Judge(setup)
        self.folder = Folder(setup)
        self._lost = Lost(self.judge, setup)
        self._cuts = setup["cuts"]

    def rows(self, task: Json) -> Iterator[tuple[Judged, npt.NDArray[np.int64], I16]]:
        """Of each shard that has such rows, their places in the table and their vectors."""
        judged = self.judge.load(task)
        rule = self.judge.recipe.rules_of(judged.source).get(Semantic)
        if rule is None:
            return
        lost = self._lost.rows(judged)
        chosen = np.flatnonzero(counted(judged, self.judge, self._cuts, lost) & judged.scored)
        for number, start, end in stretches(judged.places[chosen] >> PLACE):
            shard = task["shards"][number - task["number"]]
            rows, vectors = self._vectors(judged, chosen[start:end], shard, VECTORS[rule.of == "text"])
            if len(rows):
                yield judged, rows, vectors

    def _vectors(
        self, judged: Judged, chosen: npt.NDArray[np.int64], shard: str, column: str
    ) -> tuple[npt.NDArray[np.int64], I16]:
        path = self.judge.layout.path("scores", judged.source.id, shard)
        table = read_table(self.judge.layout, path)
        if column not in table.column_names:
            raise InputError(f"{path} holds no embeddings: set clip.embeddings: true and score again")
        members = judged.taken("member", chosen)
        scored = by_member(table, "scorer", members).is_valid().to_numpy(zero_copy_only=False)
        chosen, members = chosen[scored], members.filter(pa.array(scored))
        vectors = by_member(table, column, members)
        return chosen, _units(vectors, members, path)


def _units(vectors: Any, members: Any, path: str) -> I16:
    """The vectors at one length. Raises InputError where one is missing, of another size or no number."""
    sizes = pc.fill_null(pc.list_value_length(vectors), 0).to_numpy(zero_copy_only=False)
    wrong = np.flatnonzero((sizes == 0) | (sizes != sizes[:1]))
    if len(wrong):
        member = members[int(wrong[0])].as_py()
        raise InputError(
            f"{path}: the embedding of the row {member} has {sizes[wrong[0]]} numbers, that of the first {sizes[0]}: "
            "score its source again"
        )
    whole = pc.list_flatten(vectors).to_numpy(zero_copy_only=False).reshape(len(sizes), sizes[:1].sum())
    sound = np.isfinite(whole).all(axis=1) & (whole != 0).any(axis=1)
    if not sound.all():
        member = members[int(np.flatnonzero(~sound)[0])].as_py()
        raise InputError(
            f"{path}: the embedding of the row {member} has no direction (NaN, infinite or all zeros): score its "
            "source again"
        )
    return units(whole)


def _packed(vectors: I16) -> Any:
    """The vectors as bytes."""
    return pa.array([vector.tobytes() for vector in vectors.astype("<i2")], pa.binary())


def _unpacked(column: Any) -> I16:
    """The vectors that `_packed` gave. Raises InputError where they are of several sizes."""
    data = column.to_pylist()
    sizes = sorted({len(one) // 2 for one in data})
    if len(sizes) > 1:
        raise InputError(
            f"embeddings of {sizes[0]} and of {sizes[1]} numbers cannot be compared: score all sources with one scorer"
        )
    return np.frombuffer(b"".join(data), "<i2").reshape(len(data), -1).astype(np.int16)


class Means:
    """Shuffles a sample of the vectors to one worker; writes the centres of the cells, of each split a file."""

    def __init__(self, setup: Json) -> None:
        self._vectors = _Vectors(setup)
        self._count, self._share = int(setup["cells"]), float(setup["share"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """The rows that are drawn, with their keys and numbers."""
        seed = self._vectors.judge.recipe.seed
        for judged, chosen, vectors in self._vectors.rows(task):
            keys = judged.taken("key", chosen).to_pylist()
            drawn = np.flatnonzero([is_drawn(self._share, seed, ALIKE, key) for key in keys])
            if len(drawn):
                names = pa.array([keys[one] for one in drawn.tolist()], pa.string())
                rows = judged.places[chosen[drawn]]
                yield 0, pa.table({"key": names, "row": rows, "vector": _packed(vectors[drawn])})

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The files of the centres."""
        # keys are digests: their order is random, and the same for all
        vectors = _unpacked(table.sort_by([("key", "ascending"), ("row", "ascending")])["vector"])
        # two rows on both sides of a border of the first cells are rarely on both sides of one of the others
        splits = (vectors, vectors[::-1])[: 1 if self._count == 1 else 2]
        return {"paths": [self._save(number, split) for number, split in enumerate(splits)]}

    def _save(self, number: int, vectors: I16) -> str:
        path = self._vectors.folder.path("cells", number)
        centres = pa.table({"vector": _packed(means(vectors, self._count))})
        self._vectors.folder.write(path, centres, scratch=True)
        return path


class Alike:
    """Shuffles rows by cell; writes the losers of each star, with whom they lost to, sorted by row."""

    def __init__(self, setup: Json) -> None:
        self._vectors = _Vectors(setup)
        self._partitions = int(setup["partitions"])
        self._centres = _unpacked(self._vectors.folder.read(setup["centres"])["vector"])
        self._keeps = bool(setup["keeps"])
        self._round = str(setup["round"])

    def split(self, task: Json, at: At) -> Iterator[tuple[int, pa.Table]]:
        """The rows by cell and, as with other duplicates, by variant."""
        for judged, chosen, vectors in self._vectors.rows(task):
            yield from self._by_cell(judged, chosen, vectors)

    def _by_cell(
        self, judged: Judged, chosen: npt.NDArray[np.int64], vectors: I16
    ) -> Iterator[tuple[int, pa.Table]]:
        if vectors.shape[1] != self._centres.shape[1]:
            raise InputError(
                f"embeddings of {vectors.shape[1]} and of {self._centres.shape[1]} numbers cannot be compared: score "
                "all sources with one scorer"
            )
        judge = self._vectors.judge
        variant = judged.taken("variant", chosen).to_numpy()
        cell = cells(vectors, self._centres)
        key_hi, key_lo = key_words(judged.taken("key", chosen))
        rows: Columns = {"group": mix(cell.astype(np.uint64) ^ mix(variant)), "row": judged.places[chosen]}
        rows |= {"key_hi": key_hi, "key_lo": key_lo} | take(judge.ranks(judged), chosen)
        table = pa.table(rows).append_column("vector", _packed(vectors))
        partition = (mix(cell.astype(np.uint64)) % np.uint64(self._partitions)).astype(np.int64)
        order = np.argsort(partition, kind="stable")
        for number, start, end in stretches(partition[order]):
            yield number, table.take(pa.array(order[start:end]))

    def reduce(self, partition: int, table: pa.Table) -> Json:
        """The file of the partition's losers."""
        rule = self._vectors.judge.recipe.rules.get(Semantic)
        assert rule is not None
        vectors, rows = _unpacked(table["vector"]), columns_of(table.drop_columns(["vector"]))
        names = ("group", "rank", "first", "second", "key_hi", "key_lo", "row")
        order = np.lexsort([rows[name] for name in reversed(names)])
        vectors, rows = vectors[order], take(rows, order)
        best = np.arange(len(order))
        for start, end in _bounds(rows["group"]):
            best[start:end] = start + self._beaten(vectors[start:end], rule)
        found = losers(rows, best, np.full(len(best), PLACE_OF_KIND, np.uint8))
        if not len(found["row"]):
            return {}
        return {"path": self._vectors.folder.save(f"lost-{self._round}", partition, found)}

    def _beaten(self, vectors: I16, rule: Semantic) -> npt.NDArray[np.int64]:
        """For each row of a cell, best first, the row that beats it, or itself."""
        best = stars(vectors, rule.similarity)
        if rule.keep is not None and self._keeps:
            left = np.flatnonzero(best == np.arange(len(best)))
            best[left] = left[fewer(vectors[left], staying(rule.keep, len(best)))]
        return best


def centres(engine: Engine, step: Callable[..., Step], tasks: list[Json], more: Json) -> list[str]:
    """Returns the file of the centres of each split; `step` makes a step of the phase, `more` is the plan."""
    found = engine.shuffle(step(f"{__name__}:Means", **more), tasks, 1)
    return [str(path) for receipt in found for path in receipt["paths"]]


def beaten(
    engine: Engine, step: Callable[..., Step], tasks: list[Json], partitions: int, more: Json
) -> list[Json]:
    """Returns the receipts of files of losers; `more` names the `round`, the `centres` of its split, how many `cells`
    it has at most, and whether it `keeps` no more than the rule's share."""
    # rows travel with their vectors, so there are more partitions
    count = max(1, min(WIDER * partitions, int(more["cells"])))
    return engine.shuffle(step(f"{__name__}:Alike", **more, partitions=count), tasks, count)


def _bounds(groups: npt.NDArray[np.uint64]) -> Iterator[tuple[int, int]]:
    """From where to where each group of sorted rows stands."""
    starts = np.flatnonzero(firsts(groups)) if len(groups) else np.zeros(0, np.int64)
    yield from zip(starts.tolist(), np.append(starts, len(groups))[1:].tolist(), strict=True)
