"""Phase score: the CLIP score of every row that passes all rules before `clip`.

Rows that have a score from an earlier run keep it; only those that came back to life are scored.
"""

import json
import math
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from filters.picture import Pictures
from pipelines.engines.step import IDLE, SEVERAL, At, Json
from pipelines.fingerprints import fingerprint, versions
from pipelines.parquet import write_tables
from pipelines.readers import InputShard, fetch
from pipelines.select.candidates import Judge, Judged
from pipelines.select.cuts import groups, histogram
from schemas.clip import ScorerSettings, choose
from schemas.errors import InputError
from schemas.recipe import Recipe, Source
from schemas.row import SCORES

WORKER = "pipelines.score:Score"

LIBRARIES = ("numpy", "open_clip_torch", "pillow", "torch")

AHEAD = 4
"""Batches that decode threads may be ahead of the device."""

Pixels = npt.NDArray[np.uint8]


def score_fingerprint(recipe: Recipe, source: Source, signals: str) -> str:
    """What the scores of one shard, and the counts in its receipt, depend on."""
    rules = recipe.rules_of(source).model_dump(mode="json")
    for later in ("repeat", "exact", "pixels", "phash"):
        rules.pop(later)
    settings = [rules, recipe.languages_of(source), source.captions, _validity(recipe, source, signals)]
    return fingerprint("score", 1, settings)


def _validity(recipe: Recipe, source: Source, signals: str) -> str:
    """What a single row's score depends on: while it is the same, scores of earlier runs hold."""
    if source.clip_score is not None:
        return fingerprint("given", source.clip_score, signals)
    clip = recipe.clip.model_dump(mode="json") if recipe.clip else None
    return fingerprint("scored", clip, versions(LIBRARIES), signals)


class Score:
    """Scores one input shard a task."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._recipe = self._judge.recipe
        self._pictures = Pictures(self._recipe.signals.picture)
        self._scorers: dict[str, Any] = {}

    def run(self, task: Json, at: At) -> Json:
        """Writes the shard's scores; the receipt counts them by threshold and bin."""
        at(SEVERAL)
        judged = self._judge.shard(task)
        rows = np.flatnonzero(judged.candidate)
        path = self._judge.layout.scores(task["source"], task["shard"])
        mark = _validity(self._recipe, judged.source, task["signals"])
        old = self._old(path, mark)
        known = pc.is_in(judged.signals["member"].combine_chunks(), value_set=old["member"].combine_chunks())
        fresh = rows[~known.to_numpy(zero_copy_only=False)[rows]]
        table = self._fresh(judged, fresh, task, at)
        whole = pa.concat_tables([old, table])
        order = pc.index_in(
            whole["member"].combine_chunks(), value_set=judged.signals["member"].combine_chunks()
        )
        whole = whole.take(pc.sort_indices(order))
        schema = table.schema.with_metadata({"validity": mark})
        write_tables(self._judge.layout, path, schema, [whole.cast(schema)])
        at(IDLE)
        return self._receipt(judged, whole, rows) | {"scored": len(fresh), "rows": judged.signals.num_rows}

    def _receipt(self, judged: Judged, table: pa.Table, rows: npt.NDArray[np.int64]) -> Json:
        members = judged.signals["member"].combine_chunks().take(pa.array(rows))
        at = pc.index_in(members, value_set=table["member"].combine_chunks())
        scores = table["clip_score"].combine_chunks().take(at).to_numpy(zero_copy_only=False)
        sound = ~np.isnan(scores)
        names = groups(self._recipe, judged.source, judged.languages[rows])
        counts = histogram(names[sound], scores[sound])
        scorers = sorted(set(table["scorer"].to_pylist()))
        return {"bins": counts, "reached": len(rows), "scorers": scorers}

    def _old(self, path: str, mark: str) -> pa.Table:
        """Scores of earlier runs that still hold."""
        layout = self._judge.layout
        if layout.store.exists(path):
            with layout.store.open(path) as file:
                table = pq.ParquetFile(file).read()
            if (table.schema.metadata or {}).get(b"validity") == mark.encode():
                return table.replace_schema_metadata(None)
        return self._schema().empty_table()

    def _schema(self) -> pa.Schema:
        if self._recipe.clip is not None and self._recipe.clip.embeddings:
            vectors = [
                pa.field(name, pa.list_(pa.float16())) for name in ("image_embedding", "text_embedding")
            ]
            return pa.schema([*SCORES, *vectors])
        return SCORES

    def _fresh(self, judged: Judged, rows: npt.NDArray[np.int64], task: Json, at: At) -> pa.Table:
        """The scores of rows that have none."""
        if judged.source.clip_score is not None:
            return self._given(judged, rows, judged.source.clip_score)
        pictured = rows[judged.signals["sha256"].is_valid().to_numpy()[rows]]
        tables = [self._schema().empty_table()]
        scorers = self._recipe.clip.scorers if self._recipe.clip else {}
        languages = judged.languages
        for language in sorted(set(languages[pictured].tolist())):
            settings = choose(scorers, language)
            if settings is None:
                raise InputError(
                    f"source {judged.source.id}: no scorer for captions in {language or 'no language'}; "
                    "add clip.scorers.default"
                )
            mine = pictured[languages[pictured] == language]
            tables.append(self._scored(judged, mine, self._scorer(settings), task, at))
        return pa.concat_tables(tables)

    def _given(self, judged: Judged, rows: npt.NDArray[np.int64], name: str) -> pa.Table:
        """Scores that came with the data, from the field `name` of `extra`."""
        extras = judged.signals["extra"].combine_chunks().take(pa.array(rows)).to_pylist()
        values = [json.loads(extra).get(name) if extra else None for extra in extras]
        scores = [_number(value) for value in values]
        if len(rows) and all(math.isnan(score) for score in scores):
            raise InputError(
                f"source {judged.source.id}: no row of {judged.signals['shard'][0]} has the score {name!r}; name it "
                "in the source's columns (extra), as the data writes it"
            )
        return self._table(
            judged, rows, np.array(scores, np.float32), f"given:{name}", np.zeros(len(rows), bool)
        )

    def _scored(
        self, judged: Judged, rows: npt.NDArray[np.int64], scorer: Any, task: Json, at: At
    ) -> pa.Table:
        """The scores of rows of one scorer: equal captions and equal pictures are encoded once."""
        captions = judged.signals["caption"].combine_chunks().take(pa.array(rows)).to_pylist()
        tokens, cut = scorer.tokenize(captions)
        texts = scorer.encode_texts(tokens)
        digests = judged.signals["pixels"].combine_chunks().take(pa.array(rows)).to_pylist()
        images = self._images(judged, rows, digests, scorer, task, at)
        names = [f"{judged.source.id}/{task['shard']}/{member}" for member in _members(judged, rows)]
        scores = scorer.score(images, texts, names)
        table = self._table(judged, rows, scores, scorer.id, cut)
        for name, vectors in (("image_embedding", images), ("text_embedding", texts)):
            if name in self._schema().names:
                column = pa.array(list(vectors.astype(np.float16)), pa.list_(pa.float16()))
                table = table.append_column(name, column)
        return table

    def _images(
        self,
        judged: Judged,
        rows: npt.NDArray[np.int64],
        digests: Sequence[str],
        scorer: Any,
        task: Json,
        at: At,
    ) -> npt.NDArray[np.float32]:
        """The vectors of the rows' pictures; decode threads are kept ahead of the device."""
        first: dict[str, int] = {}
        for place, digest in enumerate(digests):
            first.setdefault(digest, place)
        members = _members(judged, rows)
        offsets = judged.signals["offset"].to_pylist()
        wanted = [(members[place], offsets[rows[place]]) for place in first.values()]
        digest_of = {members[place]: digest for digest, place in first.items()}
        vectors: dict[str, npt.NDArray[np.float32]] = {}
        for names, pixels in self._batches(judged.source, task, wanted, scorer):
            at(SEVERAL)
            vectors.update(
                zip((digest_of[name] for name in names), scorer.encode_images(pixels), strict=True)
            )
        lost = sorted(digest_of[member] for member, _ in wanted if digest_of[member] not in vectors)
        if lost:
            raise InputError(
                f"source {judged.source.id}: pictures of {task['shard']} are gone; measure it again"
            )
        return np.stack([vectors[digest] for digest in digests]) if digests else np.zeros((0, 1), np.float32)

    def _batches(
        self, source: Source, task: Json, wanted: list[tuple[str, int | None]], scorer: Any
    ) -> Iterator[tuple[list[str], Pixels]]:
        """(members, pixels) of as many pictures as the scorer takes at once."""
        shard = InputShard.from_json(task["input"])
        wanted = sorted(wanted, key=lambda one: one[1] or 0)
        threads = self._recipe.clip.decode_threads if self._recipe.clip else 1
        pictures = fetch(shard, source.columns, wanted, source.storage_options, self._recipe.read)
        with ThreadPoolExecutor(threads) as pool:
            waiting: deque[tuple[str, Future[Pixels]]] = deque()
            ready: list[tuple[str, Pixels]] = []
            for member, data in pictures:
                waiting.append((member, pool.submit(self._pixels, data, scorer)))
                if len(waiting) >= AHEAD * scorer.batch_size:
                    ready.append(_taken(waiting))
                if len(ready) == scorer.batch_size:
                    yield _stacked(ready)
                    ready = []
            while waiting:
                ready.append(_taken(waiting))
                if len(ready) == scorer.batch_size or not waiting:
                    yield _stacked(ready)
                    ready = []

    def _pixels(self, data: bytes, scorer: Any) -> Pixels:
        pixels: Pixels = scorer.preprocess(self._pictures.stored(data))
        return pixels

    def _table(
        self,
        judged: Judged,
        rows: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float32],
        scorer: str,
        cut: npt.NDArray[np.bool_],
    ) -> pa.Table:
        named = judged.signals.select(["source", "shard", "member", "key"]).take(pa.array(rows))
        count = len(rows)
        columns = [
            *(column.combine_chunks() for column in named.columns),
            pa.array(scores, pa.float32(), from_pandas=True),
            pa.array([scorer] * count, pa.string()),
            pa.array(cut, pa.bool_()),
        ]
        return pa.Table.from_arrays(columns, schema=SCORES)

    def _scorer(self, settings: ScorerSettings) -> Any:
        """The scorer of these settings, loaded once a process."""
        name = settings.model_dump_json()
        if name not in self._scorers:
            from filters.clip import Scorer

            self._scorers[name] = Scorer(settings)
        return self._scorers[name]


def _members(judged: Judged, rows: npt.NDArray[np.int64]) -> list[str]:
    return list(judged.signals["member"].combine_chunks().take(pa.array(rows)).to_pylist())


def _taken(waiting: "deque[tuple[str, Future[Pixels]]]") -> tuple[str, Pixels]:
    member, future = waiting.popleft()
    return member, future.result()


def _stacked(ready: list[tuple[str, Pixels]]) -> tuple[list[str], Pixels]:
    return [member for member, _ in ready], np.stack([pixels for _, pixels in ready])


def _number(value: object) -> float:
    """A score as the data gives it; NaN for whatever is no number."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
