"""What became of each annotation, added up: the reason of its own, else that of its row."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import pyarrow.compute as pc

from pipelines.layout import Layout, Name
from pipelines.parquet import read_table
from schemas.manifest import AnnotationCount

_AT_ONCE: Final = 4
_SHOWN: Final = 5


def annotated(layout: Layout, names: Iterable[Name]) -> dict[str, AnnotationCount]:
    """Returns the sums of each source over the input shards of these names."""
    found: dict[str, Counter[str | None]] = {}
    listed = sorted(names)
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for (source, _), counts in zip(
            listed, pool.map(lambda name: _reasons(layout, name), listed), strict=True
        ):
            found.setdefault(source, Counter()).update(counts)
    return {source: _summed(counts) for source, counts in found.items()}


def _reasons(layout: Layout, name: Name) -> Counter[str | None]:
    """Returns how many annotations of a shard are lost for each reason, None for those that are kept."""
    own = read_table(layout, layout.path("annotations", *name), ["member", "reason"])
    rows = read_table(layout, layout.path("decisions", *name), ["member", "reason"])
    at = pc.index_in(own["member"], value_set=rows["member"].combine_chunks())
    reasons = pc.coalesce(own["reason"], rows["reason"].take(at))
    return Counter({one["values"]: one["counts"] for one in pc.value_counts(reasons).to_pylist()})


def _summed(counts: Counter[str | None]) -> AnnotationCount:
    lost = {reason: count for reason, count in sorted(counts.items(), key=str) if reason is not None}
    return AnnotationCount(annotations=counts.total(), kept=counts[None], lost=lost)


def recounted(layout: Layout, given: Mapping[str, AnnotationCount]) -> Iterator[str]:
    """Yields one sentence for each source whose annotations the tables below work/ count otherwise."""
    names = [name for name, _ in layout.listed("annotations")]
    counted = annotated(layout, names)
    for source in sorted(counted.keys() | given.keys()) if names else []:
        if counted.get(source) != given.get(source):
            yield (
                f"source {source}: the manifest counts {text(given.get(source))}, "
                f"work/annotations and work/decisions {text(counted.get(source))}"
            )


def text(one: AnnotationCount | None) -> str:
    """Returns the sums as a person reads them."""
    if one is None:
        return "no annotations"
    ordered = sorted(one.lost.items(), key=lambda item: (-item[1], item[0]))
    parts = [f"{count:,} {reason}" for reason, count in ordered[:_SHOWN]]
    more = sum(count for _, count in ordered[_SHOWN:])
    parts += [f"{more:,} for other reasons"] if more else []
    lost = sum(one.lost.values())
    why = f" ({', '.join(parts)})" if parts else ""
    return f"{one.annotations:,} annotations: {one.kept:,} kept, {lost:,} lost{why}"
