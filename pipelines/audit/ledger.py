"""Do the tables and receipts below work/ go with each other, row by row? No manifest names them."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.layout import Layout, Name, text_of
from pipelines.outputs import Output, difference
from pipelines.phases.table import PHASES
from pipelines.receipts import Disk, Receipts
from schemas.errors import InputError, VerifyError
from schemas.parquet import opened
from schemas.row import ANNOTATIONS, CLUSTERS, ROW, SCORES

_AT_ONCE: Final = 4
_NAMES: Final = (*(name for name, _ in ROW), "key")
_SIGNALS: Final = (*_NAMES, "error")
_DECISIONS: Final = (*_NAMES, "decision", "reason", "failed")


def ledger(folder: str, storage_options: Mapping[str, Any] | None = None) -> list[str]:
    """Returns one sentence for each thing below work/ that is damaged or contradicts the rest.

    Raises VerifyError where work/ was removed.
    """
    layout = Layout(folder, options=dict(storage_options or {}))
    if not layout.store.is_folder(layout.work):
        raise VerifyError(f"{layout.work} was removed: there is nothing below it to check")
    problems = list(_promised(layout))
    work = _Work(layout, {kind: {name: info.path for name, info in layout.listed(kind)} for kind in _TABLES})
    names = sorted({*work.paths["signals"], *work.paths["decisions"]})
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for found in pool.map(work.problems_of, names):
            problems += found
    problems += work.strays()
    problems += work.torn()
    return problems


_TABLES: Final = ("signals", "annotations", "clusters", "scores", "decisions")


def _promised(layout: Layout) -> Iterator[str]:
    """Yields one sentence for each damaged file of receipts, and each file of work/ that is not as its receipt says."""
    disk = Disk(layout)
    for phase in PHASES:
        receipts = Receipts(layout, phase.name, disk)
        for name in receipts.damaged:
            yield f"{name}: it is damaged: it holds no receipts"
        for name in sorted(receipts):
            for output in map(Output.from_json, receipts.outputs(name)):
                if output.name.startswith("work/"):  # the digests of all others stand in the manifest
                    what = difference(layout.store, output, disk.find(output.name), whole=True)
                    if what is not None:
                        yield f"{output.name}: {what.removeprefix('is ')}"


@dataclass
class _Work:
    """The tables below work/; `clusters` gathers members by (kind, cluster)."""

    layout: Layout
    paths: Mapping[str, Mapping[Name, str]]
    clusters: list[pa.Table] = field(default_factory=list)

    def problems_of(self, name: Name) -> list[str]:
        """Returns what is wrong with one input shard's files."""
        tables: dict[str, pa.Table] = {}
        problems = []
        for kind in _TABLES:
            path = self.paths[kind].get(name)
            if path is None:
                if kind in ("signals", "decisions"):
                    problems.append(f"work/{kind}/{text_of(name)}.parquet: missing")
                continue
            try:
                tables[kind] = self._read(path, kind)
            except (pa.ArrowException, InputError, OSError, KeyError) as error:
                problems.append(f"work/{kind}/{text_of(name)}.parquet: cannot be read: {_line(error)}")
        for kind, table in tables.items():
            problems += [f"work/{kind}/{text_of(name)}.parquet: {one}" for one in _misplaced(table, name)]
        if "signals" in tables:
            for kind in tables.keys() - {"signals"}:
                found = _against(kind, tables[kind], tables["signals"])
                problems += [f"work/{kind}/{text_of(name)}.parquet: {one}" for one in found]
        if "clusters" in tables:
            self.clusters.append(tables["clusters"].select(["kind", "cluster", "key"]))
        return sorted(problems)

    def _read(self, path: str, kind: str) -> pa.Table:
        """Returns a table's columns that are compared; reads all, for the checksums of their pages."""
        wanted = {
            "signals": _SIGNALS,
            "decisions": _DECISIONS,
            "annotations": ANNOTATIONS.names,
            "clusters": CLUSTERS.names,
            "scores": SCORES.names,
        }
        parts = []
        with self.layout.store.open(path) as file:
            rows = opened(file)
            for batch in rows.iter_batches():
                parts.append(batch.select(list(wanted[kind])))
            schema = pa.schema([rows.schema_arrow.field(name) for name in wanted[kind]])
        return pa.Table.from_batches(parts, schema)

    def strays(self) -> Iterator[str]:
        """Yields one sentence for each file of clusters or scores of an input shard that was never measured."""
        for kind in ("clusters", "scores"):
            for name in sorted(self.paths[kind].keys() - self.paths["signals"].keys()):
                yield f"work/{kind}/{text_of(name)}.parquet: no signals are of that input shard"

    def torn(self) -> Iterator[str]:
        """Yields one sentence for each cluster that is not named by its smallest key, or has one row alone."""
        if not self.clusters:
            return
        members = pa.concat_tables(self.clusters)
        members = members.filter(pc.not_equal(members["kind"], "eval"))
        found = members.group_by(["kind", "cluster"]).aggregate([("key", "min"), ("key", "count")])
        wrong = pc.or_(pc.not_equal(found["key_min"], found["cluster"]), pc.less(found["key_count"], 2))
        for row in found.filter(wrong).sort_by([("kind", "ascending"), ("cluster", "ascending")]).to_pylist():
            yield (
                f"work/clusters: the {row['kind']} cluster {row['cluster']} has {row['key_count']:,} rows, of which "
                f"{row['key_min']} is the smallest key: rows of it are missing"
            )


def _misplaced(table: pa.Table, name: Name) -> Iterator[str]:
    """Yields a sentence where rows are of another input shard."""
    for column, value in zip(("source", "shard"), name, strict=True):
        others = table[column].filter(pc.not_equal(table[column], value))
        if len(others) or table[column].null_count:
            yield f"it holds rows of {column} {others[0] if len(others) else None}"


def _against(kind: str, table: pa.Table, signals: pa.Table) -> Iterator[str]:
    """Yields a sentence where rows are not those of the signals, or say what cannot be."""
    at = pc.index_in(table["member"], value_set=signals["member"].combine_chunks())
    strange = pc.sum(pc.is_null(at)).as_py() or 0
    if strange:
        yield f"{strange:,} rows are not in the signals"
        return
    if kind == "annotations":
        return
    if (others := pc.sum(pc.not_equal(table["key"], signals["key"].take(at))).as_py()) or 0:
        yield f"{others:,} rows have another key than in the signals"
    if kind == "decisions":
        yield from _decided(table, signals)
    elif kind == "scores" and pc.count_distinct(table["member"]).as_py() != table.num_rows:
        yield "it holds a row twice"


def _decided(table: pa.Table, signals: pa.Table) -> Iterator[str]:
    """Yields a sentence where decisions are not one a row, or are none that the signals admit."""
    if table["member"].combine_chunks() != signals["member"].combine_chunks():
        yield f"{table.num_rows:,} decisions on {signals.num_rows:,} rows: not one a row, in their order"
        return
    by = {name: pc.equal(table["decision"], name) for name in ("kept", "dropped", "quarantined")}
    broken = pc.is_valid(signals["error"])
    checks = {
        "are of a decision that is none": pc.invert(
            pc.or_(pc.or_(by["kept"], by["dropped"]), by["quarantined"])
        ),
        "are quarantined without an error, or the other way round": pc.not_equal(by["quarantined"], broken),
        "are quarantined for another error than in the signals": pc.and_(
            by["quarantined"], pc.not_equal(table["reason"], signals["error"])
        ),
        "are kept with a reason": pc.and_(by["kept"], pc.is_valid(table["reason"])),
        "are dropped for no rule that failed": pc.and_(by["dropped"], pc.invert(_first_failed(table))),
    }
    for what, found in checks.items():
        if count := pc.sum(found).as_py():
            yield f"{count:,} rows {what}"


def _first_failed(table: pa.Table) -> pa.Array:
    """Returns for each row whether its reason is among the rules that it failed."""
    failed = table["failed"].combine_chunks()
    parents = pc.list_parent_indices(failed)
    same = pc.equal(pc.list_flatten(failed), table["reason"].combine_chunks().take(parents))
    return pc.is_in(
        pa.array(range(table.num_rows), pa.int64()), value_set=parents.filter(same).cast(pa.int64())
    )


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
