"""What dedup needs of a shard's signals, as numbers."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from filters import picture, sketch
from filters.sketch import BYTES, WORDS, turned_hashes
from pipelines.engines.step import Json
from pipelines.layout import Layout, Name, in_order, text_of
from pipelines.phases.dedup.tables import U64, Columns, Folder, Values, fingerprints, key_words, mix
from schemas.errors import InputError
from schemas.row import FURTHER

KINDS: Final = ("repeat", "exact", "pixels", "phash")
"""From fine to coarse; a kind's number in the shuffles is its place here."""
REPEAT, EXACT, PIXELS, PHASH = range(4)
KIND: Final = len(KINDS) - 1
"""The bits of a kind's number; those above them say more of an entry of the shuffle of values."""
EVALUATION, ASIDE, SETTLED, TURNED = (len(KINDS) << bit for bit in range(4))
"""What the shuffle of values says of an entry beside its kind.

EVALUATION: it is an evaluation row's; a membership with it is a pair with one. ASIDE: it stands in no cluster, and is
held against evaluation images alone. SETTLED: it is not what was measured, and is not held against them. TURNED: it is
the hash of a turned image.
"""
EVAL: Final = "eval"
"""The kind of a training row that shows an evaluation row's image: no cluster, but a pair."""
CAPTION: Final = "caption"
"""The kind of rows with one caption, whatever their images; it neither holds other kinds nor lies in one."""

PLACE: Final = 32
"""A row's number: its shard's place in the sorted list, and below these bits its place in the shard."""

_COLUMNS: Final[dict[str, Any]] = {
    "key": pa.string(),
    "error": pa.string(),
    "sha256": pa.string(),
    "pixels": pa.string(),
    "phash": pa.uint64(),
    "sketch": pa.binary(BYTES),
}
_WHOLE: Final = pa.schema(list(_COLUMNS.items()))
_SPLIT: Final = _WHOLE.append(pa.field("extra", pa.string()))


@dataclass(frozen=True)
class Rows:
    """The rows of some shards that were measured, in their order: numbers, keys, values by kind.

    A value of PHASH is the hash and a fingerprint of the sketch. `hashes` are the hashes alone, also where no clusters
    of them are asked for; `turned` (N, 8) are those of the turned images, where these are asked for. `evaluation` says
    which rows are held out for evaluation.
    """

    numbers: npt.NDArray[np.int64]
    key_hi: U64
    key_lo: U64
    values: dict[int, Values]
    hashes: Values
    turned: U64 | None
    evaluation: npt.NDArray[np.bool_]

    def of(self, kind: int) -> tuple[Columns, npt.NDArray[np.bool_]]:
        """The kind's values as `hi`, `lo`, with `key_hi`, `key_lo`, `row`; and where they are known."""
        value = self.values[kind]
        columns = {"hi": value.hi, "lo": value.lo, "key_hi": self.key_hi, "key_lo": self.key_lo}
        return {**columns, "row": self.numbers}, value.known

    def shown(self, kind: int) -> Values:
        """The kind's values as evaluation images are held against them: hashes without sketches, all of them."""
        return self.hashes if kind == PHASH else self.values[kind]


class Shards:
    """The shards of the corpus by their number in the sorted list, read with what was settled since."""

    def __init__(self, folder: Folder, setup: Json) -> None:
        self._folder = folder
        self._layout = Layout(**setup["layout"])
        self._hashed = setup["distance"] is not None
        self._turned = bool(setup["turned"])
        self._evaluation: Mapping[str, bool] = setup["evaluation"]
        self._further = frozenset(setup["further"])
        self._settled: Sequence[str] = setup.get("settled", ())

    def rows(self, task: Json) -> Rows:
        """The measured rows of a task's shards, with what was settled."""
        return self.settled(self.measured(task))

    def measured(self, task: Json) -> Rows:
        """The measured rows of a task's shards, with their values as measured; a text without image has a key alone."""
        source = task["source"]
        split = self._evaluation.get(source) is False
        read = [
            _columns(self._folder, self._layout.path("signals", source, shard), task["number"] + n, split)
            for n, shard in enumerate(task["shards"])
        ]
        return self._parse(pa.concat_tables(read).combine_chunks(), self._evaluation.get(source, False))

    def further(self, task: Json, rows: Rows) -> Iterator[Rows]:
        """Of each shard the images of these rows beside their first, each with its row's number and key."""
        for n, shard in enumerate(task["shards"]):
            if text_of((task["source"], shard)) in self._further:
                yield self._beside(task["number"] + n, task["source"], shard, rows)

    def _beside(self, number: int, source: str, shard: str, rows: Rows) -> Rows:
        table = self._folder.read(self._layout.path("further", source, shard), FURTHER.names)
        numbers = table["row"].to_numpy() + (number << PLACE)
        at = np.minimum(np.searchsorted(rows.numbers, numbers), max(len(rows.numbers) - 1, 0))
        measured = rows.numbers[at] == numbers if len(rows.numbers) else np.zeros(len(at), np.bool_)
        table, at = table.filter(pa.array(measured)), at[measured]
        bits = table["phash"].to_numpy()
        values = {
            EXACT: fingerprints(table["sha256"].combine_chunks()),
            PIXELS: fingerprints(table["pixels"].combine_chunks()),
        }
        hashes = Values(bits, np.zeros(len(bits), np.uint64), np.ones(len(bits), np.bool_))
        keys = (rows.key_hi[at], rows.key_lo[at])
        return Rows(rows.numbers[at], *keys, values, hashes, None, rows.evaluation[at])

    def sketches(self, number: int, source: str, shard: str, rows: npt.NDArray[np.int64]) -> U64:
        """Returns (N, 28): the sketches of rows of a shard, by their numbers."""
        table = self._folder.read(self._layout.path("signals", source, shard), ["sketch"])
        return sketch_words(table["sketch"].combine_chunks())[rows - (number << PLACE)]

    def settled(self, rows: Rows) -> Rows:
        """The rows with the values that images of equal bytes or pixels agreed on."""
        return self._settle(rows) if self._settled and len(rows.numbers) else rows

    def _parse(self, table: pa.Table, whole: bool) -> Rows:
        """Rows, given their columns; `whole` says that all are held out for evaluation, where they do not say it."""
        columns = {name: table[name].combine_chunks() for name in _COLUMNS}
        places, key_hi, key_lo = (table[name].to_numpy() for name in ("number", "key_hi", "key_lo"))
        sha256, pixels = fingerprints(columns["sha256"]), fingerprints(columns["pixels"])
        phash = columns["phash"]
        bits = phash.fill_null(0).to_numpy()
        hashed = sha256.known & phash.is_valid().to_numpy(zero_copy_only=False)
        hashes = Values(bits, np.zeros(len(bits), np.uint64), hashed)
        sketches = sketch_words(columns["sketch"])
        values = {
            REPEAT: Values(mix(key_hi ^ mix(key_lo)), key_lo, np.ones(len(places), np.bool_)),
            EXACT: sha256,
            PIXELS: replace(pixels, known=pixels.known & sha256.known),
            PHASH: Values(bits, _folded(sketches), hashed if self._hashed else np.zeros_like(hashed)),
        }
        turned = turned_hashes(sketches) if self._turned else None
        extras = table["extra"] if "extra" in table.column_names else None
        evaluation = np.full(len(places), whole) if extras is None else held_out(extras)
        return Rows(places, key_hi, key_lo, values, hashes, turned, evaluation)

    def _settle(self, rows: Rows) -> Rows:
        values = dict(rows.values)
        for path in self._settled:
            changes = self._folder.between(path, int(rows.numbers[0]), int(rows.numbers[-1]))
            for kind in (PIXELS, PHASH):
                mine = changes["kind"] == kind
                at = np.searchsorted(rows.numbers, changes["row"][mine])
                old = values[kind]
                hi, lo, known = old.hi.copy(), old.lo.copy(), old.known.copy()
                hi[at], lo[at], known[at] = changes["hi"][mine], changes["lo"][mine], True
                values[kind] = Values(hi, lo, known)
        return replace(rows, values=values)


def _columns(folder: Folder, path: str, number: int, split: bool) -> pa.Table:
    """The measured rows of a shard, with their numbers and the halves of their keys; InputError where it has none."""
    names = [*_COLUMNS, "extra"] if split else list(_COLUMNS)
    table = folder.read(path, names)
    check_versions(table.schema, path)
    try:
        table = table.select(names).cast(_SPLIT if split else _WHOLE)
        measured = pc.is_null(table["error"])
        table = table.filter(measured)
        key_hi, key_lo = key_words(table["key"].combine_chunks())
    except (pa.ArrowException, KeyError, ValueError) as wrong:
        raise InputError(f"{path} holds no signals ({wrong}): measure its source again") from wrong
    places = np.flatnonzero(measured.to_numpy(zero_copy_only=False)) + (number << PLACE)
    for name, column in (("number", places), ("key_hi", key_hi), ("key_lo", key_lo)):
        table = table.append_column(name, pa.array(column))
    return table


def check_versions(schema: pa.Schema, path: str) -> None:
    """Raises InputError where hashes or sketches are of another version of their filter: they cannot be compared."""
    known = schema.metadata or {}
    for one, column in ((picture.FILTER, "phash"), (sketch.FILTER, "sketch")):
        found = known.get(one.name.encode(), b"").decode("utf-8", "replace") or "unknown"
        if found != str(one.version):
            raise InputError(
                f"{path}: its column {column} is of version {found} of the filter {one.name}, not {one.version}; "
                "hashes of two versions cannot be compared: measure its source again"
            )


def sketch_words(sketches: Any) -> U64:
    """Returns (N, 28): the sketches of a column; zeros where there is none."""
    whole = sketches.fill_null(bytes(BYTES))
    data = np.frombuffer(whole.buffers()[1] or b"", np.uint8)
    data = data[whole.offset * BYTES : (whole.offset + len(whole)) * BYTES]
    return data.view("<u8").reshape(-1, WORDS).astype(np.uint64)


def _folded(words: U64) -> U64:
    """Returns a number a row that is equal where all words are."""
    found = np.zeros(len(words), np.uint64)
    for word in words.T:
        found = mix(found ^ word) + np.uint64(1)
    return found


def held_out(extras: pa.ChunkedArray) -> npt.NDArray[np.bool_]:
    """Which rows of an annotation source its dataset holds out: those of any split of its own but train."""
    own = [json.loads(extra)["split"] if extra else "" for extra in extras.to_pylist()]
    return np.array([split not in ("", "train") for split in own], np.bool_)


def finer_checks(rows: Rows) -> dict[int, npt.NDArray[np.uint32]]:
    """For each kind a number a row that is equal where the coarser kinds' values are equal."""
    zeros = np.zeros(len(rows.numbers), np.uint32)
    phash, pixels = rows.values[PHASH], rows.values[PIXELS]
    of_phash = mix(np.where(phash.known, phash.hi ^ mix(phash.lo), 0) + phash.known)
    of_pixels = np.where(pixels.known, mix(pixels.hi ^ mix(pixels.lo)), 0)
    checks = {EXACT: mix(of_phash ^ of_pixels), PIXELS: of_phash}
    return {REPEAT: zeros, PHASH: zeros} | {kind: check.astype(np.uint32) for kind, check in checks.items()}


LEAST_ROWS: Final = 10_000
"""Small shards of up to so many rows share a task, however few tasks that leaves."""
MOST_ROWS: Final = 65_536
"""No task has more rows, unless a single shard does."""
TASKS: Final = 64
"""Tasks grow beyond LEAST_ROWS only where there are about so many of them, so that workers share them."""
SHARDS_A_TASK: Final = 64
"""The driver holds one receipt for so many shards, and a task that is lost costs no more of them."""


def group_tasks(
    shards: Iterable[Name],
    rows: Mapping[Name, int],
    block_of: Callable[[int], int] = lambda number: number // SHARDS_A_TASK,
) -> list[Json]:
    """One task for some shards of a source in a row, with the number of the first in the sorted list.

    `rows` says how many a shard has, where that is known: small ones share a task, but enough tasks are left that every
    worker has some. Shards of two blocks share none.
    """
    named = in_order(shards)
    most = min(MOST_ROWS, max(LEAST_ROWS, sum(rows.values()) // TASKS))
    tasks: list[Json] = []
    for (source, _), group in groupby(enumerate(named), lambda one: (one[1][0], block_of(one[0]))):
        numbered = list(group)
        counts = [rows.get(name, most) for _, name in numbered]
        for start, end in batches(counts, most):
            names = [shard for _, (_, shard) in numbered[start:end]]
            first = numbered[start][0]
            tasks.append({"number": first, "source": source, "shards": names, "rows": counts[start:end]})
    return tasks


def batches(rows: Sequence[int], most: int, shards: int | None = None) -> list[tuple[int, int]]:
    """Returns from where to where each batch goes, given each shard's rows: at most `most` of them, or one shard.

    `shards` bounds how many shards a batch has.
    """
    found, start, held = [], 0, 0
    for number, count in enumerate(rows):
        if number > start and (held + count > most or number - start == shards):
            found.append((start, number))
            start, held = number, 0
        held += count
    return [*found, (start, len(rows))]


def shard_tasks(shards: Iterable[Name]) -> list[Json]:
    """One task a shard, with its number in the sorted list."""
    return [
        {"number": number, "source": source, "shard": shard}
        for number, (source, shard) in enumerate(in_order(shards))
    ]
