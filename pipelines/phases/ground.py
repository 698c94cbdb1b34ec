"""Phase ground: the noun chunks of kept captions, and the boxes that a detector finds for them.

All boxes above the detector's floor are written down with their scores; which of them are believed is
compose's business, so moving a threshold detects nothing anew. Rows that an earlier run grounded stay.
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from filters.chunk_tree import load_chunkers
from filters.chunks import Chunk, Chunker
from filters.detect import Detector, Found
from filters.detect_load import LIBRARIES, files_of, load_detector
from filters.picture import Pictures, PictureSettings
from pipelines.engines.step import IDLE, SEVERAL, At, Json
from pipelines.files import Store
from pipelines.layout import Layout, Name, text_of
from pipelines.parquet import read_table, still_valid, write_valid
from pipelines.receipts import Task, fingerprint, versions
from pipelines.recipe.model import Recipe, Source
from pipelines.sources import InputShard, fetch
from pipelines.sources.interleaved import drafts_of
from schemas.errors import ModelError
from schemas.ground import COLOURS, GroundSettings

if TYPE_CHECKING:
    from pipelines.build import Build

GROUNDED = pa.schema(
    [
        ("source", pa.string()),
        ("shard", pa.string()),
        ("member", pa.string()),
        ("key", pa.string()),
        # [start, end, whole_start, whole_end] of each noun chunk, characters of the cleaned caption
        ("chunks", pa.list_(pa.list_(pa.int32(), 4))),
        ("phrase", pa.list_(pa.int32())),
        ("boxes", pa.list_(pa.list_(pa.float64(), 4))),
        ("scores", pa.list_(pa.float64())),
        ("detector", pa.string()),
    ]
)
"""work/grounded: a row for each pair that was looked at, in order of member; `phrase` numbers the chunks."""


def chunker_names(settings: GroundSettings) -> dict[str, str]:
    """What chunks each language here; ModelError where it is not installed. Workers must have the same."""
    return {language: chunker.id for language, chunker in load_chunkers(settings).items()}


def detector_identity(settings: GroundSettings) -> list[str]:
    """What changes when the detector does: its files where it is a folder, else its name."""
    detector = settings.detector
    if detector.model == COLOURS:
        return [COLOURS]
    store = Store()
    files = [f"{file.name} {store.identity(str(file))}" for file in files_of(detector.model)]
    return files or [detector.model, str(detector.revision)]


def libraries_of(settings: GroundSettings) -> tuple[str, ...]:
    """Returns the distributions that find boxes and noun chunks with these settings."""
    spacy = ("spacy",) if settings.chunker == "spacy" else ()
    return (*spacy, *(() if settings.detector.model == COLOURS else LIBRARIES))


def ground_fingerprint(settings: GroundSettings, chunkers: dict[str, str], kept: str, signals: str) -> str:
    """What the boxes of one shard depend on: its kept rows, and what a single row's depend on."""
    return fingerprint("ground", 1, kept, settings.languages, validity(settings, chunkers, signals))


def validity(settings: GroundSettings, chunkers: dict[str, str], signals: str) -> str:
    """What a single row's boxes depend on: while it is the same, those of earlier runs hold."""
    own = settings.model_dump(mode="json", include={"expand", "max_chunks"})
    detector = settings.detector.model_dump(mode="json", include={"floor", "per_phrase", "threads"})
    made_with = versions(libraries_of(settings))
    return fingerprint(
        "grounded", 2, own, detector, detector_identity(settings), chunkers, made_with, signals
    )


class Ground:
    """Grounds one input shard a task."""

    def __init__(self, setup: Json) -> None:
        self._recipe = Recipe.model_validate(setup["recipe"])
        self._layout = Layout(**setup["layout"])
        self._pictures = Pictures(self._recipe.signals[PictureSettings])
        self._detectors: dict[str, Detector] = {}
        self._chunkers: dict[str, dict[str, Chunker]] = {}

    def run(self, task: Json, at: At) -> Json:
        """Writes the shard's boxes; the receipt counts pairs, those with any box, and boxes."""
        at(SEVERAL)
        source = self._recipe.source(task["source"])
        settings = source.ground
        assert settings is not None
        rows = self._kept(source, settings, task["shard"])
        path = self._layout.path("grounded", source.id, task["shard"])
        old = still_valid(self._layout, path, task["validity"], GROUNDED)
        known = {row["member"]: row for row in old.to_pylist()}
        fresh = [row for row in rows if row["member"] not in known]
        found = {row["member"]: row for row in self._fresh(source, settings, task, fresh, at)}
        whole = [known.get(row["member"]) or found[row["member"]] for row in rows]
        # rows that are no longer kept may come back: theirs stay as well
        gone = [row for member, row in known.items() if member not in {row["member"] for row in rows}]
        table = pa.Table.from_pylist(sorted([*whole, *gone], key=lambda row: row["member"]), GROUNDED)
        write_valid(self._layout, path, task["validity"], table)
        at(IDLE)
        return {
            "rows": len(rows),
            "grounded": len(fresh),
            "found": sum(bool(row["scores"]) for row in whole),
            "boxes": sum(len(row["scores"]) for row in whole),
            "detectors": sorted({row["detector"] for row in whole}),
            "chunkers": task["chunkers"],
        }

    def _kept(self, source: Source, settings: GroundSettings, shard: str) -> list[Json]:
        """Kept pairs of one image and a caption in a language that is grounded."""
        decisions = read_table(self._layout, self._layout.path("decisions", source.id, shard), ["decision"])
        named = ["source", "shard", "member", "key", "caption", "language", "offset"]
        columns = [*named, "sha256", "original_sha256"]
        signals = read_table(self._layout, self._layout.path("signals", source.id, shard), columns)
        kept = pc.and_(
            pc.equal(decisions["decision"], "kept"),
            pc.and_(pc.is_valid(signals["sha256"]), pc.is_valid(signals["caption"])),
        )
        mine = pc.is_in(signals["language"], value_set=pa.array(settings.languages, pa.string()))
        several = drafts_of(self._layout, source, shard)
        rows = signals.filter(pc.and_(kept, mine)).to_pylist()
        return [row for row in rows if row["member"] not in several]

    def _fresh(
        self, source: Source, settings: GroundSettings, task: Json, rows: list[Json], at: At
    ) -> Iterator[Json]:
        """Rows of GROUNDED, in the order of the shard's file."""
        if not rows:
            return
        chunkers = self._chunks_by(settings, task["chunkers"])
        detector = self._detector(settings)
        wanted = {row["member"]: row for row in rows}
        shard = InputShard.from_json(task["input"])
        order = sorted(((row["member"], row["offset"]) for row in rows), key=lambda one: one[1] or 0)
        digests = {row["member"]: row["original_sha256"] for row in rows}
        limits = self._recipe.read
        for member, data in fetch(shard, source.columns, order, source.storage_options, limits, digests):
            at(SEVERAL)
            row = wanted.pop(member)
            chunks = chunkers[row["language"]].chunks(row["caption"], row["language"])[: settings.max_chunks]
            phrases = [row["caption"][chunk.start : chunk.end] for chunk in chunks]
            boxes = detector.detect(self._pixels(data), phrases) if phrases else []
            yield _row(row, chunks, boxes, detector.id)
        if wanted:
            raise shard.changed(min(wanted))

    def _pixels(self, data: bytes) -> Any:
        """The image as it is stored, in RGB."""
        with Image.open(io.BytesIO(self._pictures.stored(data))) as picture:
            return np.asarray(picture.convert("RGB"))

    def _detector(self, settings: GroundSettings) -> Detector:
        """The detector of these settings, loaded once a process."""
        name = settings.detector.model_dump_json()
        if name not in self._detectors:
            self._detectors[name] = load_detector(settings.detector)
        return self._detectors[name]

    def _chunks_by(self, settings: GroundSettings, expected: dict[str, str]) -> dict[str, Chunker]:
        name = settings.model_dump_json()
        if name not in self._chunkers:
            self._chunkers[name] = load_chunkers(settings)
        found = self._chunkers[name]
        names = {language: chunker.id for language, chunker in found.items()}
        if names != expected:
            raise ModelError(
                f"a worker chunks with {names}, where the run began with {expected}; install the same spaCy pipelines "
                "everywhere, or say chunker: rules"
            )
        return found


def _row(row: Json, chunks: list[Chunk], found: list[Found], detector: str) -> Json:
    return {
        **{name: row[name] for name in ("source", "shard", "member", "key")},
        "chunks": [list(chunk) for chunk in chunks],
        "phrase": [one.phrase for one in found],
        "boxes": [list(one.box) for one in found],
        "scores": [one.score for one in found],
        "detector": detector,
    }


def read_grounded(layout: Layout, source: str, shard: str) -> dict[str, tuple[list[Chunk], list[Found]]]:
    """By member: the chunks of its caption, and what was found of them."""
    table = read_table(
        layout, layout.path("grounded", source, shard), ["member", "chunks", "phrase", "boxes", "scores"]
    )
    return {
        row["member"]: (
            [Chunk(*chunk) for chunk in row["chunks"]],
            [
                Found(phrase, tuple(box), score)
                for phrase, box, score in zip(row["phrase"], row["boxes"], row["scores"], strict=True)
            ],
        )
        for row in table.to_pylist()
    }


def run(build: "Build") -> None:
    """Finds what the captions of kept pairs name, in sources that ask for it."""
    asked = {one.id: one.ground for one in build.recipe.sources if one.ground is not None}
    chunkers = {id_: chunker_names(settings) for id_, settings in asked.items()}
    tasks = [
        _task(build, name, asked[name[0]], chunkers[name[0]])
        for name in sorted(build.shards)
        if name[0] in asked
    ]
    if tasks:
        # memory is the detector's business
        threads = max(settings.detector.threads for settings in asked.values())
        build.map("ground", tasks, replace(build.limits, memory_bytes=0, threads=threads))


def _task(build: "Build", name: Name, settings: GroundSettings, chunkers: dict[str, str]) -> Task:
    signals = build.fingerprints["measure"][name]
    kept = build.results["select"][name]["kept_digest"]
    body: Json = {"source": name[0], "shard": name[1], "input": build.shards[name].to_json()}
    body |= {"chunkers": chunkers, "validity": validity(settings, chunkers, signals)}
    return Task(text_of(name), ground_fingerprint(settings, chunkers, kept, signals), body)
