"""What the receipts of phase shard come to: counts, and the files as the manifest names them.

Each receipt is read once and let go: of half a million shards not even their names are held as text.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice

import pyarrow as pa

from pipelines.engines.step import Json
from pipelines.phases.shard import MOST_LICENCES, most_common
from schemas.manifest import SampleCount, ViewCount
from schemas.manifest_files import LIST

_AT_ONCE = 1_024


@dataclass
class Written:
    """The shards of a corpus: their files as rows of a list, sorted by name, and what they hold."""

    files: pa.Table = field(default_factory=LIST.empty_table)
    _samples: dict[tuple[str, str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _views: dict[tuple[str, str, str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    _licences: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    _places: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, receipts: Iterable[Json]) -> "Written":
        """Returns what these receipts say; those of a folder come in the order of its data."""
        found, left = cls(), iter(receipts)
        tables = [found.files]
        while rows := [row for receipt in islice(left, _AT_ONCE) for row in found._add(receipt)]:
            tables.append(pa.Table.from_pylist(rows, LIST))
        found.files = pa.concat_tables(tables).sort_by("name")
        return found

    def _add(self, receipt: Json) -> Iterator[Json]:
        """Counts a receipt in; yields its files, of which the last holds the samples."""
        folder = receipt["files"][0]["name"].rpartition("/")[0]
        _, split, group, source = folder.split("/")
        self._samples[split, group, source].update({name: receipt[name] for name in ("samples", "images")})
        for task, language, count in receipt["views"]:
            self._views[split, group, task, source][language] += count
        self._licences[source].update(receipt["licences"])
        *indexes, last = receipt["files"]
        yield from ({**index, "place": None} for index in indexes)
        yield {**last, "place": self._places[folder]}
        self._places[folder] += 1

    @property
    def samples(self) -> tuple[SampleCount, ...]:
        """How many samples and images there are, by split, group and source."""
        return tuple(
            SampleCount(
                split=split, group=group, source=source, samples=counts["samples"], images=counts["images"]
            )
            for (split, group, source), counts in sorted(self._samples.items())
        )

    @property
    def views(self) -> tuple[ViewCount, ...]:
        """How many views there are, by split, group, task and source, and by language."""
        return tuple(
            ViewCount(
                split=split,
                group=group,
                task=task,
                source=source,
                views=languages.total(),
                languages=dict(sorted(languages.items())),
            )
            for (split, group, task, source), languages in sorted(self._views.items())
        )

    @property
    def licences(self) -> dict[str, dict[str, int]]:
        """How many views of each source are under each licence."""
        return {
            source: most_common(counts, MOST_LICENCES) for source, counts in sorted(self._licences.items())
        }
