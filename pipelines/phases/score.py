"""Phase score: the CLIP score of every row that passes all rules before `clip`.

Rows that have a score from an earlier run keep it; only those that came back to life are scored.
"""

import functools
import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from filters.clip.source import files_of, libraries_of, source_of
from filters.extra import number, parsed
from filters.language import key_of
from filters.picture import Pictures, PictureSettings
from filters.text_area import FILTER as TEXT
from filters.text_area import TextArea, TextSettings
from pipelines.engines.step import IDLE, SEVERAL, At, Json
from pipelines.files import Store
from pipelines.layout import Name, text_of
from pipelines.parquet import by_member, still_valid, write_valid
from pipelines.phases.dedup.signals import KINDS as DUPLICATES
from pipelines.phases.prefetch import Pixels, prefetched
from pipelines.phases.select.candidates import Judge
from pipelines.phases.select.captions import CAPPED
from pipelines.phases.select.cuts import groups, histogram
from pipelines.phases.select.judged import Judged
from pipelines.phases.select.removed import VECTORS
from pipelines.phases.select.semantic import ALIKE
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.remarks import no_score
from pipelines.sources import InputShard, fetch
from pipelines.sources.interleaved import drafts_of
from schemas.clip import ScorerSettings, choose
from schemas.doing import doing
from schemas.errors import InputError
from schemas.row import SCORES

if TYPE_CHECKING:
    from pipelines.build import Build


def check_scorers(recipe: Recipe) -> None:
    """Raises ModelError, before anything is measured, where a scorer of the recipe is not there."""
    if recipe.clip is not None and any(source.clip_score is None for source in recipe.sources):
        for settings in recipe.clip.scorers.values():
            source_of(settings)


def scorer_libraries(recipe: Recipe) -> list[str]:
    """Returns the distributions that compute the scores of the recipe's scorers, none where scores are given."""
    if recipe.clip is None or all(source.clip_score is not None for source in recipe.sources):
        return []
    return [library for settings in recipe.clip.scorers.values() for library in libraries_of(settings)]


def score_fingerprint(recipe: Recipe, source: Source, signals: str) -> str:
    """What the scores of one shard, and the counts in its receipt, depend on."""
    rules = recipe.rules_of(source).model_dump(mode="json")
    for later in (*DUPLICATES, ALIKE, CAPPED):
        rules.pop(later)
    settings = [rules, recipe.languages_of(source), source.captions, validity(recipe, source, signals)]
    return fingerprint("score", 2, settings)


def validity(recipe: Recipe, source: Source, signals: str) -> str:
    """What a single row's score depends on: while it is the same, scores of earlier runs hold."""
    if source.clip_score is not None:
        return fingerprint("given", source.clip_score, signals)
    if recipe.clip is None:
        return fingerprint("scored", None, signals)
    scorers = {code: _scorer(settings) for code, settings in recipe.clip.scorers.items()}
    return fingerprint("scored", scorers, recipe.clip.embeddings, *_masked(recipe), signals)


def _masked(recipe: Recipe) -> list[Any]:
    """How text is found that scores leave out; nothing where they see it all."""
    text = recipe.signals.get(TextSettings)
    if recipe.clip is None or not recipe.clip.mask_text or text is None:
        return []
    return [TEXT.version, versions(TEXT.libraries), TEXT.weights(text)]


def _scorer(settings: ScorerSettings) -> list[Any]:
    """The settings that move scores, and the weights by what they hold rather than by where they lie."""
    files = files_of(settings)
    own = settings.model_dump(
        mode="json", exclude={"threads"} | ({"model", "pretrained"} if files else set())
    )
    named = settings.model if settings.pretrained and files else ""
    held = [f"{Path(file).name} {_identity(str(file), *_stamp(file))}" for file in files]
    return [own, named, held, versions(libraries_of(settings))]


def _stamp(file: Path) -> tuple[int, int]:
    found = file.stat()
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=64)
def _identity(path: str, size: int, changed: int) -> str:
    """Once a file and process, unless it changes: every shard asks."""
    return Store().identity(path)


class Score:
    """Scores one input shard a task."""

    def __init__(self, setup: Json) -> None:
        self._judge = Judge(setup)
        self._recipe = self._judge.recipe
        self._pictures = Pictures(self._recipe.signals[PictureSettings])
        self._scorers: dict[str, Any] = {}
        settings = self._recipe.signals.get(TextSettings)
        self._text = None if settings is None else TextArea(settings)
        self._reading = Lock()

    def run(self, task: Json, at: At) -> Json:
        """Writes the shard's scores; the receipt counts them by threshold and bin."""
        at(SEVERAL)
        judged, memory = self._judge.shard(task)
        rows = np.flatnonzero(judged.candidate & self._single(judged, task["shard"]))
        path = self._judge.layout.path("scores", task["source"], task["shard"])
        mark = task["validity"]
        old = still_valid(self._judge.layout, path, mark, self._schema())
        known = pc.is_in(judged.signals["member"].combine_chunks(), value_set=old["member"].combine_chunks())
        # a blanked row has no caption any more
        fresh = rows[~(known.to_numpy(zero_copy_only=False) | memory.blank)[rows]]
        table = self._fresh(judged, fresh, task, at)
        whole = pa.concat_tables([old, table])
        order = pc.index_in(
            whole["member"].combine_chunks(), value_set=judged.signals["member"].combine_chunks()
        )
        whole = whole.take(pc.sort_indices(order))
        write_valid(self._judge.layout, path, mark, whole)
        at(IDLE)
        return self._receipt(judged, whole, rows) | {"scored": len(fresh), "rows": judged.signals.num_rows}

    def _single(self, judged: Judged, shard: str) -> npt.NDArray[np.bool_]:
        """Which rows a score can be about: a scorer compares one image with a caption; scores given are of any row."""
        if judged.source.clip_score is not None:
            return np.ones(judged.signals.num_rows, np.bool_)
        several = pa.array(drafts_of(self._judge.layout, judged.source, shard), pa.string())
        found = pc.is_in(judged.signals["member"].combine_chunks(), value_set=several)
        return ~np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)

    def _receipt(self, judged: Judged, table: pa.Table, rows: npt.NDArray[np.int64]) -> Json:
        members = judged.taken("member", rows)
        scores = by_member(table, "clip_score", members).to_numpy(zero_copy_only=False)
        sound = ~np.isnan(scores)
        names = groups(self._recipe, judged.source, judged.languages[rows])
        counts = histogram(names[sound], scores[sound])
        scorers = sorted(set(table["scorer"].to_pylist()))
        without = int(np.count_nonzero(~sound))
        return {"bins": counts, "reached": len(rows), "unscored": without, "scorers": scorers}

    def _schema(self) -> pa.Schema:
        if self._recipe.clip is not None and self._recipe.clip.embeddings:
            vectors = [pa.field(name, pa.list_(pa.float16())) for name in VECTORS]
            return pa.schema([*SCORES, *vectors])
        return SCORES

    def _fresh(self, judged: Judged, rows: npt.NDArray[np.int64], task: Json, at: At) -> pa.Table:
        """The scores of rows that have none; languages that share a scorer go through it together."""
        if judged.source.clip_score is not None:
            return self._given(judged, rows, judged.source.clip_score)
        pictured = rows[judged.signals["sha256"].is_valid().to_numpy()[rows]]
        languages = judged.languages[pictured]
        chosen = {code: self._chosen(judged.source.id, code) for code in sorted(set(languages.tolist()))}
        tables = [self._schema().empty_table()]
        for name, settings in {one.model_dump_json(): one for one in chosen.values()}.items():
            codes = [code for code, one in chosen.items() if one.model_dump_json() == name]
            mine = pictured[np.isin(languages, np.array(codes, object))]
            with doing(f"the scorer {settings.model}"):
                tables.append(self._scored(judged, mine, self._scorer(settings), task, at))
        return pa.concat_tables(tables)

    def _chosen(self, source: str, language: str) -> ScorerSettings:
        scorers = self._recipe.clip.scorers if self._recipe.clip else {}
        settings = choose(scorers, key_of(scorers, language))
        if settings is None:
            raise InputError(
                f"source {source}: no scorer for captions in {language or 'no language'}; "
                "add clip.scorers.default"
            )
        return settings

    def _given(self, judged: Judged, rows: npt.NDArray[np.int64], name: str) -> pa.Table:
        """Scores that came with the data, from the field `name` of `extra`; NaN where it holds no number."""
        extras = judged.taken("extra", rows).to_pylist()
        values = [number(parsed(text).get(name)) for text in extras]
        scores = np.array([math.nan if value is None else value for value in values], np.float64)
        wrong = np.flatnonzero(np.abs(np.round(scores, 5)) > 1)
        if len(wrong):
            member = _members(judged, rows)[wrong[0]]
            raise InputError(
                f"source {judged.source.id}: {name} of {judged.signals['shard'][0]}/{member} is "
                f"{scores[wrong[0]]:g}, but a CLIP score is a cosine from -1 to 1; is it a percentage? divide it by "
                f"100 in the data, or judge it as it is by a rule: columns: {{{name}: {{min: …}}}}"
            )
        return self._table(
            judged, rows, scores.astype(np.float32), f"given:{name}", np.zeros(len(rows), bool)
        )

    def _scored(
        self, judged: Judged, rows: npt.NDArray[np.int64], scorer: Any, task: Json, at: At
    ) -> pa.Table:
        """The scores of rows of one scorer: equal captions and equal images are encoded once."""
        captions = judged.taken("caption", rows).to_pylist()
        with ThreadPoolExecutor(1) as beside:
            # splitting into tokens is slow where it is Python's: it runs while images are encoded
            split = beside.submit(_tokens, scorer, captions)
            images = self._images(judged, rows, scorer, task, at)
            tokens, cut = split.result()
        texts = scorer.encode_texts(tokens)
        names = [f"{judged.source.id}/{task['shard']}/{member}" for member in _members(judged, rows)]
        scores = scorer.score(images, texts, names)
        masked = self._recipe.clip is not None and self._recipe.clip.mask_text
        table = self._table(judged, rows, scores, f"{scorer.id} (text masked)" if masked else scorer.id, cut)
        for name, vectors in zip(VECTORS, (images, texts), strict=True):
            if name in self._schema().names:
                column = pa.array(list(vectors.astype(np.float16)), pa.list_(pa.float16()))
                table = table.append_column(name, column)
        return table

    def _images(
        self, judged: Judged, rows: npt.NDArray[np.int64], scorer: Any, task: Json, at: At
    ) -> npt.NDArray[np.float32]:
        """The vectors of the rows' images; decode threads are kept ahead of the device."""
        digests = judged.taken("pixels", rows).to_pylist()
        members = _members(judged, rows)
        offsets = judged.signals["offset"].to_pylist()
        first: dict[str, int] = {}
        for place, digest in enumerate(digests):
            first.setdefault(digest, place)
        wanted = sorted(
            ((members[place], offsets[rows[place]]) for place in first.values()), key=lambda one: one[1] or 0
        )
        row_of: dict[str, int] = {}
        vectors = list(scorer.encode_batches(self._pixels(judged, wanted, scorer, task, at, row_of)))
        digest_of = {members[place]: digest for digest, place in first.items()}
        found_at = {digest_of[member]: row for member, row in row_of.items()}
        if gone := first.keys() - found_at.keys():
            raise InputShard.from_json(task["input"]).changed(members[min(first[one] for one in gone)])
        return np.concatenate(vectors)[[found_at[digest] for digest in digests]]

    def _pixels(
        self,
        judged: Judged,
        wanted: Sequence[tuple[str, int | None]],
        scorer: Any,
        task: Json,
        at: At,
        row_of: dict[str, int],
    ) -> Iterator[Pixels]:
        """The images wanted in batches of what the scorer takes at once; `row_of` gets the place of each."""
        shard = InputShard.from_json(task["input"])
        source = judged.source
        threads = self._recipe.clip.decode_threads if self._recipe.clip else 1
        signals = judged.signals.select(["member", "original_sha256"]).to_pydict()
        digests = dict(zip(signals["member"], signals["original_sha256"], strict=True))
        pictures = fetch(shard, source.columns, wanted, source.storage_options, self._recipe.read, digests)

        def decode(data: bytes) -> Pixels:
            pixels: Pixels = scorer.preprocess(self._shown(data))
            return pixels

        for members, pixels in prefetched(pictures, decode, threads, scorer.batch_size):
            at(SEVERAL)
            row_of |= {member: len(row_of) + number for number, member in enumerate(members)}
            yield pixels

    def _shown(self, data: bytes) -> bytes | Image.Image:
        """What the scorer is shown of an image: its bytes as stored, or the image without its text."""
        if self._text is None or self._recipe.clip is None or not self._recipe.clip.mask_text:
            return self._pictures.stored(data)
        with self._reading:  # readers serve one thread
            return Image.fromarray(self._text.hidden(self._pictures.open(data)))

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
    return list(judged.taken("member", rows).to_pylist())


def _tokens(scorer: Any, captions: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """What the scorer makes of the captions, each of which is split once."""
    place: dict[str, int] = {}
    rows = [place.setdefault(caption, len(place)) for caption in captions]
    tokens, cut = scorer.tokenize(list(place))
    return tokens[rows], cut[rows]


def run(build: "Build") -> None:
    """Scores the rows that reach the clip rule, in sources that are scored."""
    recipe = build.settled
    tasks = [_task(build, recipe, name) for name in sorted(build.shards) if _is_scored(build.recipe, name)]
    if not tasks:
        return
    if build.recipe.embedded_scorers:
        build.reporter.say(
            "CLIP scores are by the embedded scorer, which knows the drawn scenes of the demo alone: on other "
            "images they mean nothing"
        )
    # the deadline is that of a batch, and memory is the model's business
    scorers = build.recipe.clip.scorers.values() if build.recipe.clip else ()
    rows = max((scorer.batch_size for scorer in scorers), default=1)
    limits = replace(
        build.limits,
        row_cpu_seconds=build.limits.row_cpu_seconds * rows,
        row_wall_seconds=build.limits.row_wall_seconds * rows,
        memory_bytes=0,
        threads=max((scorer.threads for scorer in scorers), default=1),
    )
    build.map("score", tasks, limits)
    for source in build.recipe.sources:
        found = {name: r for name, r in build.results["score"].items() if name[0] == source.id}
        reached = sum(receipt["reached"] for receipt in found.values())
        without = sum(receipt["unscored"] for receipt in found.values())
        if source.clip_score is not None and reached and without == reached:
            raise InputError(no_score(source, [shard for _, shard in found]))


def _is_scored(recipe: Recipe, name: Name) -> bool:
    return recipe.is_scored(recipe.source(name[0]))


def _task(build: "Build", recipe: Recipe, name: Name) -> Task:
    signals = build.fingerprints["measure"][name]
    mark = score_fingerprint(recipe, recipe.source(name[0]), signals)
    if recipe.evaluation:
        # which rows show an evaluation image, and so need no score, is known from dedup
        mark = fingerprint("guarded", mark, *build.fingerprints["dedup"].values())
    # here, since it reads the weights of the scorers whole
    held = validity(recipe, recipe.source(name[0]), signals)
    body: Json = {"source": name[0], "shard": name[1], "number": 0, "validity": held}
    return Task(text_of(name), mark, {**body, "input": build.shards[name].to_json()})
