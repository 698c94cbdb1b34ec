"""Phase compose: the samples of every kept row, without the images' bytes."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Generic, TypeVar

import pyarrow as pa
import pyarrow.compute as pc

from filters.chunks import Chunk
from filters.detect import Found
from pipelines.card.drawn import check
from pipelines.datasets.detected import detected_drafts
from pipelines.datasets.drafts import NamedImage, Shown, finish
from pipelines.engines.step import At, Json
from pipelines.groups import group_of
from pipelines.layout import Layout, Name, text_of
from pipelines.layout import name_of as shard_named
from pipelines.parquet import RowGroups, by_member, read_table, write_tables
from pipelines.phases.cutting import bound, outline, runs_of, to_json
from pipelines.phases.dialogues import Made, Place, with_dialogues
from pipelines.phases.gather import Gathered, gathered
from pipelines.phases.ground import read_grounded
from pipelines.receipts import Task, fingerprint
from pipelines.recipe.model import Recipe, Source
from pipelines.sizes import Sizer, added, name_of
from pipelines.sources.interleaved import drafts_of, finished
from pipelines.sources.own import owned, stored_image
from pipelines.sources.table import KINDS
from pipelines.writers import columns
from schemas.sample import Example, Sample, caption_example, text_example, view_key
from schemas.shard import FORM

if TYPE_CHECKING:
    from pipelines.build import Build

SAMPLES = pa.schema(
    [
        ("group", pa.string()),
        ("split", pa.string()),
        ("key", pa.string()),
        # of each image: the member that holds it; or, with a name, a file in an annotation source's folder
        (
            "places",
            pa.list_(pa.struct([("member", pa.string()), ("offset", pa.int64()), ("name", pa.string())])),
        ),
        ("sample", pa.string()),
        *columns.SIGNALS,
        # of all that a shard shows of the sample; so not of `places`
        ("digest", pa.string()),
    ]
)
"""work/samples: sorted by (group, split, key)."""

ROWS: Final = 32_768
"""So many rows are composed at a time."""

_SIGNALS = [
    "member",
    "key",
    "caption",
    "language",
    "language_score",
    "format",
    "width",
    "height",
    "sha256",
    "original_sha256",
    "phash",
    "url",
    "extra",
    "offset",
]


def source_fingerprint(recipe: Recipe, source: Source) -> str:
    """Returns the fingerprint of what the samples of all shards of a source depend on; made once a source."""
    made_with: list[Any] = [recipe.tasks, source.id, source.licence, source.group, recipe.seed]
    made_with.append(recipe.chat_of(source).model_dump(mode="json"))
    if source.ground is not None:
        made_with.append(source.ground.detector.model_dump(mode="json", include={"threshold", "nms"}))
    made_with += [name_of(recipe), recipe.preset]
    # where output shards may end stands in the receipt
    return fingerprint("compose", 7, FORM, made_with, recipe.shards.samples)


class Compose:
    """Composes the samples of one input shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._sizer = Sizer(self._recipe)

    def run(self, task: Json, at: At) -> Json:
        """Writes the shard's samples; the receipt counts them."""
        source, shard = self._recipe.source(task["source"]), task["shard"]
        path = self._layout.path("samples", source.id, shard)
        sizes: list[list[Json]] = []
        lines: list[tuple[str, str, str, str]] = []
        with self._layout.store.scratch(path) as scratch:
            samples = Spool[tuple[str, str]](scratch, partial(self._layout.store.unpacking, path))
            inputs = ShardInputs.of(self._layout, source, shard)
            for rows in self._kept(source, shard):
                wanted = self._views(source, inputs, rows)
                sizes.append(self._sizer.sizes(one.example for one in wanted))
                found = gathered(wanted, by_image=KINDS[source.kind].drafts)
                for stratum, table in _by_stratum([self._described(source, one) for one in found]):
                    samples.add(stratum, table)
            samples.end()
            write_tables(self._layout, path, SAMPLES, _noted(samples, lines))
        runs = runs_of((source.id, shard), lines)
        outlines = to_json(outline(run, bound(self._recipe.shards.samples)) for run in runs)
        return {"samples": len(lines), "sizes": added(sizes), "runs": outlines}

    def _views(self, source: Source, inputs: "ShardInputs", rows: list[Json]) -> list[Made]:
        """Returns the views of rows, of the recipe's tasks."""
        if KINDS[source.kind].drafts:
            made = self._annotated(inputs, rows)
        else:
            pairs = [row for row in rows if row["member"] not in inputs.several]
            made = [*self._examples(source, pairs), *self._grounded(source, inputs, pairs)]
            made += self._interleaved(source, inputs, rows)
        whole = with_dialogues(made, self._recipe.chat_of(source), self._recipe.seed)
        return [one for one in whole if one.example.task in self._recipe.tasks]

    def _kept(self, source: Source, shard: str) -> Iterator[list[Json]]:
        """Yields the kept rows' signals, with their split: ROWS of them at a time, by ranges of their keys.

        All at once where rows are composed with others: those of one image, or dialogues of several. The signals are
        read once, whatever the number of ranges.
        """
        chat = self._recipe.chat_of(source)
        together = KINDS[source.kind].drafts or chat.localise > 0 or chat.join > 1
        decisions = read_table(
            self._layout, self._layout.path("decisions", source.id, shard), ["decision", "split"]
        )
        file = RowGroups(self._layout.store, self._layout.path("signals", source.id, shard))
        beside = file.table(["member", "key"])
        kept = pc.equal(decisions["decision"], "kept")
        scores = self._scores(source, shard, beside["member"])
        tables = (
            signals.append_column("split", decisions["split"].slice(number, len(signals)))
            .append_column("clip_score", scores.slice(number, len(signals)))
            .filter(kept.slice(number, len(signals)))
            for number, signals in file.each(_SIGNALS)
        )
        bounds = [] if together else _bounds(beside["key"].filter(kept))
        if not bounds:
            yield [row for table in tables for row in table.to_pylist()]
            return
        path = self._layout.path("samples", source.id, shard)
        with self._layout.store.scratch(path) as scratch:
            spool = Spool[int](scratch, partial(self._layout.store.unpacking, path))
            for table in tables:
                for portion, part in _portions(table, bounds):
                    spool.add(portion, part)
            spool.end()
            for _, parts in groupby(spool.sorted(), key=itemgetter(0)):
                yield [row for _, table in parts for row in table.to_pylist()]

    def _scores(self, source: Source, shard: str, members: pa.ChunkedArray) -> pa.Array:
        if not self._recipe.is_scored(source):
            return pa.nulls(len(members), pa.float32())
        scores = read_table(
            self._layout, self._layout.path("scores", source.id, shard), ["member", "clip_score"]
        )
        return by_member(scores, "clip_score", members)

    def _annotated(self, inputs: "ShardInputs", rows: list[Json]) -> list[Made]:
        """The views of kept annotations, from the drafts that phase measure left."""
        kept = {row["member"]: row for row in rows}
        made = []
        for draft in inputs.drafts:
            row = kept.get(draft["member"])
            if row is None:
                continue
            (example,) = Sample.from_json(draft["sample"]).examples
            # a page that was laid out from a file has the language of its words
            language = row["language"] or "und" if example.language == "und" else example.language
            example = replace(example, split=row["split"], language=language)
            names = draft["images"]
            places = (
                (_place(row),) if names is None else tuple(Place(row["member"], None, name) for name in names)
            )
            made.append(Made(example, places if example.images else (), _facts(row)))
        return made

    def _examples(self, source: Source, rows: list[Json]) -> Iterator[Made]:
        """The pairs themselves."""
        for row in rows:
            example = self._made(source, row)
            if example is not None:
                yield Made(example, (_place(row),) if example.images else (), _facts(row))

    def _interleaved(self, source: Source, inputs: "ShardInputs", rows: list[Json]) -> Iterator[Made]:
        """The views of rows of several images."""
        for row in rows:
            for drafted in inputs.several.get(row["member"], ()):
                example = finished(drafted, row)
                if example is not None:
                    places = tuple(map(Place, drafted["images"], drafted["offsets"]))
                    yield Made(owned(example, source, row), places, _facts(row))

    def _grounded(self, source: Source, inputs: "ShardInputs", rows: list[Json]) -> Iterator[Made]:
        """What phase ground found of the pairs, where it was asked to."""
        if source.ground is None:
            return
        for row in rows:
            # a language that is grounded no more may have been
            if row["member"] not in inputs.grounded or row["language"] not in source.ground.languages:
                continue
            image_ref = NamedImage(row["sha256"], row["width"], row["height"])
            regions = inputs.grounded[row["member"]]
            drafts = detected_drafts(
                row["caption"], row["language"], image_ref, *regions, source.ground.detector
            )
            ordinals: Counter[str] = Counter()
            image = stored_image(row, row["url"])
            for draft in drafts:
                key = view_key(row["key"], draft.task, ordinals[draft.task])
                ordinals[draft.task] += 1
                facts = {"split": row["split"], "source": source.id, "licence": source.licence}
                example = owned(finish(draft, key, [Shown(image)], **facts), source, row)
                yield Made(example, (_place(row),), _facts(row))

    def _made(self, source: Source, row: dict[str, Any]) -> Example | None:
        facts = {"split": row["split"], "source": source.id, "licence": source.licence}
        facts["language"] = row["language"] or "und"
        if row["caption"] is None:
            return None
        if row["sha256"] is None:
            example = text_example(row["key"], row["caption"], **facts)
        else:
            example = caption_example(row["key"], row["caption"], stored_image(row, row["url"]), **facts)
        return owned(example, source, row)

    def _described(self, source: Source, made: Gathered) -> dict[str, Any]:
        sample = made.sample
        line = sample.to_json()
        return {
            **made.facts,
            "places": [place._asdict() for place in made.places],
            "group": group_of(self._recipe, source, sample.example(0)),
            "split": sample.split,
            "key": sample.key,
            "sample": line,
            "digest": fingerprint(line, made.facts),
        }


@dataclass(frozen=True)
class ShardInputs:
    """What earlier phases left of a shard beside its signals: drafts of views, and what was found in images."""

    drafts: list[Json]
    several: Mapping[str, list[Json]]
    grounded: Mapping[str, tuple[list[Chunk], list[Found]]]

    @classmethod
    def of(cls, layout: Layout, source: Source, shard: str) -> "ShardInputs":
        """Reads them, where the source has any."""
        if KINDS[source.kind].drafts:
            return cls(read_table(layout, layout.path("drafts", source.id, shard)).to_pylist(), {}, {})
        grounded = read_grounded(layout, source.id, shard) if source.ground is not None else {}
        return cls([], drafts_of(layout, source, shard), grounded)


Named = TypeVar("Named", int, tuple[str, str])


class Spool(Generic[Named]):
    """Tables of one schema in a scratch file, each below a name; read back name by name.

    `guard` is a context that says where the scratch file lies when the disk refuses it.
    """

    def __init__(self, scratch: BinaryIO, guard: Callable[[], AbstractContextManager[None]]) -> None:
        self._scratch = scratch
        self._guard = guard
        self._file: pa.RecordBatchFileWriter | None = None
        self._count = 0
        self._batches: dict[Named, list[int]] = {}

    def add(self, name: Named, table: pa.Table) -> None:
        """Adds a table."""
        with self._guard():
            if self._file is None:
                options = pa.ipc.IpcWriteOptions(compression="zstd")
                self._file = pa.ipc.new_file(self._scratch, table.schema, options=options)
            for batch in table.to_batches():
                self._file.write_batch(batch)
                self._batches.setdefault(name, []).append(self._count)
                self._count += 1

    def end(self) -> None:
        """Writes what the scratch file's buffer still holds; nothing is added any more."""
        with self._guard():
            if self._file is not None:
                self._file.close()
            self._scratch.flush()
            self._scratch.seek(0)

    def sorted(self) -> Iterator[tuple[Named, pa.Table]]:
        """Yields all tables by name, those of one name in the order in which they were added."""
        if self._file is None:
            return
        with self._guard():
            batches = pa.ipc.open_file(self._scratch)
        for name in sorted(self._batches):
            for number in self._batches[name]:
                with self._guard():
                    table = pa.Table.from_batches([batches.get_batch(number)])
                yield name, table


def _by_stratum(samples: list[Json]) -> Iterator[tuple[tuple[str, str], pa.Table]]:
    """Yields samples of a group and split, by key."""
    for name, own in groupby(sorted(samples, key=itemgetter("group", "split", "key")), key=_STRATUM):
        yield name, pa.Table.from_pylist(list(own), SAMPLES)


_STRATUM = itemgetter("group", "split")


def _noted(samples: Spool[tuple[str, str]], lines: list[tuple[str, str, str, str]]) -> Iterator[pa.Table]:
    """Yields all samples by group, split and key; adds to `lines` what a run knows of each."""
    for name, table in samples.sorted():
        columns = (table[one].to_pylist() for one in ("key", "digest"))
        lines += [(*name, *line) for line in zip(*columns, strict=True)]
        yield table


def _bounds(keys: pa.ChunkedArray) -> list[str]:
    """Returns where portions of ROWS keys begin, but the first; none where there is one portion."""
    order = keys.combine_chunks().take(pc.sort_indices(keys))
    found: list[str] = order.take(pa.array(range(ROWS, len(order), ROWS), pa.int64())).to_pylist()
    return found


def _portions(table: pa.Table, bounds: list[str]) -> Iterator[tuple[int, pa.Table]]:
    """Yields the rows of a table by the portion that their keys are in."""
    places = pa.array([bisect_right(bounds, key) for key in table["key"].to_pylist()], pa.int64())
    for place in sorted(set(places.to_pylist())):
        yield place, table.filter(pc.equal(places, place)).combine_chunks()


def _facts(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in columns.SIGNALS.names}


def _place(row: dict[str, Any]) -> Place:
    return Place(row["member"], row["offset"])


def run(build: "Build") -> None:
    """Composes the samples of every kept row."""
    marks = {source.id: source_fingerprint(build.recipe, source) for source in build.recipe.sources}
    tasks = [_task(build, name, marks[name[0]]) for name in sorted(build.shards)]
    build.map("compose", tasks, body=_body)
    check(build)


def _task(build: "Build", name: Name, mark: str) -> Task:
    found = build.fingerprints
    signals = [found["measure"][name], found["score"].get(name), found["ground"].get(name)]
    kept = build.results["select"][name]["kept_digest"]
    return Task(text_of(name), fingerprint(mark, kept, signals))


def _body(task: Task) -> Json:
    source, shard = shard_named(task.name)
    return {"source": source, "shard": shard}
