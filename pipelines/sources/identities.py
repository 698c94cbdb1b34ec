"""What changes when an input shard's content does; of local files it is read again only where they were touched.

work/receipts/inputs.parquet holds size, times and digest of the files that were read. It says where reading can be
saved, and nothing else: without it every input is read once more.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from pipelines.files import Digests, FileInfo, Store, join
from pipelines.layout import Layout, Name
from pipelines.parquet import read_table, write_tables
from pipelines.sources.rows import identity, options_of
from pipelines.sources.shard import InputShard
from pipelines.sources.table import KINDS
from schemas.errors import DamagedError

if TYPE_CHECKING:
    from pipelines.recipe.model import Recipe

_SEEN: Final = pa.schema([(name, pa.binary()) for name in ("path", "look", "digest")])
_AT_ONCE: Final = 8


class Identities:
    """The identities of the input shards of one corpus."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._path = join(layout.work, "receipts", "inputs.parquet")
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
    def _saved(self) -> pa.Table:
        """What earlier runs remembered; nothing where it cannot be read."""
        try:
            return read_table(self._layout, self._path).select(_SEEN.names).cast(_SEEN)
        except (DamagedError, KeyError, ValueError):
            return _SEEN.empty_table()

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


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
