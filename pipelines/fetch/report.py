"""What became of the URLs: link rot by host and class, and the images that many hosts serve in the place of others."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import duckdb
import pyarrow as pa

from pipelines.fetch.raw import STATUS, Raw
from pipelines.fetch.statuses import BAD_ROW, DROPPED, NO_URL, OK, UNSAFE, again, not_public
from pipelines.files import join
from pipelines.layout import Layout
from pipelines.parquet import read_table, write_tables
from pipelines.recipe.model import Source
from schemas.plain import many

_READ: Final = pa.schema([STATUS.field(name) for name in ("url", "caption", "status", "sha256")])
_HOST: Final = r"""CASE WHEN status <> 'bad_url' AND NOT contains(url, '\') THEN nullif(rtrim(lower(regexp_extract(
    url, '^\s*[A-Za-z][A-Za-z0-9+.-]*://(?:[^/?#]*@)?(\[[^\]/?#]*\]|[^/?#:\s]*)', 1)), '.'), '') END"""
"""Of a URL, without user and port; null where there is none that all programs read alike."""
_ROT: Final = f"""
SELECT {_HOST} AS host, status, count(*)::BIGINT AS urls FROM statuses
WHERE status <> '{DROPPED}' GROUP BY ALL ORDER BY urls DESC, host, status
"""
_TOMBSTONES: Final = f"""
SELECT sha256, count(DISTINCT url)::BIGINT AS n_urls, count(DISTINCT {_HOST})::BIGINT AS n_hosts,
       count(DISTINCT caption)::BIGINT AS n_captions, min(url) AS example
FROM statuses WHERE status = '{OK}' GROUP BY sha256
HAVING n_hosts >= ? AND n_captions >= ? ORDER BY n_urls DESC, sha256
"""


class Report:
    """Reads the statuses of a source as a whole, out of core, and writes two tables beside the log of the run."""

    def __init__(self, layout: Layout, raw: Raw, source: Source) -> None:
        self._layout, self._raw, self._source = layout, raw, source
        self._tombstones = 0

    def write(self, names: Sequence[str]) -> None:
        """Writes hosts.parquet and tombstones.parquet of a source; `names` are its raw shards."""
        if not names:
            return
        least = self._source.fetch.tombstone_hosts
        with duckdb.connect() as connection:
            connection.execute("SET threads = 1")
            for kind, query, given in (("hosts", _ROT, []), ("tombstones", _TOMBSTONES, [least, least])):
                # pyarrow's datasets would bring pandas along, which takes longer to load than a small list to fetch
                reader = pa.RecordBatchReader.from_batches(_READ, self._batches(names))
                connection.register("statuses", reader)
                table: pa.Table = connection.sql(query, params=given).to_arrow_table()
                path = join(self._layout.work, "fetch", self._source.id, f"{kind}.parquet")
                write_tables(self._layout, path, table.schema, [table])
                self._tombstones = table.num_rows

    def _batches(self, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for name in names:
            yield from read_table(self._layout, self._raw.status(name), _READ.names).cast(_READ).to_batches()

    def sentences(self, counts: Counter[str]) -> Iterator[str]:
        """Yields what a person should know: what came, what the rules saved, what failed, what is served too often."""
        who, rows = f"source {self._source.id}", counts.total()
        asked = rows - counts[DROPPED] - counts[BAD_ROW] - counts[NO_URL]
        yield f"{who}: {counts[OK]:,} of {many(asked, 'URL')} gave an image ({_percent(counts[OK], asked)})"
        if counts[DROPPED]:
            saved = f"{counts[DROPPED]:,} of {many(rows, 'row')} ({_percent(counts[DROPPED], rows)})"
            yield f"{who}: the rules over the list's columns saved the download of {saved}"
        failed = [(status, count) for status, count in counts.most_common() if status not in (OK, DROPPED)]
        if failed:
            yield f"{who}: no image: {', '.join(f'{status} {count:,}' for status, count in failed)}"
        if passing := sum(count for status, count in failed if again(status)):
            yield f"{who}: {passing:,} of them may come later: fetch with --retry-failed asks for these again"
        if counts[UNSAFE]:
            yield f"{who}: {not_public(counts[UNSAFE])}"
        if self._tombstones:
            path = join(self._layout.work, "fetch", self._source.id, "tombstones.parquet")
            images = many(self._tombstones, "image")
            yield f"{who}: many hosts serve {images} under many captions: look at {path}"


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"
