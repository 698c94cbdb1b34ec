"""What changes when an input shard's content does; of local files it is read again only where they were touched.

work/receipts/inputs.parquet holds size, times and digest of the files that were read, and cuts.parquet where large
Parquet files are cut into parts. They say where reading can be saved, and nothing else: without them every input is
read once more.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from pipelines.files import Digests, FileInfo, Store, join
from pipelines.layout import Layout, Name
from pipelines.parquet import read_table, write_tables
from pipelines.sources.parts import Cuts
from pipelines.sources.rows import identity, options_of
from pipelines.sources.shard import InputShard
from pipelines.sources.table import KINDS
from schemas.errors import DamagedError

if TYPE_CHECKING:
    from pipelines.recipe.model import Recipe

_SEEN: Final = pa.schema([(name, pa.binary()) for name in ("path", "look", "digest")])
_CUT: Final = pa.schema([("path", pa.binary()), ("look", pa.binary()), ("cut", pa.list_(pa.int64()))])
_AT_ONCE: Final = 8


class Identities:
    """The identities of the input shards of one corpus."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = join(layout.work, "receipts", "inputs.parquet")
        self._cuts_path = join(layout.work, "receipts", "cuts.parquet")
        self._listed: dict[tuple[str, str], FileInfo] = {}

    def list(self, source: str, files: Mapping[str, FileInfo]) -> None:
        """Takes what a listing says of a source's input shards, by path: a store is not asked about these again."""
        self._listed |= {(source, path): info for path, info in files.items()}

    @cached_property
    def digests(self) -> Digests:
        """Digests of local files, with those that earlier runs remembered."""
        columns = [[_text(value) for value in self._saved[name].to_pylist()] for name in _SEEN.names]
        return Digests({path: (look, digest) for path, look, digest in zip(*columns, strict=True)})

    @cached_property
    def cuts(self) -> Cuts:
        """Returns where large Parquet files are cut, as far as earlier runs remembered it."""
        path, looks, cuts = (self._saved_cuts[name].to_pylist() for name in _CUT.names)
        known = zip(map(_text, path), zip(map(_text, looks), map(tuple, cuts), strict=True), strict=True)
        return Cuts(dict(known))

    @cached_property
    def _saved(self) -> pa.Table:
        return self._read(self._path, _SEEN)

    @cached_property
    def _saved_cuts(self) -> pa.Table:
        return self._read(self._cuts_path, _CUT)

    def _read(self, path: str, schema: pa.Schema) -> pa.Table:
        """Returns what earlier runs remembered; nothing where it cannot be read."""
        try:
            return read_table(self._layout, path).select(schema.names).cast(schema)
        except (DamagedError, KeyError, ValueError):
            return schema.empty_table()

    def of(
        self, recipe: "Recipe", shards: Sequence[InputShard], rendered: Mapping[Name, Any]
    ) -> dict[Name, str]:
        """Returns the identity of each shard; `rendered` has the receipts of those that the build itself made.

        Afterwards nothing is held: before it is called again, sources have to be listed again.
        """
        found: dict[Name, str] = {}
        asked: dict[tuple[str, str], list[InputShard]] = {}
        store = Store(None, "", self.digests)
        for shard in shards:
            kind = KINDS[recipe.source(shard.source).kind]
            info = self._listed.get((shard.source, shard.path))
            if kind.made:
                # as it was made: removed rows are taken out of the file later
                known: str | None = str(rendered[(shard.source, shard.shard)]["sha256"])
            else:
                known = store.known_identity(info) if info and not KINDS[shard.kind].identity else None
            if known is None:
                asked.setdefault((shard.source, KINDS[shard.kind].held_in(shard)), []).append(shard)
            else:
                found[(shard.source, shard.shard)] = known
        self._ask(recipe, list(asked.values()), found)
        self._remember()
        for shard in shards:
            if shard.rows is not None:
                found[(shard.source, shard.shard)] += f" {shard.rows[0]}-{shard.rows[1]}"
        self._listed.clear()
        del self.digests, self._saved
        return found

    def _ask(self, recipe: "Recipe", groups: Sequence[Sequence[InputShard]], found: dict[Name, str]) -> None:
        """Adds the identities of shards, of each group of them one, which the store is asked for or files are read."""

        def one(group: Sequence[InputShard]) -> str:
            source = recipe.source(group[0].source)
            info = self._listed.get((source.id, group[0].path))
            return identity(group[0], source, options_of(source, self._layout), self.digests, info)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for group, mark in zip(groups, pool.map(one, groups), strict=True):
                found |= {(shard.source, shard.shard): mark for shard in group}

    def _remember(self) -> None:
        known = self.digests.remembered()
        columns = [
            list(known),
            [look for look, _ in known.values()],
            [digest for _, digest in known.values()],
        ]
        arrays = [pa.array([_bytes(value) for value in column], pa.binary()) for column in columns]
        table = pa.Table.from_arrays(arrays, schema=_SEEN)
        if table != self._saved:
            write_tables(self._layout, self._path, _SEEN, [table])
            self._saved = table
        cuts = [(_bytes(path), look.encode(), cut) for path, (look, cut) in self.cuts.remembered().items()]
        table = pa.Table.from_pylist([dict(zip(_CUT.names, one, strict=True)) for one in cuts], _CUT)
        if table != self._saved_cuts:
            write_tables(self._layout, self._cuts_path, _CUT, [table])
            self._saved_cuts = table


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
