"""Do evaluation and training share an image? Compared again pair by pair, over the indexes and over `work/`.

The images of `eval` are held in memory, some hundred bytes each; those of the other splits pass by in batches. Equal
digests are found by hash, near perceptual hashes by the search over blocks of bits that dedup uses: the work does not
grow with the product of both.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from itertools import islice
from typing import Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.hamming import U64, Nearest
from pipelines.files import FileInfo, Store
from pipelines.parquet import by_member
from schemas.errors import InputError
from schemas.manifest import Manifest
from schemas.parquet import opened

DECISIONS: Final = "work/decisions/"
SIGNALS: Final = "work/signals/"
_SHOWN: Final = 10
_BATCH: Final = 16_384

Side = Literal["eval", "other"]
Files = Mapping[str, FileInfo]

IMAGES: Final = pa.schema(
    [
        *((name, pa.string()) for name in ("place", "split", "sha256", "original_sha256", "pixels")),
        ("phash", pa.uint64()),
    ]
)
"""What is compared of each image; null where a file does not say."""

_SAME: Final = {"sha256": "the bytes", "original_sha256": "the bytes", "pixels": "the pixels"}


def leaks(store: Store, files: Files, manifest: Manifest) -> Iterator[str]:
    """Yields one sentence for each image of another split that is an image of `eval`, first over the indexes of
    the shards, then over the kept rows of `work/`.

    Two images are one where their bytes or pixels are equal, or their perceptual hashes lie within the distance
    that the manifest names. Of either comparison ten are named, the others counted.
    """
    if not has_evaluation(manifest):
        return
    for images, what in ((_of_shards, "samples"), (_of_rows, "rows")):
        try:
            yield from compared(partial(images, store, files), _distance(manifest), what)
        except (pa.ArrowException, InputError, OSError, KeyError, ValueError) as error:
            yield (
                f"evaluation {what} cannot be compared with those of other splits: {' '.join(str(error).split())}"
            )


def has_evaluation(manifest: Manifest) -> bool:
    """Returns whether any sample is in `eval`."""
    return any(count.split == "eval" for count in manifest.samples)


def compared(images: Callable[[Side], Iterator[pa.Table]], distance: int | None, what: str) -> Iterator[str]:
    """Yields a sentence for each of the first images of other splits that is one of `eval`, and one for the rest."""
    held = Held(distance)
    for table in images("eval"):
        held.add(table)
    found = (one for table in images("other") for one in held.shown(table))
    yield from islice(found, _SHOWN)
    if further := sum(1 for _ in found):
        yield f"{further:,} further {what} show images of evaluation {what}"


def _distance(manifest: Manifest) -> int | None:
    """The distance that evaluation images were protected by; None in corpora that know of none."""
    limits = [rules["eval"] for rules in manifest.thresholds.values() if "eval" in rules]
    distances = [one["distance"] for one in limits if isinstance(one, Mapping)]
    return min((one for one in distances if isinstance(one, int)), default=None)


def _of_shards(store: Store, files: Files, side: Side) -> Iterator[pa.Table]:
    """Yields the images of one side as the indexes and Parquet shards describe them; a hash is of a first image."""
    for name, info in files.items():
        folder, _, split = name.rpartition(".")[0].partition("/")
        split = split.partition("/")[0]
        if folder != "shards" or not name.endswith(".parquet") or (split == "eval") != (side == "eval"):
            continue
        with store.open(info.path) as file:
            rows = opened(file)
            images = "pictures" if "pictures" in rows.schema_arrow.names else "images"
            for batch in rows.iter_batches(_BATCH, columns=["key", "phash", images]):
                yield _listed(name, split, pa.table(batch), images)


def _listed(name: str, split: str, table: pa.Table, images: str) -> pa.Table:
    """Returns a row for each image of the samples of one file."""
    lists = table[images].combine_chunks()
    of, facts = pc.list_parent_indices(lists), pc.list_flatten(lists)
    first = pa.array(np.diff(of.to_numpy(), prepend=-1) != 0)
    keys = table["key"].combine_chunks().take(of)
    return _images(
        len(of),
        place=pc.binary_join_element_wise(f"{name}:", keys, " "),
        split=pa.array([split] * len(of), pa.string()),
        sha256=pc.struct_field(facts, "sha256"),
        original_sha256=pc.struct_field(facts, "original_sha256"),
        phash=pc.if_else(first, table["phash"].combine_chunks().take(of), None),
    )


def _of_rows(store: Store, files: Files, side: Side) -> Iterator[pa.Table]:
    """Yields the images of the kept rows of one side, from the signals and, of several images, from work/further."""
    for name in files:
        if not name.startswith(DECISIONS):
            continue
        kept = _kept(store, files[name], side)
        if not kept.num_rows:
            continue
        signals = files.get(name.replace(DECISIONS, SIGNALS, 1))
        if signals is None:
            raise InputError(f"{name.replace(DECISIONS, SIGNALS, 1)} is missing")
        columns = ["sha256", "pixels", "phash"]
        table = _read(store, signals, ["member", *columns])
        facts = {column: by_member(table, column, kept["member"]) for column in columns}
        # a hash without an image is that of nothing
        facts["phash"] = pc.if_else(pc.is_valid(facts["sha256"]), facts["phash"], None)
        yield _images(kept.num_rows, place=kept["place"], split=kept["split"], **facts)
        further = files.get(name.replace(DECISIONS, "work/further/", 1))
        if further is not None:
            images = _read(store, further, [*columns, "row"]).join(kept, "row", join_type="inner")
            images = images.sort_by("row")
            yield _images(
                images.num_rows, **{column: images[column] for column in ("place", "split", *columns)}
            )


def _kept(store: Store, info: FileInfo, side: Side) -> pa.Table:
    """The kept rows of one file of decisions: `row` (their number there), member, place and split."""
    table = _read(store, info, ["source", "shard", "member", "decision", "split"])
    names = [table[name] for name in ("source", "shard", "member")]
    table = table.append_column("place", pc.binary_join_element_wise(*names, "/"))
    table = table.append_column("row", pa.array(range(table.num_rows), pa.int64()))
    chosen = pc.equal(table["split"], "eval")
    chosen = pc.and_(pc.equal(table["decision"], "kept"), chosen if side == "eval" else pc.invert(chosen))
    return table.filter(chosen).select(["row", "member", "place", "split"])


def _images(count: int, **columns: pa.Array | pa.ChunkedArray) -> pa.Table:
    """Returns a table of images; the columns that are not given are null."""
    return pa.table([columns.get(one.name, pa.nulls(count, one.type)) for one in IMAGES], IMAGES)


def _read(store: Store, info: FileInfo, columns: list[str]) -> pa.Table:
    with store.open(info.path) as file:
        return opened(file).read(columns)


@dataclass
class Held:
    """The images of `eval`, by digest and by hash, each with the first place that shows it."""

    distance: int | None
    digests: dict[str, dict[str, str]] = field(default_factory=lambda: {"the bytes": {}, "the pixels": {}})
    hashes: dict[int, str] = field(default_factory=dict)

    def add(self, images: pa.Table) -> None:
        """Remembers images of evaluation rows or samples."""
        places = images["place"].to_pylist()
        for name, what in _SAME.items():
            for digest, place in zip(images[name].to_pylist(), places, strict=True):
                if digest:
                    self.digests[what].setdefault(digest, place)
        for number, place in zip(images["phash"].to_pylist(), places, strict=True):
            if number is not None:
                self.hashes.setdefault(number, place)

    def shown(self, images: pa.Table) -> Iterator[str]:
        """Yields a sentence for each of these images that is one of those."""
        found: dict[int, str] = self._near(images)
        for name, what in reversed(_SAME.items()):
            digests = self.digests[what]
            for number, digest in enumerate(images[name].to_pylist()):
                if (twin := digests.get(digest or "")) is not None:
                    found[number] = f"has {what} of {twin}"
        for number, says in sorted(found.items()):
            place, split = (images[name][number].as_py() for name in ("place", "split"))
            yield f"{place} is in {split} and {says}, which is in eval"

    @cached_property
    def _index(self) -> Nearest:
        """Made at the first look, when all images of `eval` are known."""
        return Nearest(np.array(list(self.hashes), np.uint64), self.distance or 0)

    @cached_property
    def _places(self) -> list[str]:
        return list(self.hashes.values())

    def _near(self, images: pa.Table) -> dict[int, str]:
        """What is said of each image that is near one of `eval`, by its number."""
        if self.distance is None or not self.hashes:
            return {}
        hashed = np.flatnonzero(images["phash"].is_valid().to_numpy())
        wanted: U64 = images["phash"].drop_null().to_numpy().astype(np.uint64)
        at, apart = self._index.find(wanted)
        return {
            number: f"is {bits} bits from {self._places[place]}"
            for number, place, bits in zip(hashed.tolist(), at.tolist(), apart.tolist(), strict=True)
            if place >= 0
        }
