"""What changes when an input shard's content does; of local files it is read again only where they were touched.

work/receipts/inputs.parquet holds size, times and digest of the files that were read. It says where reading can be
saved, and nothing else: without it every input is read once more.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from pipelines.files import Digests, join
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
        self._saved: dict[str, tuple[str, str]] = {}

    @cached_property
    def digests(self) -> Digests:
        """Digests of local files, with those that earlier runs remembered."""
        try:
            table = read_table(self._layout, self._path)
            columns = [[_text(value) for value in table[name].to_pylist()] for name in _SEEN.names]
        except (DamagedError, KeyError):
            columns = [[], [], []]
        self._saved = {path: (look, digest) for path, look, digest in zip(*columns, strict=True)}
        return Digests(self._saved)

    def of(
        self, recipe: "Recipe", shards: Sequence[InputShard], rendered: Mapping[Name, Any]
    ) -> dict[Name, str]:
        """Returns the identity of each shard; `rendered` has the receipts of those that the build itself made."""
        digests = self.digests

        def one(shard: InputShard) -> str:
            source = recipe.source(shard.source)
            if KINDS[source.kind].made:
                # as it was made: removed rows are taken out of the file later
                return str(rendered[(shard.source, shard.shard)]["sha256"])
            return identity(shard, source, options_of(source, self._layout), digests)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            found = list(pool.map(one, shards))
        self._remember(digests.remembered())
        return {(shard.source, shard.shard): mark for shard, mark in zip(shards, found, strict=True)}

    def _remember(self, known: dict[str, tuple[str, str]]) -> None:
        if known == self._saved:
            return
        columns = [
            list(known),
            [look for look, _ in known.values()],
            [digest for _, digest in known.values()],
        ]
        arrays = [pa.array([_bytes(value) for value in column], pa.binary()) for column in columns]
        write_tables(self._layout, self._path, _SEEN, [pa.Table.from_arrays(arrays, schema=_SEEN)])
        self._saved = known


def _bytes(value: str) -> bytes:
    return value.encode("utf-8", "surrogateescape")


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
