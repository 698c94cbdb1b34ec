"""The funnel, counted again from `work/decisions`."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipelines.files import FileInfo, Store
from pipelines.writers.columns import require_columns
from schemas.errors import InputError
from schemas.manifest import Funnel, Manifest
from schemas.row import DECISIONS


def recount(store: Store, files: Iterable[FileInfo], manifest: Manifest) -> Iterator[str]:
    """One sentence for each count of the funnel that differs from the decisions in `files`, if any.

    Reads every column, for the checksums of its pages.
    """
    infos = list(files)
    tally = _Tally(Counter(), Counter(), Counter())
    for info in infos:
        try:
            with store.open(info.path) as file:
                rows = pq.ParquetFile(file, page_checksum_verification=True)
                require_columns(rows, DECISIONS)
                for batch in rows.iter_batches(columns=DECISIONS.names):
                    tally.add(pa.Table.from_batches([batch]))
        except (pa.ArrowException, InputError, OSError, ValueError) as error:
            yield f"{info.name}: cannot be read as decisions: {' '.join(str(error).split())}"
            return
    for source in sorted({source for source, _ in tally.decisions} - manifest.funnel.keys(), key=str):
        yield f"work/decisions: the funnel knows no source {source}"
    for source, funnel in sorted(manifest.funnel.items()) if infos else []:
        for problem in tally.problems(source, funnel):
            yield f"source {source}: {problem}"


@dataclass(frozen=True, slots=True)
class _Tally:
    """Rows by (source, decision), by (source, decision, reason), and by (source, rule failed)."""

    decisions: Counter[tuple[str, str]]
    reasons: Counter[tuple[str, str, str | None]]
    failed: Counter[tuple[str, str]]

    def add(self, table: pa.Table) -> None:
        """Counts the rows of `table`."""
        for row in _count(table.select(["source", "decision", "reason"])):
            self.decisions[row["source"], row["decision"]] += row["count_all"]
            self.reasons[row["source"], row["decision"], row["reason"]] += row["count_all"]
        failed = table["failed"].combine_chunks()
        sources = table["source"].take(pc.list_parent_indices(failed))
        for row in _count(pa.table({"source": sources, "rule": pc.list_flatten(failed)})):
            self.failed[row["source"], row["rule"]] += row["count_all"]

    def problems(self, source: str, funnel: Funnel) -> Iterator[str]:
        told = {"kept": funnel.kept, "dropped": funnel.dropped, "quarantined": funnel.quarantined}
        for decision, n in told.items():
            found = self.decisions[source, decision]
            if found != n:
                yield f"the funnel counts {n:,} rows {decision}, work/decisions {found:,}"
        for rule in funnel.rules:
            first, failed = self.reasons[source, "dropped", rule.rule], self.failed[source, rule.rule]
            if (first, failed) != (rule.dropped, rule.failed):
                yield (
                    f"rule {rule.rule} dropped {rule.dropped:,} and failed {rule.failed:,} in the funnel, "
                    f"{first:,} and {failed:,} in work/decisions"
                )
        for error, n in funnel.errors.items():
            found = self.reasons[source, "quarantined", error]
            if found != n:
                yield f"the funnel counts {n:,} rows quarantined as {error}, work/decisions {found:,}"


def _count(table: pa.Table) -> list[dict[str, Any]]:
    return list(table.group_by(table.column_names).aggregate([([], "count_all")]).to_pylist())
