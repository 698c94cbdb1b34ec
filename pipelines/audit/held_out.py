"""Do evaluation and training share an image? Checked again from `work/`, pair by pair."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.hamming import U64, Nearest
from pipelines.files import FileInfo, Store
from pipelines.parquet import by_member
from schemas.errors import InputError
from schemas.manifest import Manifest
from schemas.parquet import opened

_DIGESTS: Final = ("sha256", "pixels")
_SHOWN: Final = 10


def leaks(store: Store, files: Mapping[str, FileInfo], manifest: Manifest) -> Iterator[str]:
    """One sentence for each kept row of another split that shows the image of a kept evaluation row.

    Two rows show one image where their bytes or pixels are equal, or their perceptual hashes lie within
    the distance that the manifest names. Ten are named, the others counted. Nothing is checked where
    `work/` is gone, or no sample is in `eval`.
    """
    if not any(count.split == "eval" for count in manifest.samples):
        return
    names = [name for name in files if name.startswith("work/decisions/")]
    try:
        held = _Held(_distance(manifest))
        for name in names:
            held.add(_kept(store, files, name, evaluation=True))
        found = [one for name in names for one in held.shown(_kept(store, files, name, evaluation=False))]
    except (pa.ArrowException, InputError, OSError, KeyError) as error:
        yield f"work/signals: cannot be compared with work/decisions: {' '.join(str(error).split())}"
        return
    yield from found[:_SHOWN]
    if len(found) > _SHOWN:
        yield f"{len(found) - _SHOWN:,} further rows show images of evaluation rows"


def _distance(manifest: Manifest) -> int | None:
    """The distance that evaluation images were protected by; None in corpora that know of none."""
    limits = [rules["eval"] for rules in manifest.thresholds.values() if "eval" in rules]
    distances = [one["distance"] for one in limits if isinstance(one, Mapping)]
    return min((one for one in distances if isinstance(one, int)), default=None)


def _kept(store: Store, files: Mapping[str, FileInfo], name: str, *, evaluation: bool) -> pa.Table:
    """The kept rows of one file of decisions, of `eval` or of the other splits, with their images' values."""
    decisions = _read(store, files[name], ["source", "shard", "member", "decision", "split"])
    decisions = decisions.append_column("row", pa.array(range(decisions.num_rows), pa.int64()))
    kept = decisions.filter(pc.equal(decisions["decision"], "kept"))
    chosen = pc.equal(kept["split"], "eval")
    kept = kept.filter(chosen if evaluation else pc.invert(chosen))
    if not kept.num_rows:
        return kept.select(["source", "shard", "member"])
    signals = name.replace("work/decisions/", "work/signals/", 1)
    if signals not in files:
        raise InputError(f"{signals} is missing")
    table = _read(store, files[signals], ["member", *_DIGESTS, "phash"])
    for column in (*_DIGESTS, "phash"):
        kept = kept.append_column(column, by_member(table, column, kept["member"]))
    further = files.get(name.replace("work/decisions/", "work/further/", 1))
    if further is None:
        return kept
    images = _read(store, further, [*_DIGESTS, "phash", "row"])
    images = images.join(kept.drop_columns([*_DIGESTS, "phash"]), "row", join_type="inner")
    return pa.concat_tables([kept, images.select(kept.column_names).sort_by("row")])


def _read(store: Store, info: FileInfo, columns: list[str]) -> pa.Table:
    with store.open(info.path) as file:
        return opened(file).read(columns)


@dataclass
class _Held:
    """The images of the evaluation rows, by digest and by hash, each with the first row that shows it."""

    distance: int | None
    digests: dict[str, dict[str, str]] = field(default_factory=lambda: {name: {} for name in _DIGESTS})
    hashes: dict[int, str] = field(default_factory=dict)

    def add(self, kept: pa.Table) -> None:
        """Remember the images of evaluation rows."""
        for row in kept.to_pylist():
            for name in _DIGESTS:
                if row.get(name):
                    self.digests[name].setdefault(row[name], _place(row))
            if row.get("phash") is not None and row.get("sha256"):
                self.hashes.setdefault(row["phash"], _place(row))

    def shown(self, kept: pa.Table) -> Iterator[str]:
        """A sentence for each of these rows that shows such an image."""
        rows = kept.to_pylist()
        near = self._near(rows)
        for number, row in enumerate(rows):
            for name, what in (("sha256", "the bytes"), ("pixels", "the pixels")):
                twin = self.digests[name].get(row.get(name) or "")
                if twin is not None:
                    yield f"{_place(row)} is in {row['split']} and has {what} of {twin}, which is in eval"
                    break
            else:
                if number in near:
                    twin, bits = near[number]
                    yield f"{_place(row)} is in {row['split']}, {bits} bits from {twin}, which is in eval"

    @cached_property
    def _index(self) -> Nearest:
        """Made at the first look, when all evaluation rows are known."""
        return Nearest(np.array(list(self.hashes), np.uint64), self.distance or 0)

    def _near(self, rows: list[dict[str, Any]]) -> dict[int, tuple[str, int]]:
        """For each row near an evaluation image that row's place and the bits between them."""
        if self.distance is None or not self.hashes:
            return {}
        hashed = [
            number for number, row in enumerate(rows) if row.get("phash") is not None and row.get("sha256")
        ]
        wanted: U64 = np.array([rows[number]["phash"] for number in hashed], np.uint64)
        at, apart = self._index.find(wanted)
        places = list(self.hashes.values())
        return {
            number: (places[place], bits)
            for number, place, bits in zip(hashed, at.tolist(), apart.tolist(), strict=True)
            if place >= 0
        }


def _place(row: Mapping[str, Any]) -> str:
    return f"{row['source']}/{row['shard']}/{row['member']}"
