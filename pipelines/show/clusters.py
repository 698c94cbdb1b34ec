"""`vlcorpus clusters`: the largest clusters of like images, and those that are most in doubt, as a page.

In doubt is a cluster with a member that is barely one: at the distance of hashes that the rule allows, or with a sketch
that is hardly like the centre's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.sketch import apart, weak
from pipelines.files import Store, join
from pipelines.layout import Layout
from pipelines.opening import open_manifest, tables
from pipelines.parquet import by_member, read_table
from pipelines.phases.dedup.signals import CAPTION, sketch_words
from pipelines.recipe.model import Recipe
from pipelines.show import gallery, inspect
from pipelines.sources import fetch, input_shards
from pipelines.sources.table import KINDS as SOURCE_KINDS
from schemas.errors import InputError

KIND: Final = "phash"
HELD_OUT: Final = "eval"
"""The split of rows held out for evaluation."""
_HELD: Final = "held out for evaluation"
MEMBERS: Final = 8
"""So many members of a cluster are shown, the centre and those farthest from it."""
CANDIDATES: Final = 20_000
"""So many memberships, those with the most bits between the hashes, are looked at for doubts."""

Place = tuple[str, str, str]
"""(source, shard, member)."""


@dataclass(frozen=True)
class Member:
    """A row of a cluster; `apart` is 1 where its sketch is just like enough to the centre's."""

    place: Place
    key: str
    distance: int
    apart: float
    quality: float
    fate: str
    kept: bool
    caption: str
    sketch: bytes
    offset: int | None

    @property
    def facts(self) -> str:
        """What is measured about it."""
        return f"{self.distance} bits · sketch {self.apart:.2f} · quality {self.quality:.2f}"


@dataclass(frozen=True)
class Cluster:
    """A cluster with some of its members, its centre first."""

    key: str
    rows: int
    members: tuple[Member, ...]

    @property
    def counts(self) -> str:
        """Returns how many of the members shown are kept, held out for evaluation where some are, and dropped."""
        held = sum(one.fate == _HELD for one in self.members)
        kept = sum(one.kept for one in self.members)
        middle = f", {held} {_HELD}" if held else ""
        return f"{kept - held} kept{middle}, {len(self.members) - kept} dropped"

    @property
    def doubt(self) -> float:
        """How near to its limit the member is that is most in doubt."""
        return max(one.apart for one in self.members)

    @property
    def distance(self) -> int:
        """The most bits between a member's hash and the centre's."""
        return max(one.distance for one in self.members)


@dataclass(frozen=True)
class Found:
    """The clusters of a corpus that are worth a look."""

    count: int
    rows: int
    largest: tuple[Cluster, ...]
    doubtful: tuple[Cluster, ...]


def find(folder: str, n: int, options: Mapping[str, Any] | None = None) -> Found:
    """Returns the `n` largest clusters, and the `n` most in doubt. Raises InputError where the corpus has none."""
    open_manifest(folder, options)
    table = tables(folder, options)["clusters"].to_table(filter=pc.field("kind") == KIND)
    if not table.num_rows:
        raise InputError(
            f"{folder} has no clusters of like images: no two hashes are near, or the rule phash is off"
        )
    sizes = table.group_by("cluster").aggregate([([], "count_all")])
    sizes = sizes.sort_by([("count_all", "descending"), ("cluster", "ascending")])
    rows_of = dict(zip(sizes["cluster"].to_pylist(), sizes["count_all"].to_pylist(), strict=True))
    far = table.filter(pc.greater(table["distance"], 0))
    far = far.sort_by([("distance", "descending"), ("cluster", "ascending")]).slice(0, CANDIDATES)
    names = list(rows_of)[:n]
    wanted = {*names, *far["cluster"].to_pylist()}
    chosen = table.filter(pc.is_in(table["cluster"], value_set=pa.array(sorted(wanted), pa.string())))
    clusters = _clusters(Layout(folder, options=dict(options or {})), chosen, rows_of)
    doubtful = sorted(clusters.values(), key=lambda one: (-one.doubt, -one.distance, one.key))
    return Found(
        len(rows_of),
        table.num_rows,
        tuple(clusters[name] for name in names if name in clusters),
        tuple(one for one in doubtful if len(one.members) > 1)[:n],
    )


@dataclass(frozen=True)
class Common:
    """A caption, its rows, and how many of them are kept for training and held out for evaluation."""

    caption: str
    rows: int
    kept: int
    held_out: int


def boilerplate(folder: str, n: int, options: Mapping[str, Any] | None = None) -> list[Common]:
    """Returns the `n` commonest captions; none of removed rows.

    There are some where the rule max_per_caption is on: otherwise captions have no clusters.
    """
    found = tables(folder, options)
    members = found["clusters"].to_table(filter=pc.field("kind") == CAPTION)
    decided = found["decisions"].to_table(columns=[*_ROW, "reason", "split"])
    members = members.join(decided, keys=_ROW, join_type="inner")
    members = members.filter(pc.fill_null(pc.not_equal(members["reason"], "removed"), True))
    held_out = pc.fill_null(pc.equal(members["split"], HELD_OUT), False)
    kept = pc.and_not(pc.is_valid(members["split"]), held_out)
    members = members.append_column("kept", pc.cast(kept, pa.int64()))
    members = members.append_column("held_out", pc.cast(held_out, pa.int64()))
    members = members.sort_by([("cluster", "ascending"), ("key", "ascending")])
    sizes = members.group_by("cluster", use_threads=False).aggregate(
        [([], "count_all"), ("kept", "sum"), ("held_out", "sum"), *((name, "first") for name in _ROW)]
    )
    sizes = sizes.sort_by([("count_all", "descending"), ("cluster", "ascending")]).slice(0, n)
    records = [{name: one[f"{name}_first"] for name in _ROW} | one for one in sizes.to_pylist()]
    known = _rows(Layout(folder, options=dict(options or {})), records)
    return [
        Common(known[_place(one)]["caption"] or "", one["count_all"], one["kept_sum"], one["held_out_sum"])
        for one in records
    ]


_ROW: Final = ["source", "shard", "member"]


def _clusters(layout: Layout, chosen: pa.Table, rows_of: Mapping[str, int]) -> dict[str, Cluster]:
    """The clusters of memberships by name, of each its centre and the members farthest from it."""
    order = pc.sort_indices(
        chosen.append_column("centre", pc.equal(chosen["key"], chosen["cluster"])),
        [
            ("cluster", "ascending"),
            ("centre", "descending"),
            ("distance", "descending"),
            ("key", "ascending"),
        ],
    )
    chosen = chosen.take(order)
    named = chosen["cluster"].to_pylist()
    shown = [at for at, name in enumerate(named) if at < MEMBERS or named[at - MEMBERS] != name]
    records = chosen.take(pa.array(shown, pa.int64())).to_pylist()
    known = _rows(layout, records)
    found: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        row = known[_place(record)]
        if row["reason"] != "removed":  # what was removed is shown nowhere
            found.setdefault(record["cluster"], []).append({**record, **row})
    return {name: Cluster(name, rows_of[name], _members(rows)) for name, rows in found.items()}


def _place(record: Mapping[str, Any]) -> Place:
    return record["source"], record["shard"], record["member"]


def _rows(layout: Layout, records: Sequence[Mapping[str, Any]]) -> dict[Place, dict[str, Any]]:
    """What signals and decisions know of rows, shard by shard."""
    shards: dict[tuple[str, str], list[str]] = {}
    for record in records:
        shards.setdefault((record["source"], record["shard"]), []).append(record["member"])
    found: dict[Place, dict[str, Any]] = {}
    for (source, shard), members in shards.items():
        wanted = pa.chunked_array([pa.array(members, pa.string())])
        columns: dict[str, list[Any]] = {}
        for name, names in _COLUMNS.items():
            table = read_table(layout, layout.path(name, source, shard), ["member", *names])
            columns |= {column: by_member(table, column, wanted).to_pylist() for column in names}
        for at, member in enumerate(members):
            found[source, shard, member] = {name: values[at] for name, values in columns.items()}
    return found


_COLUMNS: Final = {
    "signals": ("sketch", "phash_quality", "caption", "offset"),
    "decisions": ("decision", "reason", "split"),
}


def _members(rows: Sequence[Mapping[str, Any]]) -> tuple[Member, ...]:
    words = sketch_words(pa.array([row["sketch"] for row in rows], pa.binary(len(rows[0]["sketch"]))))
    is_weak = weak(words)
    away = apart(words, np.repeat(words[:1], len(words), axis=0), is_weak | is_weak[0])
    return tuple(
        Member(
            _place(row),
            row["key"],
            row["distance"],
            float(share),
            row["phash_quality"],
            _fate(row),
            row["decision"] == "kept",
            row["caption"] or "",
            row["sketch"],
            row["offset"],
        )
        for row, share in zip(rows, away, strict=True)
    )


def _fate(row: Mapping[str, Any]) -> str:
    """What became of a row; one that is held out for evaluation is kept, and no training row."""
    if row["decision"] != "kept":
        return f"{row['decision']}: {row['reason']}"
    return _HELD if row["split"] == HELD_OUT else "kept"


def page(folder: str, found: Found, images: Mapping[Place, bytes]) -> str:
    """Returns the page; a member whose image is not given is drawn from its sketch."""
    parts = [
        ("Largest clusters", found.largest),
        ("Most in doubt", found.doubtful),
    ]
    return gallery.template("clusters.html.jinja").render(
        title=f"Clusters of {folder}",
        found=found,
        parts=parts,
        images=images,
    )


def write(out: Path, text: str) -> None:
    """Writes a page. Raises InputError where it cannot be written."""
    try:
        out.write_text(text, "utf-8")
    except OSError as error:
        raise InputError(f"cannot write {out}: {(error.strerror or 'no access').lower()}") from error


def images(
    folder: str, found: Found, recipe: Recipe | None, options: Mapping[str, Any] | None = None
) -> dict[Place, bytes]:
    """Returns the members' images: from the recipe's inputs, and of rows kept that these lack from the shards."""
    members = {one.place: one for cluster in (*found.largest, *found.doubtful) for one in cluster.members}
    known = dict(_of_inputs(recipe, members)) if recipe else {}
    others = {place: one for place, one in members.items() if place not in known and one.kept}
    return known | (dict(_of_shards(folder, others, options)) if others else {})


def strangers(folder: str, recipe: Recipe, options: Mapping[str, Any] | None = None) -> list[str]:
    """Returns the sources of a recipe that are none of the corpus's."""
    known = {source.id for source in open_manifest(folder, options).sources}
    return sorted({source.id for source in recipe.sources} - known)


def _of_inputs(recipe: Recipe, members: Mapping[Place, Member]) -> Iterator[tuple[Place, bytes]]:
    for source in recipe.sources:
        kind = SOURCE_KINDS[source.kind]
        if kind.made or kind.annotated:
            continue
        for shard in input_shards(source, recipe.read).shards:
            mine = [one for place, one in sorted(members.items()) if place[:2] == (shard.source, shard.shard)]
            wanted = [(one.place[2], one.offset) for one in mine]
            found = fetch(shard, source.columns, wanted, source.storage_options, recipe.read)
            yield from (((shard.source, shard.shard, member), data) for member, data in found)


def _of_shards(
    folder: str, members: Mapping[Place, Member], options: Mapping[str, Any] | None
) -> Iterator[tuple[Place, bytes]]:
    place_of = {one.key: place for place, one in members.items()}
    store = Store(options)
    for info in store.list_files(join(folder, "shards")):
        if not info.name.endswith(".parquet"):
            continue
        if any(key.partition("-")[0] in place_of for key in inspect.keys(store, info.path)):
            for shown in inspect.samples(info.path, None, store.options):
                place = place_of.get(shown.key.partition("-")[0])
                if place and len(shown.images) == 1:
                    yield place, shown.images[0]
