"""Phase measure: every signal of every row, read from the raw shards once; it knows no threshold.

An input shard that changed after it was measured though its size, first and last MiB are the same.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from filters.caption import Captions
from filters.extra import parsed
from filters.language import Language
from filters.picture import Pictures
from filters.scripts import Scripts
from filters.text_area import TextArea, repeats
from pipelines.engines.step import IDLE, SEVERAL, At, Json
from pipelines.layout import Layout
from pipelines.parquet import write_tables
from pipelines.phases.ocr import reader_marks, text_area
from pipelines.phases.render import RENDERED, rendered_drafts, told
from pipelines.receipts import Receipts, fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, Ledger, read
from pipelines.sources.annotations import Annotations, Facts, write_drafts
from schemas.errors import ChangedError, RowError, ShardError
from schemas.row import FURTHER, SIGNALS, RawRow, pair_key
from schemas.shard import FORM
from schemas.signals import SignalSettings

BATCH = 1024
"""Rows whose captions are measured together; no result depends on it."""

WORKER = "pipelines.phases.measure:Measure"

FILTERS = (Captions, Scripts, Language, Pictures, TextArea)


def filters_of(recipe: Recipe) -> tuple[Any, ...]:
    """The filters that a recipe runs: text in pictures is dear, and looked for on request only."""
    return tuple(one for one in FILTERS if one is not TextArea or recipe.signals.text)


def measure_fingerprint(
    recipe: Recipe, source: Source, identity: str, verdicts: Json, language_model: str
) -> str:
    """What the signals of one shard depend on."""
    settings = recipe.model_dump(mode="json", include={"signals", "read", "sample"})
    settings["signals"]["language"]["model"] = language_model
    own = source.model_dump(mode="json", include={"id", "kind", "columns", "format", "licence"})
    if source.format is not None:
        own["form"] = FORM  # of the samples that it leaves in work/drafts
    made_with = [(f.__name__, f.VERSION, versions(f.LIBRARIES)) for f in filters_of(recipe)]
    if text := recipe.signals.text:
        settings["signals"]["text"]["models"] = reader_marks(text.reader, text.models)
    return fingerprint("measure", 5, settings, own, made_with, identity, verdicts)


class Measure:
    """Measures one input shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._signals = Signals(self._recipe.signals)
        self._annotations = Annotations(self._layout, self._signals.pictures)

    def run(self, task: Json, at: At) -> Json:
        """Writes the shard's signals; the receipt counts rows, captions, errors, and tells of damage."""
        shard = InputShard.from_json(task["input"])
        counts = Counts()
        if "only" in task:
            for _ in self._tables(shard, task, at, counts, []):
                break
            return {}
        path = self._layout.signals(shard.source, shard.shard)
        drafts: list[Json] = []
        write_tables(self._layout, path, SIGNALS, self._tables(shard, task, at, counts, drafts))
        self._write_further(shard, counts)
        if shard.kind in ("annotations", "rendered"):
            write_drafts(self._layout, shard, drafts)
        at(IDLE)
        return counts.receipt()

    def _write_further(self, shard: InputShard, counts: "Counts") -> None:
        """The images of rows beside their first, so that evaluation protection sees them; no file where none are."""
        path = self._layout.further(shard.source, shard.shard)
        if not counts.further:
            if self._layout.store.exists(path):
                self._layout.store.remove(path)
            return
        facts = [one for _, one in counts.further]
        thumbnails = [one.thumbnail for one in facts]
        batches = [thumbnails[first : first + BATCH] for first in range(0, len(thumbnails), BATCH)]
        hashes = np.concatenate([self._signals.pictures.finish(np.stack(batch)) for batch in batches])
        columns = [
            pa.array([row for row, _ in counts.further], pa.int64()),
            *(pa.array([one.columns[name] for one in facts], pa.string()) for name in ("sha256", "pixels")),
            pa.array(hashes, pa.uint64()),
        ]
        write_tables(self._layout, path, FURTHER, [pa.Table.from_arrays(columns, schema=FURTHER)])

    def _tables(
        self, shard: InputShard, task: Json, at: At, counts: "Counts", drafts: list[Json]
    ) -> Iterator[pa.Table]:
        careful = task.get("careful", False) or "only" in task
        size = 1 if careful else BATCH
        batch: list[Json] = []
        read_rows = self._annotated if shard.kind == "annotations" else self._records
        for record in read_rows(shard, task, at, counts, drafts):
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
        counts.add(table)
        return table

    def _annotated(
        self, shard: InputShard, task: Json, at: At, counts: "Counts", drafts: list[Json]
    ) -> Iterator[Json]:
        """One record an annotation that takes part; its samples are added to `drafts`."""
        source = self._recipe.source(shard.source)
        try:
            for number, record, made in self._annotations.records(source, shard, task, at):
                if in_sample(record["key"], self._recipe.sample):
                    if str(number) in task.get("verdicts", {}):
                        counts.verdicts[str(number)] = record["member"]
                    drafts += made
                    counts.further += [(counts.read, one) for one in record.pop("further")]
                    counts.read += 1
                    yield record
        except ShardError as damage:
            counts.bad = str(damage)

    def _records(
        self, shard: InputShard, task: Json, at: At, counts: "Counts", drafts: list[Json]
    ) -> Iterator[Json]:
        """One record a row that takes part; `at` is told of a row before it is read."""
        number = task.get("only", 0)
        found, known = ({}, {}) if "only" in task else (task.get("verdicts", {}), task.get("known", {}))
        source = self._recipe.source(shard.source)
        rendered = shard.kind == "rendered"
        columns = RENDERED if rendered else source.columns
        options = self._layout.options if rendered else source.storage_options
        ledgers = counts.ledgers if shard.kind == "webdataset" else None
        rows = read(shard, columns, options, number, self._recipe.read, ledgers)
        while True:
            at(number)
            try:
                row = next(rows, None)
            except ShardError as damage:
                counts.bad = str(damage)
                return
            if row is None:
                return
            # one of an earlier run goes by member: the shard may have been written anew since
            verdict = found.get(str(number)) or known.get(row.member)
            try:
                record = self._record(shard, row, verdict)
            except Exception as error:
                error.add_note(f"while row {shard.source}/{shard.shard}/{row.member} was measured")
                raise
            if record is not None and rendered:
                drafts += rendered_drafts(source, record, row)
            if record is not None:
                if verdict:
                    counts.verdicts[str(number)] = row.member
                yield record
            if "only" in task:
                return
            number += 1

    def _record(self, shard: InputShard, row: RawRow, verdict: str | None) -> Json | None:
        """The row's name, key and picture signals; None where it is not of the sample."""
        key = None
        if self._recipe.sample < 1 or verdict:
            key = self._key(shard, row, None)
            if not in_sample(key, self._recipe.sample):
                return None
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
                raise RowError(verdict)
            if shard.kind == "rendered":
                told(row, record)
            if row.error is not None:
                raise row.error
            if shard.kind != "text" and not row.text:
                self._signals.picture(row.image, record)
            if shard.kind not in ("text", "rendered"):
                self._signals.text(row.image, record)
        except RowError as error:
            record["error"], record["error_message"] = error.kind, error.message
        record["key"] = key or self._key(shard, row, record.get("original_sha256"))
        return record

    def _key(self, shard: InputShard, row: RawRow, sha256: str | None) -> str:
        if sha256 is None:
            sha256 = "" if row.url else hashlib.sha256(row.image or b"").hexdigest()
        return pair_key(shard.source, row.url, sha256, row.caption)


def in_sample(key: str, share: float) -> bool:
    """Whether a key takes part in a sample of that share; a smaller share's keys are a subset."""
    return int(key[:16], 16) < share * 2**64


class Signals:
    """All filters over a batch of records."""

    def __init__(self, settings: SignalSettings) -> None:
        self._captions = Captions(settings.caption)
        self._scripts = Scripts()
        self._language = Language(settings.language)
        self.pictures = Pictures(settings.picture)
        self._settings = settings
        self._text: TextArea | None = None

    def picture(self, image: bytes | None, record: Json) -> None:
        """Add the picture's signals to the record; RowError where it cannot be measured."""
        columns, thumbnail = self.pictures.measure(image)
        record.update(columns)
        record["thumbnail"] = thumbnail

    def text(self, image: bytes | None, record: Json) -> None:
        """Add the texts in the picture and their share of it, where the recipe asks; RowError as `picture`."""
        settings = self._settings.text
        if not settings or image is None:
            return
        if self._text is None:
            self._text = text_area(settings)
        share, record["texts"] = self._text.measure(self.pictures.decoded(image))
        record["text_area"] = share

    def table(self, records: list[Json]) -> pa.Table:
        """The records as rows of SIGNALS, with the caption's signals and the perceptual hashes."""
        columns: dict[str, Any] = {}
        raw = pa.array([record["caption_raw"] for record in records], pa.string())
        columns |= self._captions.measure(raw)
        columns |= self._scripts.measure(columns["caption"])
        columns |= self._language.measure(columns["caption"], columns["scripts"])
        columns["caption_raw"] = raw
        columns["text_repeats"] = pa.array(
            [
                repeats(caption or "", record["texts"]) if "texts" in record else None
                for caption, record in zip(columns["caption"].to_pylist(), records, strict=True)
            ],
            pa.float64(),
        )
        columns["phash"] = self._hashes(records)
        arrays = [
            columns[field.name].cast(field.type)
            if field.name in columns
            else pa.array([record.get(field.name) for record in records], field.type)
            for field in SIGNALS
        ]
        return pa.Table.from_arrays(arrays, schema=SIGNALS)

    def _hashes(self, records: list[Json]) -> pa.Array:
        thumbnails = [record["thumbnail"] for record in records if "thumbnail" in record]
        hashes = iter(self.pictures.finish(np.stack(thumbnails)).tolist() if thumbnails else [])
        return pa.array([next(hashes) if "thumbnail" in record else None for record in records], pa.uint64())


class Counts:
    """What a shard's receipt says."""

    def __init__(self) -> None:
        self.rows = 0
        self.bytes = 0
        self.captions = 0
        self.errors: dict[str, int] = {}
        self.missing = 0
        self.extras: dict[str, int] = {}
        self.read = 0
        self.further: list[tuple[int, Facts]] = []
        self.bad: str | None = None
        self.verdicts: dict[str, str] = {}
        self.ledgers: list[Ledger] = []

    def add(self, table: pa.Table) -> None:
        """Count one table of signals."""
        self.rows += table.num_rows
        self.bytes += pc.sum(table["byte_size"]).as_py() or 0
        self.captions += table.num_rows - table["caption_raw"].null_count
        self.missing += table["refusal"].to_pylist().count("missing_image")
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
            "missing_images": self.missing,
            "extras": dict(sorted(self.extras.items())),
            "bad": self.bad,
            "blamed": self.verdicts,
            "members": self.ledgers[0].to_json() if self.ledgers else None,
        }


_BY_SHARD: Final = ("measure", "score", "ground", "compose")
_WHOLE: Final = ("dedup", "select", "shard")


def forget(layout: Layout, shards: Mapping[tuple[str, str], InputShard], error: ChangedError) -> None:
    """Removes what rests on the shard that `error` names, so that the next run measures it again.

    The fingerprints of that run are those of this one, for the shard's identity is the same: so no receipt may stay
    of any phase that saw the shard's signals.
    """
    for (source, shard), found in shards.items():
        if str(error).startswith(f"{found} "):
            for phase in _BY_SHARD:
                Receipts(layout, phase).forget(f"{source}/{shard}")
            layout.store.remove(layout.scores(source, shard))
            layout.store.remove(layout.grounded(source, shard))
    for phase in _WHOLE:
        receipts = Receipts(layout, phase)
        for name in receipts.strangers([]):
            receipts.forget(name)
