"""Annotation sources: data sets of boxes, questions and dialogues, with pictures in a folder beside.

Every record is a row of the ledger. One file is read by several tasks, each taking every n-th record,
so that a large one is spread over workers.
"""

import hashlib
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from filters.signals import Measurer
from pipelines.datasets import flickr30k, pages
from pipelines.datasets.built import Built, Draft, Record
from pipelines.datasets.finish import finish
from pipelines.datasets.local_names import local_name
from pipelines.datasets.reasons import Refused
from pipelines.datasets.table import DATA_SETS
from pipelines.engines.step import At, Json
from pipelines.files import Store, join, local_path
from pipelines.layout import Layout
from pipelines.parquet import write_tables
from pipelines.recipe.model import Source
from pipelines.sources import InputShard
from schemas.errors import InputError, RowError
from schemas.row import pair_key
from schemas.sample import Image, ImageRef, Sample, Turn, sample_key

BYTES_A_TASK = 32 * 1024 * 1024
"""Of an annotation file; larger ones are read by several tasks."""

DRAFTS = pa.schema(
    [
        ("member", pa.string()),
        ("task", pa.string()),
        ("images", pa.list_(pa.string())),
        ("sample", pa.string()),
    ]
)
"""work/drafts: the samples of each record, but for their split; `images` are names below the source's folder."""

FOLDERS = ("pages", "flickr30k")
"""Formats whose records are many files of a folder."""


def discover_annotations(source: Source, store: Store) -> list[InputShard]:
    """The source's shards: parts of its annotation files. InputError where a file is missing."""
    assert source.format is not None
    if source.images is not None and not store.is_folder(source.images):
        raise InputError(
            f"source {source.id}: there is no folder of pictures at {source.images}; check the spelling of images:"
        )
    if source.format in FOLDERS:
        return [InputShard(source.id, source.format, source.path[0], "annotations", "annotations", 0)]
    sizes = [store.info(path).size for path in _files(source).values()]
    parts = max(1, -(-sum(sizes) // BYTES_A_TASK))
    first = next(iter(_files(source).values()))
    return [
        InputShard(
            source.id, f"{source.format}-{part:04d}-of-{parts:04d}", first, "annotations", "annotations", part
        )
        for part in range(parts)
    ]


def annotation_identity(source: Source, store: Store) -> str:
    """What changes when an annotation file does; pictures are checked by digest when they are written."""
    digest = hashlib.sha256()
    if source.format in FOLDERS:
        for info in store.list_files(source.path[0]):
            digest.update(f"{info.name}\0{store.identity(info.path)}\n".encode("utf-8", "surrogateescape"))
    else:
        for part, path in _files(source).items():
            digest.update(f"{part}\0{store.identity(path)}\n".encode())
    return digest.hexdigest()


def _files(source: Source) -> dict[str, str]:
    """The source's files by the part that its format calls them."""
    parts = DATA_SETS[str(source.format)].parts
    if source.files:
        if set(source.files) != set(parts):
            raise InputError(
                f"source {source.id}: format {source.format} is read from the files {', '.join(parts)}, "
                f"but files: names {', '.join(sorted(source.files))}"
            )
        return {part: source.files[part] for part in parts}
    if len(source.path) != 1 or len(parts) != 1:
        raise InputError(
            f"source {source.id}: format {source.format} is read from {len(parts)} files; name each: "
            f"files: {{{', '.join(f'{part}: …' for part in parts)}}}"
        )
    return {parts[0]: source.path[0]}


def outcomes(source: Source, store: Store) -> Iterator[Built]:
    """What becomes of each record, in the order of the files."""
    if source.format == "pages":
        yield from pages.build(pages.records(Path(local_path(source.path[0]))))
    elif source.format == "flickr30k":
        yield from flickr30k.build(_flickr(source, store))
    else:
        with ExitStack() as stack:
            files = {part: stack.enter_context(store.open(path)) for part, path in _files(source).items()}
            yield from DATA_SETS[str(source.format)].outcomes(files)


def _flickr(source: Source, store: Store) -> Iterator[Record]:
    """Flickr30k Entities: Sentences/ID.txt and Annotations/ID.xml below the source's folder."""
    folder = source.path[0]
    for info in store.list_files(join(folder, "Sentences")):
        picture = info.name.removesuffix(".txt")
        text = store.read_bytes(info.path).decode("utf-8", "replace")
        yield from flickr30k.records(
            picture, text, store.read_bytes(join(folder, "Annotations", f"{picture}.xml"))
        )


@dataclass
class Facts:
    """What was measured of one picture, or why it could not be."""

    columns: Json = field(default_factory=dict)
    error: RowError | None = None


class Annotations:
    """Measures one part of an annotation source: signals of each record, and its samples."""

    def __init__(self, layout: Layout, signals: Measurer) -> None:
        self._layout = layout
        self._signals = signals

    def records(
        self, source: Source, shard: InputShard, task: Json, at: At
    ) -> Iterator[tuple[int, Json, list[Json]]]:
        """For each record of this part its number, its signals (but those of its text) and its drafts."""
        store = Store(source.storage_options or None, source.id)
        parts = int(shard.shard.rpartition("-of-")[2]) if "-of-" in shard.shard else 1
        seen: dict[str, Facts] = {}
        built = enumerate(outcomes(source, store))
        while True:
            number, one = next(built, (-1, None))
            if one is None:
                return
            if number % parts != (shard.size if parts > 1 else 0):
                continue
            if "only" in task and number != task["only"]:
                continue
            at(number)
            verdict = task.get("verdicts", {}).get(str(number))
            look = _Look(store, source, self._signals, seen)
            yield number, *self._record(source, shard, one, look, verdict)
            if "only" in task:
                return

    def _record(
        self, source: Source, shard: InputShard, built: Built, look: "_Look", verdict: str | None
    ) -> tuple[Json, list[Json]]:
        content = json.dumps([_plain(draft) for draft in built.drafts], sort_keys=True, ensure_ascii=False)
        record: Json = {
            "source": shard.source,
            "shard": shard.shard,
            "member": built.member,
            "caption_raw": _words(built),
            "extra": json.dumps({"split": _own_split(built), "lost": [lost.reason for lost in built.lost]}),
            "further": [],
        }
        record["key"] = pair_key(
            shard.source, f"{built.member}", "", content.encode("utf-8", "surrogatepass")
        )
        if verdict:
            record["error"], record["error_message"] = verdict, RowError(verdict).message
            return record, []
        if built.refusal is not None:
            record["refusal"], record["refusal_text"] = built.refusal.reason, built.refusal.text
            return record, []
        try:
            return record, self._drafts(source, built, look, record)
        except Refused as refused:
            record["refusal"], record["refusal_text"] = refused.refusal.reason, refused.refusal.text
        except RowError as error:
            record["error"], record["error_message"] = error.kind, error.message
        return record, []

    def _drafts(self, source: Source, built: Built, look: "_Look", record: Json) -> list[Json]:
        drafts: list[Json] = []
        ordinals: dict[str, int] = {}
        for draft in built.drafts:
            names = [picture.name for picture in draft.images]
            facts = [look(name) for name in names]
            if facts and "sha256" not in record:
                # the row's picture signals are those of its first picture
                record.update(facts[0].columns)
            record["further"] += [one for one in facts if one.columns["sha256"] != record["sha256"]]
            images = [
                Image(*(one.columns[f] for f in ("format", "width", "height", "sha256"))) for one in facts
            ]
            key = sample_key(record["key"], draft.task, ordinals.setdefault(draft.task, 0))
            ordinals[draft.task] += 1
            sample = finish(draft, key, images, split="train", source=source.id, licence=source.licence)
            drafts.append(_draft_row(built.member, sample, names))
        return drafts


@dataclass(frozen=True)
class _Look:
    """Measures pictures by name, each once."""

    store: Store
    source: Source
    signals: Measurer
    seen: dict[str, Facts]

    def __call__(self, name: str) -> Facts:
        """What is known of a picture; Refused where it is missing, RowError where it cannot be measured."""
        if name not in self.seen:
            self.seen[name] = self._measured(name)
        facts = self.seen[name]
        if facts.error is not None:
            raise facts.error
        return facts

    def _measured(self, name: str) -> Facts:
        try:
            data = self.store.read_bytes(
                find_picture(self.source, self.store, name), self.signals.pictures.settings.max_bytes
            )
        except InputError as error:
            raise Refused("missing_image", f"{name} is not among the pictures of the source") from error
        try:
            return Facts(self.signals.image(data, pair=False))
        except RowError as error:
            return Facts(error=error)


def picture_path(source: Source, name: str) -> str:
    """Where a picture of an annotation source lies, whether it exists or not.

    A name that leaves the folder, as of another layout of the same data set, stands for its last part.
    """
    folder = source.images or (source.path[0] if source.path else ".")
    try:
        inside = local_name(name)
    except Refused:
        inside = local_name(name.replace("\\", "/").rpartition("/")[2])
    return join(folder, inside)


def find_picture(source: Source, store: Store, name: str) -> str:
    """The path of a picture that is there: by its name, else by the last part of it."""
    path = picture_path(source, name)
    if "/" in name and not store.exists(path):
        return picture_path(source, name.rpartition("/")[2])
    return path


def _draft_row(member: str, sample: Sample, names: list[str]) -> Json:
    return {"member": member, "task": sample.task, "images": names, "sample": sample.to_json()}


def _plain(draft: Draft) -> Any:
    """A draft as JSON, for its digest."""
    return [draft.task, draft.language, [list(one) for one in draft.images], repr(draft.turns)]


def _words(built: Built) -> str | None:
    """The words of a record's first sample, so that its language and length can be looked up."""
    if not built.drafts:
        return None
    sample = Sample("k", "t", "train", "und", "s", "l", (), _unpictured(built.drafts[0]))
    return sample.text


def _unpictured(draft: Draft) -> Any:
    return tuple(
        Turn(turn.role, tuple(one for one in turn.segments if not isinstance(one, ImageRef)))
        for turn in draft.turns
    )


def _own_split(built: Built) -> str:
    return built.drafts[0].split if built.drafts else ""


def write_drafts(layout: Layout, shard: InputShard, rows: list[Json]) -> None:
    """Write the drafts of one part."""
    path = layout.drafts(shard.source, shard.shard)
    write_tables(layout, path, DRAFTS, [pa.Table.from_pylist(rows, DRAFTS)])
