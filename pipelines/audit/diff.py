"""`vlcorpus diff`: what two corpora do differently: thresholds, decisions, keys.

DuckDB joins the Parquet files on disk, so their size is not bounded by memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from tempfile import TemporaryDirectory
from typing import Any, Final

import duckdb
import pyarrow as pa
from rich.console import Console

from pipelines.files import Store
from pipelines.layout import PART
from pipelines.manifest import read_manifest
from pipelines.opening import dataset
from schemas.errors import VerifyError
from schemas.manifest import Manifest
from schemas.row import DECISIONS

ABSENT: Final = "absent"
"""The label of a row that only the other corpus has."""

_MEMORY: Final = "1GB"
_KEYS: Final = pa.schema([("key", pa.string())])
_LABEL: Final = "decision || CASE WHEN reason IS NULL OR reason = '' THEN '' ELSE ':' || reason END"


@dataclass(frozen=True, slots=True)
class Setting:
    """A threshold that differs; None where one corpus has none."""

    source: str
    rule: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Row:
    """A row whose decision differs, as an example."""

    source: str
    shard: str
    member: str


@dataclass(frozen=True, slots=True)
class Move:
    """How many rows went from one decision to another, and the first few of them by name."""

    before: str
    after: str
    rows: int
    examples: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """Samples of one corpus that the other lacks: how many, and the first few of their keys."""

    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs between corpora `a` and `b`; `moves` is None where one has no work/decisions."""

    settings: tuple[Setting, ...]
    moves: tuple[Move, ...] | None
    gone: Keys
    new: Keys

    @property
    def same(self) -> bool:
        """True where nothing that is compared differs."""
        return not (self.settings or self.moves or self.gone.count or self.new.count)


def diff(
    a: str,
    b: str,
    examples: int = 5,
    storage_options: Mapping[str, Any] | None = None,
) -> Diff:
    """What changed from the corpus in folder `a` to the one in `b`, with up to `examples` of each kind.

    What does not fit into 1 GB of memory goes to TMPDIR. VerifyError where a folder holds no corpus.
    """
    sides = [_Side.read(folder, storage_options) for folder in (a, b)]
    with TemporaryDirectory(prefix="vlcorpus-") as spill, duckdb.connect(":memory:") as connection:
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute("SET preserve_insertion_order = false")
        connection.execute("SET temp_directory = $1", [spill])
        # it would look for extensions on the network
        connection.execute("SET autoinstall_known_extensions = false")
        for name, side in zip("ab", sides, strict=True):
            connection.register(f"{name}_rows", dataset(side.store, side.decisions, DECISIONS))
            connection.register(f"{name}_keys", dataset(side.store, side.indexes, _KEYS))
        try:
            moves = _moves(connection, examples) if all(side.decisions for side in sides) else None
            gone, new = _missing(connection, "a", "b", examples), _missing(connection, "b", "a", examples)
        except (duckdb.Error, pa.ArrowException) as error:
            why = " ".join(str(error).split())
            raise VerifyError(f"{a} and {b} cannot be compared: {why}") from error
    return Diff(_settings(sides[0].manifest, sides[1].manifest), moves, gone, new)


@dataclass(frozen=True, slots=True)
class _Side:
    """A corpus: its manifest, and the paths of its decisions and of the indexes of its shards."""

    store: Store
    manifest: Manifest
    decisions: list[str]
    indexes: list[str]

    @classmethod
    def read(cls, folder: str, options: Mapping[str, Any] | None) -> "_Side":
        store = Store(options)
        manifest = read_manifest(store, folder)
        files = [info for info in store.list_files(folder) if info.name.endswith(".parquet")]
        below = {
            name: [info.path for info in files if info.name.startswith(name)]
            for name in ("work/decisions/", "shards/")
        }
        return cls(store, manifest, *below.values())


def _settings(a: Manifest, b: Manifest) -> tuple[Setting, ...]:
    pairs = {(source, rule) for one in (a, b) for source, rules in one.thresholds.items() for rule in rules}
    found = []
    for source, rule in sorted(pairs):
        before, after = (one.thresholds.get(source, {}).get(rule) for one in (a, b))
        if before != after:
            found.append(Setting(source, rule, before, after))
    return tuple(found)


def _moves(connection: duckdb.DuckDBPyConnection, examples: int) -> tuple[Move, ...]:
    # members are those of the whole file, whose parts may have been cut elsewhere
    file = f"regexp_replace(shard, '{PART}$', '') AS file"
    rows = f"SELECT source, shard, {file}, member, {_LABEL} AS label"
    found = connection.execute(
        f"""
        SELECT coalesce(a.label, '{ABSENT}') AS before, coalesce(b.label, '{ABSENT}') AS after, count(*),
               min({{'source': source, 'shard': coalesce(b.shard, a.shard), 'member': member}}, {examples:d})
        FROM ({rows} FROM a_rows) a FULL JOIN ({rows} FROM b_rows) b USING (source, file, member)
        WHERE a.label IS DISTINCT FROM b.label
        GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2
        """
    ).fetchall()
    return tuple(
        Move(before, after, n, tuple(Row(**row) for row in some)) for before, after, n, some in found
    )


def _missing(connection: duckdb.DuckDBPyConnection, a: str, b: str, examples: int) -> Keys:
    """The keys of the samples of one side that the other lacks."""
    found = connection.execute(
        f"SELECT count(*), min(key, {examples:d}) FROM {a}_keys ANTI JOIN {b}_keys USING (key)"
    ).fetchone()
    count, first = found or (0, None)
    return Keys(count, tuple(first or ()))


def show(found: Diff, console: Console) -> None:
    """Print what differs, for a person."""
    if found.same:
        console.print("no difference in thresholds, decisions or keys")
        return
    for setting in found.settings:
        console.print(
            f"{setting.source}  {setting.rule}: {setting.before} -> {setting.after}",
        )
    for move in found.moves or ():
        console.print(f"{move.rows:>10,}  {move.before} -> {move.after}")
        for example in move.examples:
            console.print(
                f"            {example.source}/{example.shard}/{example.member}",
            )
    if found.moves is None:
        console.print("decisions were not compared: one of the two has no work/decisions")
    for name, keys in (("only in the first", found.gone), ("only in the second", found.new)):
        if keys.count:
            shown = ", ".join(keys.examples) + (" …" if keys.count > len(keys.examples) else "")
            console.print(f"{keys.count:,} samples {name}: {shown}")
