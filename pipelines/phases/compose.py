"""Phase compose: the samples of every kept row, without the images' bytes."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from pipelines.card.drawn import check
from pipelines.datasets.detected import detected_drafts
from pipelines.datasets.drafts import NamedImage, Shown, finish
from pipelines.engines.step import At, Json
from pipelines.groups import group_of
from pipelines.layout import Layout, Name, text_of
from pipelines.layout import name_of as shard_named
from pipelines.parquet import by_member, read_table, write_tables
from pipelines.phases.cutting import bound, outline, runs_of, to_json
from pipelines.phases.dialogues import Made, Place, with_dialogues
from pipelines.phases.gather import Gathered, gathered
from pipelines.phases.ground import read_grounded
from pipelines.receipts import Task, fingerprint
from pipelines.recipe.model import Recipe, Source
from pipelines.sizes import Sizer, name_of
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
        source = self._recipe.source(task["source"])
        rows = self._kept(source.id, task["shard"])
        drafts = KINDS[source.kind].drafts
        if drafts:
            made = self._annotated(source, task["shard"], rows)
        else:
            several = drafts_of(self._layout, source, task["shard"])
            pairs = [row for row in rows if row["member"] not in several]
            made = [*self._examples(source, pairs), *self._grounded(source, task["shard"], pairs)]
            made += self._interleaved(source, rows, several)
        whole = with_dialogues(made, self._recipe.chat_of(source), self._recipe.seed)
        wanted = [one for one in whole if one.example.task in self._recipe.tasks]
        samples = [self._described(source, one) for one in gathered(wanted, by_image=drafts)]
        samples.sort(key=lambda one: (one["group"], one["split"], one["key"]))
        table = pa.Table.from_pylist(samples, SAMPLES)
        write_tables(self._layout, self._layout.path("samples", source.id, task["shard"]), SAMPLES, [table])
        found = runs_of((source.id, task["shard"]), map(_in_run, samples))
        outlines = to_json(outline(run, bound(self._recipe.shards.samples)) for run in found)
        sizes = self._sizer.sizes(one.example for one in wanted)
        return {"samples": len(samples), "sizes": sizes, "runs": outlines}

    def _kept(self, source: str, shard: str) -> list[dict[str, Any]]:
        """The kept rows' signals, with their split."""
        decisions = read_table(
            self._layout, self._layout.path("decisions", source, shard), ["decision", "split"]
        )
        signals = read_table(self._layout, self._layout.path("signals", source, shard), _SIGNALS)
        table = signals.append_column("split", decisions["split"])
        table = table.append_column("clip_score", self._scores(source, shard, signals))
        return list(table.filter(pc.equal(decisions["decision"], "kept")).to_pylist())

    def _scores(self, source: str, shard: str, signals: pa.Table) -> pa.Array:
        if not self._recipe.is_scored(self._recipe.source(source)):
            return pa.nulls(signals.num_rows, pa.float32())
        scores = read_table(
            self._layout, self._layout.path("scores", source, shard), ["member", "clip_score"]
        )
        return by_member(scores, "clip_score", signals["member"])

    def _annotated(self, source: Source, shard: str, rows: list[dict[str, Any]]) -> list[Made]:
        """The views of kept annotations, from the drafts that phase measure left."""
        kept = {row["member"]: row for row in rows}
        drafts = read_table(self._layout, self._layout.path("drafts", source.id, shard))
        made = []
        for draft in drafts.to_pylist():
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

    def _examples(self, source: Source, rows: list[dict[str, Any]]) -> Iterator[Made]:
        """The pairs themselves."""
        for row in rows:
            example = self._made(source, row)
            if example is not None:
                yield Made(example, (_place(row),) if example.images else (), _facts(row))

    def _interleaved(
        self, source: Source, rows: list[Json], several: dict[str, list[Json]]
    ) -> Iterator[Made]:
        """The views of rows of several images."""
        for row in rows:
            for drafted in several.get(row["member"], ()):
                example = finished(drafted, row)
                if example is not None:
                    places = tuple(map(Place, drafted["images"], drafted["offsets"]))
                    yield Made(owned(example, source, row), places, _facts(row))

    def _grounded(self, source: Source, shard: str, rows: list[dict[str, Any]]) -> Iterator[Made]:
        """What phase ground found of the pairs, where it was asked to."""
        if source.ground is None:
            return
        found = read_grounded(self._layout, source.id, shard)
        for row in rows:
            # a language that is grounded no more may have been
            if row["member"] not in found or row["language"] not in source.ground.languages:
                continue
            image_ref = NamedImage(row["sha256"], row["width"], row["height"])
            regions = found[row["member"]]
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


_in_run = itemgetter("group", "split", "key", "digest")


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
