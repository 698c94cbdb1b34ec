"""Phase measure: every signal of every row, read from the raw shards once; it knows no threshold."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

import pyarrow as pa
import pyarrow.compute as pc

from filters.extra import parsed
from filters.picture import hashes
from filters.signals import Measurer
from pipelines.datasets.table import formats_named
from pipelines.engines.step import IDLE, SEVERAL, At, Json, Limits, named
from pipelines.layout import Layout, Name, name_of, text_of
from pipelines.parquet import read_table, write_tables
from pipelines.phases.auto import added, score_counts
from pipelines.phases.split import name_for as split_name
from pipelines.phases.table import phase
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.remarks import by_source, check_measured
from pipelines.shares import is_below
from pipelines.sources import InputShard, Ledger, interleaved, options_of, read, rendered, urls
from pipelines.sources.annotations import (
    BEYOND_MAX_MISSING,
    Annotations,
    Facts,
    is_part,
    write_annotations,
    write_drafts,
)
from pipelines.sources.shard import numbered
from pipelines.sources.table import KINDS
from pipelines.verdicts import ShardVerdicts, Verdicts, file_of
from schemas.errors import ChangedError, RowError, ShardError
from schemas.plain import many
from schemas.row import FURTHER, RawRow, pair_key
from schemas.shard import FORM

if TYPE_CHECKING:
    from pipelines.build import Build

BATCH = 1024
"""Rows whose captions are measured together; no result depends on it."""

_SHOWN: Final = 5
"""So many input files that nothing is known of are named."""


def source_fingerprint(recipe: Recipe, source: Source) -> str:
    """Returns the fingerprint of what the signals of all shards of a source depend on; made once a source."""
    settings = recipe.model_dump(mode="json", include={"read", "sample"})
    own = source.model_dump(mode="json", include={"id", "kind", "columns", "format", "licence", "several"})
    if KINDS[source.kind].annotated:
        own |= source.model_dump(mode="json", include={"match", "boxes_on", "max_missing", "language"})
    if source.annotations:
        own["annotations"] = [[one.format, one.licence] for one in source.annotations]
    if KINDS[source.kind].drafts or source.keeps_several:
        own["form"] = FORM  # of the samples that it leaves in work/drafts
    made_with = [
        [
            one.name,
            one.version,
            block and block.model_dump(mode="json", exclude=set(one.places)),
            one.weights(block),
            versions(one.libraries),
            asdict(recipe.signals.found[one.name]) if one.name in recipe.signals.found else None,
        ]
        for one, block in recipe.signals.running()
    ]
    return fingerprint("measure", 9, settings, own, made_with)


def limits_of(recipe: Recipe, limits: Limits) -> Limits:
    """Returns the limits with the time that the recipe's filters ask for a row, beside what every row has."""
    more = sum(one.seconds for one, _ in recipe.signals.running())
    return replace(
        limits,
        row_cpu_seconds=limits.row_cpu_seconds + more,
        row_wall_seconds=limits.row_wall_seconds + more,
    )


class Measure:
    """Measures one input shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._signals = Measurer(self._recipe.signals)
        self._annotations = Annotations(self._layout, self._signals)

    def run(self, task: Json, at: At) -> Json:
        """Writes the shard's signals; the receipt counts rows, captions, errors, and tells of damage."""
        shard = InputShard.from_json(task["input"])
        counts = Counts()
        self._gone = Gone.of(self._layout, shard, self._signals.schema)
        if "only" in task:
            for _ in self._tables(shard, task, at, counts, []):
                break
            return {}
        path = self._layout.path("signals", shard.source, shard.shard)
        drafts: list[Json] = []
        write_tables(self._layout, path, self._signals.schema, self._tables(shard, task, at, counts, drafts))
        self._write_further(shard, counts)
        source = self._recipe.source(shard.source)
        if KINDS[shard.kind].annotated:
            at(SEVERAL)
            drafts = self._annotations.finished(source, drafts)
            write_annotations(self._layout, shard, counts.annotations)
        elif KINDS[shard.kind].made:
            at(SEVERAL)
            drafts = self._annotations.heard(source, drafts)
        if KINDS[shard.kind].drafts or source.keeps_several:
            write_drafts(self._layout, shard, drafts)
        at(IDLE)
        return counts.receipt()

    def _write_further(self, shard: InputShard, counts: "Counts") -> None:
        """The images of rows beside their first, so that evaluation protection sees them; no file where none are."""
        path = self._layout.path("further", shard.source, shard.shard)
        if not counts.further:
            if self._layout.store.exists(path):
                self._layout.store.remove(path)
            return
        facts = [one for _, one in counts.further]
        thumbnails = [one.columns["thumbnail"] for one in facts]
        batches = [thumbnails[first : first + BATCH] for first in range(0, len(thumbnails), BATCH)]
        columns = [
            pa.array([row for row, _ in counts.further], pa.int64()),
            *(pa.array([one.columns[name] for one in facts], pa.string()) for name in ("sha256", "pixels")),
            pa.concat_arrays([hashes(batch) for batch in batches]),
        ]
        write_tables(self._layout, path, FURTHER, [pa.Table.from_arrays(columns, schema=FURTHER)])

    def _tables(
        self, shard: InputShard, task: Json, at: At, counts: "Counts", drafts: list[Json]
    ) -> Iterator[pa.Table]:
        careful = task.get("careful", False) or "only" in task
        size = 1 if careful else BATCH
        batch: list[Json] = []
        for record in self._records(shard, task, at, counts, drafts):
            batch.append(record)
            if len(batch) == size:
                yield self._table(batch, at, careful, counts)
                batch = []
        if batch:
            yield self._table(batch, at, careful, counts)

    def _table(self, batch: list[Json], at: At, careful: bool, counts: "Counts") -> pa.Table:
        if not careful:
            at(SEVERAL)
        try:
            table = self._signals.table(batch)
        except Exception as error:
            named = [f"{batch[at]['source']}/{batch[at]['shard']}/{batch[at]['member']}" for at in (0, -1)]
            error.add_note(f"while the rows {' to '.join(named)} were measured together")
            raise
        table = self._annotations.stated(table, self._recipe.source(batch[0]["source"]))
        table = self._gone.in_place(table)
        counts.add(table)
        return table

    def _records(
        self, shard: InputShard, task: Json, at: At, counts: "Counts", drafts: list[Json]
    ) -> Iterator[Json]:
        """One record a row that takes part; its samples are added to `drafts`."""
        source, share = self._recipe.source(shard.source), self._recipe.sample
        if KINDS[shard.kind].annotated:
            rows = self._annotations.records(source, shard, task, at, partial(verdict_of, task))
        else:
            rows = self._rows(source, shard, task, at, counts)
        try:
            for number, record, made in rows:
                if not in_sample(record["key"], share):
                    continue
                if verdict_of(task, number, record["member"]):
                    counts.verdicts[str(number)] = record["member"]
                drafts += made
                counts.annotations += record.pop("annotations", ())
                counts.reach = max(counts.reach, record.pop("reach", 0.0))
                counts.further += [(counts.read, one) for one in record.pop("further", ())]
                counts.read += 1
                yield record
        except ChangedError:  # it is sound, so it is listed and measured again
            raise
        except ShardError as damage:
            counts.bad = list(damage.args)

    def _rows(
        self, source: Source, shard: InputShard, task: Json, at: At, counts: "Counts"
    ) -> Iterator[tuple[int, Json, list[Json]]]:
        """Number, record and drafts of each row; `at` is called with a row's number before it is read."""
        number, made = task.get("only", 0), KINDS[shard.kind].made
        options = options_of(source, self._layout)
        limits, several = self._recipe.read, source.keeps_several
        rows = read(shard, source.columns, options, number, limits, counts.ledgers, several)
        while True:
            at(number)
            row = next(rows, None)
            if row is None:
                return
            try:
                record = self._record(shard, row, verdict_of(task, number, row.member))
            except Exception as error:
                error.add_note(f"while row {shard.source}/{shard.shard}/{row.member} was measured")
                raise
            whole = "member" in record and "error" not in record
            if made:
                drafts = rendered.drafts(source, record, row) if "member" in record else []
            else:
                drafts = interleaved.drafts(source, record, row) if row.further and whole else []
            yield number, record, drafts
            if "only" in task:
                return
            number += 1

    def _record(self, shard: InputShard, row: RawRow, verdict: RowError | None) -> Json:
        """The row's name, key and image signals; the key alone where it is not of the sample."""
        key, kind = None, KINDS[shard.kind]
        if self._recipe.sample < 1 or verdict:
            key = self._key(shard, row, None)
            if not in_sample(key, self._recipe.sample):
                return {"key": key}
        record: Json = {
            "source": shard.source,
            "shard": shard.shard,
            "member": row.member,
            "url": row.url,
            "caption_raw": None if row.caption is None else row.caption.decode("utf-8", "replace"),
            "offset": row.offset,
            "extra": json.dumps(row.extra, sort_keys=True, ensure_ascii=False) if row.extra else None,
        }
        try:
            if verdict:
                raise verdict
            if kind.made:
                rendered.describe(row, record)
            if kind.fetched:
                urls.describe(row, record)
            if row.error is not None:
                raise row.error
            if kind.images and not row.text:
                record |= self._images(row, pair=not kind.made)
        except RowError as error:
            record["error"], record["error_message"] = error.kind, error.message
        record["key"] = key or self._key(shard, row, record.get("original_sha256"))
        return record

    def _images(self, row: RawRow, pair: bool) -> Json:
        """The signals of the row's first image, and under `further` what is known of the others."""
        images = (row.image, *(one.data for one in row.further))
        found = [
            numbered(place, len(images), partial(self._signals.image, pair=pair and place == 0), data)
            for place, data in enumerate(images)
        ]
        if row.written is not None:
            interleaved.check_sizes(row.written, found)
        return found[0] | ({"further": [Facts(one) for one in found[1:]]} if row.further else {})

    def _key(self, shard: InputShard, row: RawRow, sha256: str | None) -> str:
        if row.further and not row.url:
            images = (row.image or b"", *(one.data for one in row.further))
            digests = "".join(hashlib.sha256(data).hexdigest() for data in images)
            sha256 = hashlib.sha256(digests.encode()).hexdigest()
        if sha256 is None:
            sha256 = "" if row.url else hashlib.sha256(row.image or b"").hexdigest()
        # of pages that look alike each is known by its words
        words = row.extra.get("samples") if KINDS[shard.kind].made else None
        caption = row.caption if words is None else str(words).encode()
        return pair_key(shard.source, row.url, sha256, caption)


def verdict_of(task: Json, number: int, member: str) -> RowError | None:
    """Returns what an earlier try said of a row: in this run by number, in others by member, for shards change."""
    if "only" in task:
        return None
    found = task.get("verdicts", {}).get(str(number)) or task.get("known", {}).get(member)
    return RowError(*found) if found else None


def in_sample(key: str, share: float) -> bool:
    """Whether a key takes part in a sample of that share; a smaller share's keys are a subset."""
    return is_below(share, int(key[:16], 16))


@dataclass(frozen=True)
class Gone:
    """The signals of rows that were taken out of what the build fetched, as they were measured before."""

    rows: pa.Table

    @classmethod
    def of(cls, layout: Layout, shard: InputShard, schema: pa.Schema) -> "Gone":
        """Reads them, where earlier signals are there."""
        name = shard.source, shard.shard
        paths = [layout.path(folder, *name) for folder in ("signals", "removed")]
        if not KINDS[shard.kind].fetched or not all(map(layout.store.exists, paths)):
            return cls(schema.empty_table())
        signals, removed = (read_table(layout, path) for path in paths)
        rows = signals.filter(pc.is_in(signals["member"], value_set=removed["member"].combine_chunks()))
        had = {field.name: field.type for field in rows.schema}
        columns = [
            rows[field.name] if had.get(field.name) == field.type else pa.nulls(rows.num_rows, field.type)
            for field in schema
        ]
        return cls(pa.table(columns, schema=schema))

    def in_place(self, table: pa.Table) -> pa.Table:
        """Returns signals with these rows in the place of those that have neither texts nor an address now."""
        if not self.rows.num_rows:
            return table
        at = pc.index_in(table["member"], value_set=self.rows["member"].combine_chunks())
        blank = pc.and_(pc.is_null(table["url"]), pc.is_null(table["caption_raw"]))
        own = pa.array(range(table.num_rows), pa.int32())
        taken = pc.if_else(pc.and_(blank, pc.is_valid(at)), pc.add(at, table.num_rows), own)
        return pa.concat_tables([table, self.rows]).take(taken)


class Counts:
    """What a shard's receipt says."""

    def __init__(self) -> None:
        self.rows = 0
        self.bytes = 0
        self.captions = 0
        self.errors: dict[str, int] = {}
        self.missing = 0
        self.found = 0
        self.beyond = 0
        self.formats: Counter[str] = Counter()
        self.reach = 0.0
        self.languages: dict[str, dict[str, int]] = {}
        self.extras: dict[str, int] = {}
        self.read = 0
        self.further: list[tuple[int, Facts]] = []
        self.annotations: list[Json] = []
        self.bad: list[str] = []
        self.verdicts: dict[str, str] = {}
        self.ledgers: list[Ledger] = []

    def add(self, table: pa.Table) -> None:
        """Count one table of signals."""
        self.rows += table.num_rows
        self.bytes += pc.sum(table["byte_size"]).as_py() or 0
        self.captions += table.num_rows - table["caption_raw"].null_count
        is_missing = pc.equal(table["refusal"], "missing_image")
        self.missing += pc.sum(is_missing).as_py() or 0
        is_beyond = pc.and_(is_missing, pc.ends_with(table["refusal_text"], BEYOND_MAX_MISSING))
        self.beyond += pc.sum(is_beyond).as_py() or 0
        self.found += table.num_rows - table["sha256"].null_count
        self.formats.update(formats_named(table["refusal_text"].drop_null().to_pylist()))
        self.languages = added((self.languages, score_counts(table)))
        for text in table["extra"].drop_null().to_pylist():
            for name in (name for name, value in parsed(text).items() if value is not None):
                self.extras[name] = self.extras.get(name, 0) + 1
        for error in table["error"].drop_null().to_pylist():
            self.errors[error] = self.errors.get(error, 0) + 1

    def receipt(self) -> Json:
        """The counts as JSON."""
        return {
            "rows": self.rows,
            "bytes": self.bytes,
            "captions": self.captions,
            "errors": dict(sorted(self.errors.items())),
            "languages": self.languages,
            "missing_images": self.missing,
            "beyond_max_missing": self.beyond,
            "found_images": self.found,
            "formats": dict(sorted(self.formats.items())),
            "reach": self.reach,
            "extras": dict(sorted(self.extras.items())),
            "damaged": self.bad,
            "blamed": self.verdicts,
            "members": self.ledgers[0].to_json() if self.ledgers else None,
        }


def run(build: "Build") -> None:
    """Measures the input shards that are not measured yet; then checks what must hold for a source as a whole."""
    verdicts = _verdicts(build)
    identities = build.identities(build.shards)
    marks = {source.id: source_fingerprint(build.recipe, source) for source in build.recipe.sources}

    def on(name: Name) -> ShardVerdicts:
        return verdicts.of(*name, build.shards[name].rows)

    def task(name: Name) -> Task:
        known = on(name).by_member()
        return Task(text_of(name), fingerprint(marks[name[0]], identities[name], known))

    def body(task: Task) -> Json:
        name = name_of(task.name)
        known = on(name).by_member()
        return {"input": build.shards[name].to_json(), "shard": task.name, "known": known}

    def settle(done: Task, receipt: Json) -> Task:
        """Keeps new verdicts, which are part of what the shard's signals depend on from now on."""
        nonlocal verdicts
        name = name_of(done.name)
        found = on(name).found(receipt["verdicts"], receipt["blamed"])
        if found == on(name):
            return done
        verdicts = verdicts.updated(Verdicts({file_of(name): found}))
        verdicts.of(*name).write(build.layout, *file_of(name))
        mark = fingerprint(marks[name[0]], identities[name], found.by_member())
        return replace(done, fingerprint=mark)

    build.remove_orphans()
    tasks = [*map(task, build.shards)]
    if _made_again(build, tasks):
        tasks = [*map(task, build.shards)]
    build.map("measure", tasks, limits_of(build.recipe, build.limits), settle, body)
    build.measured = by_source(build.results["measure"])
    check_measured(build)


def _verdicts(build: "Build") -> Verdicts:
    """Returns the verdicts of earlier runs and those that are given, which are kept; says which name no input."""
    kept, given = Verdicts.read(build.layout), build.given_verdicts
    verdicts = kept.updated(given)
    files = {file_of(name) for name in build.shards}
    for name in files & given.shards.keys():
        if verdicts.of(*name) != kept.of(*name):
            verdicts.of(*name).write(build.layout, *name)
    if unused := sorted(given.shards.keys() - files):
        names = ", ".join([*map(text_of, unused[:_SHOWN]), *(["…"] if len(unused) > _SHOWN else [])])
        build.reporter.say(
            f"warning: verdicts are given on {many(len(unused), 'input file')} that no source has, so nothing follows "
            f"from them: {names}"
        )
    return verdicts


def _made_again(build: "Build", tasks: Sequence[Task]) -> bool:
    """Makes the input shards again from which removed rows were taken, where they have to be measured once more."""
    if not build.removed:
        return False
    build.check("measure", tasks)
    receipts = build.receipts("measure")
    todo = {name_of(task.name) for task in tasks if not receipts.done(task)}
    hidden = [name for name, _ in build.layout.listed("removed") if name in todo]
    made = [name for name in hidden if KINDS[build.shards[name].kind].made]
    parts = {name[0] for name in hidden if is_part(build.shards[name])}
    for name in made:
        build.receipts("render").forget(text_of(name))
    for source in parts:
        build.receipts("split").forget(split_name(source))
    for again in [*(["render"] if made else []), *(["split"] if parts else [])]:
        named(phase(again).run)(build)
    return bool(made or parts)
