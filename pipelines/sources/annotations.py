"""Annotation sources: datasets of boxes, questions and dialogues, with images in a folder beside.

Every record is a row of the ledger. Large files are read in parts, each a task of its own. Of a single file of JSON
lines a part is a range of bytes; of all others, and of several sets of annotations, the records about the images whose
names fall in one range, so that an image is measured once. Phase split finds both in one pass over the files.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import pyarrow as pa

from pipelines.datasets.dataset import Built, Glimpse, Made, Record, build
from pipelines.datasets.drafts import Draft, finish
from pipelines.datasets.pages import local_name
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import jsonl_from
from pipelines.datasets.table import find, glimpse, suggestion
from pipelines.engines.step import At, Json
from pipelines.files import FileInfo, Store, join
from pipelines.layout import Layout
from pipelines.parquet import write_tables
from pipelines.sources.own import stored_image
from pipelines.sources.shard import Discovery, InputShard
from schemas.errors import InputError, RowError, ShardError
from schemas.row import pair_key
from schemas.sample import Sample, text_of, view_key

if TYPE_CHECKING:  # the table of kinds imports this module, and with it every reader of a recipe does
    from filters.signals import Measurer
    from pipelines.recipe.model import AnnotationSet, Source

SEVERAL_SETS: Final = "sets"
"""What the parts of several sets of annotations are called, as those of one are by its format."""

BYTES_A_PART = 32 * 1024 * 1024
"""Of the files of a source; larger ones are read in several parts."""

DRAFTS = pa.schema(
    [
        ("member", pa.string()),
        ("task", pa.string()),
        ("images", pa.list_(pa.string())),
        ("offsets", pa.list_(pa.int64())),
        ("sample", pa.string()),
    ]
)
"""work/drafts: the views of each record, but for their split, each as a sample of one view.

`images` are names below the source's folder; of pairs of several images those by which the reader fetches them, with
their `offsets` in the tar.
"""


def discover(source: "Source", store: Store) -> Discovery:
    """The source's shards: parts of its annotation files. InputError where a file is missing."""
    if source.images is not None and not store.is_folder(source.images):
        raise InputError(
            f"source {source.id}: there is no folder of images at {source.images}; check the spelling of images:"
        )
    sets = source.sets
    sizes = [sum(info.size for info in _infos(source, one, store)) for one in sets]
    path = next(iter(files_of(source, sets[0]).values()))
    if len(sets) == 1 and find(sets[0].format)[0].folder is not None:
        form = sets[0].format
        return Discovery((InputShard(source.id, form, path, source.kind, form, sizes[0]),))
    form = sets[0].format if len(sets) == 1 else SEVERAL_SETS
    size, parts = sum(sizes), max(1, -(-sum(sizes) // BYTES_A_PART))
    return Discovery(
        tuple(
            InputShard(
                source.id,
                f"{form}-{part:04d}-of-{parts:04d}",
                path,
                source.kind,
                form,
                size * (part + 1) // parts - size * part // parts,
            )
            for part in range(parts)
        )
    )


def _infos(source: "Source", one: "AnnotationSet", store: Store) -> list[FileInfo]:
    """The files of one set, by name."""
    paths = files_of(source, one).values()
    if find(one.format)[0].folder is not None:
        return [info for path in paths for info in store.list_files(path)]
    return [store.info(path) for path in paths]


def identity(shard: InputShard, source: "Source", store: Store) -> str:
    """Returns what changes when an annotation file, or a dataset's package, does.

    Images are checked by digest when they are written.
    """
    found = [_identity(source, one, store) for one in source.sets]
    if len(found) == 1:
        return found[0]
    named = (f"{one.format}\0{mark}\n" for one, mark in zip(source.sets, found, strict=True))
    return hashlib.sha256("".join(named).encode()).hexdigest()


def _identity(source: "Source", one: "AnnotationSet", store: Store) -> str:
    dataset, plugin = find(one.format)
    digest = hashlib.sha256(plugin.digest.encode() if plugin else b"")
    if dataset.folder is not None:
        for info in _infos(source, one, store):
            digest.update(f"{info.name}\0{store.identity(info.path)}\n".encode("utf-8", "surrogateescape"))
    else:
        for part, path in files_of(source, one).items():
            digest.update(f"{part}\0{store.identity(path)}\n".encode())
    return digest.hexdigest()


def files_of(source: "Source", one: "AnnotationSet") -> dict[str, str]:
    """Returns the files of a set by the part that its format calls them; a folder is the only part of its format.

    InputError where they are not those.
    """
    parts = find(one.format)[0].parts
    if one.files:
        if set(one.files) != set(parts):
            raise InputError(
                f"source {source.id}: format {one.format} is read from the files {', '.join(parts)}, "
                f"but files: names {', '.join(sorted(one.files))}"
            )
        return {part: one.files[part] for part in parts}
    if len(one.path) != 1 or len(parts) != 1:
        raise InputError(
            f"source {source.id}: format {one.format} is read from {len(parts)} files; name each: "
            f"files: {{{', '.join(f'{part}: …' for part in parts)}}}"
        )
    return {parts[0]: one.path[0]}


def is_part(shard: InputShard) -> bool:
    """Returns whether the shard is one of several parts of its files."""
    return "-of-" in shard.shard and not shard.shard.endswith("-of-0001")


def outcomes(source: "Source", store: Store, shard: InputShard, layout: Layout) -> Iterator[Built]:
    """What becomes of each record of a shard, set by set, in the order of the files.

    Raises InputError where a dataset makes samples of a task that it does not declare.
    """
    sets = source.sets
    labels = labels_of(sets)
    for number, records in _records(source, store, shard, layout):
        one, dataset = sets[number], find(sets[number].format)[0]
        for built in build(records, dataset.make, partial(_better, one.format)):
            if strange := {draft.task for draft in built.drafts} - {*dataset.tasks}:
                raise InputError(
                    f"source {source.id}: the record {built.member!r} of format {one.format} became samples of task "
                    f"{', '.join(sorted(strange))}, which the dataset does not declare (tasks: "
                    f"{', '.join(dataset.tasks)})"
                )
            own = dataset.id_of(built.member)
            drafts = tuple(_told(draft, own, one.licence) for draft in built.drafts)
            yield built._replace(member=labels[number] + built.member, drafts=drafts)


def labels_of(sets: Sequence["AnnotationSet"]) -> list[str]:
    """Returns what stands before the names of each set's records, so that those of several sets differ."""
    if len(sets) == 1:
        return [""]
    seen: Counter[str] = Counter()
    labels = []
    for one in sets:
        seen[one.format] += 1
        labels.append(f"{one.format}{'' if seen[one.format] == 1 else f'.{seen[one.format]}'}:")
    return labels


def _told(draft: Draft, id_: str | None, licence: str | None) -> Draft:
    """Returns a draft with the id of its record and the licence of its set, where it has none of its own."""
    about = draft.about
    return draft._replace(about=about._replace(id=about.id or id_, licence=about.licence or licence))


def _records(
    source: "Source", store: Store, shard: InputShard, layout: Layout
) -> Iterator[tuple[int, Iterable[Record]]]:
    """Yields the number of each set and its records in this shard."""
    if is_part(shard):
        yield from _part(store, shard, layout)
        return
    for number, one in enumerate(source.sets):
        with records_of(source, one, store) as records:
            yield number, records


@contextmanager
def records_of(source: "Source", one: "AnnotationSet", store: Store) -> Iterator[Iterable[Record]]:
    """The records of a set, whose files are open as long."""
    dataset = find(one.format)[0]
    if dataset.folder is not None:
        yield dataset.folder(store, next(iter(files_of(source, one).values())))
    elif dataset.records is not None:
        with opened(source, one, store) as files:
            yield _suggesting(dataset.records(files), source, one, store)


def _suggesting(
    records: Iterator[Record], source: "Source", one: "AnnotationSet", store: Store
) -> Iterator[Record]:
    """Yields the records; a ShardError names the format that fits the first file better, if one does."""
    try:
        yield from records
    except ShardError as error:
        seen = glimpse(store, next(iter(files_of(source, one).values())))
        raise ShardError(f"{error}{suggestion(one.format, seen)}") from error


def _better(form: str, value: Mapping[str, Any]) -> str:
    """Returns the end of a sentence that names the format that fits a record better, if one does by its fields."""
    return suggestion(form, Glimpse(b"", b"", frozenset(map(str, value))))


@contextmanager
def opened(source: "Source", one: "AnnotationSet", store: Store) -> Iterator[dict[str, BinaryIO]]:
    """The files of a set, open for reading, by their part."""
    with ExitStack() as stack:
        yield {part: stack.enter_context(store.open(path)) for part, path in files_of(source, one).items()}


def part_of(record: Record, make: Callable[[Mapping[str, Any]], Made], parts: int) -> int:
    """Returns the part that a record belongs to: by the file name of its image, of however many sets.

    A part has the images whose names' hashes lie in one range.
    """
    built = next(build([record], make))
    names = [draft.images[0].name for draft in built.drafts if draft.images]
    name = names[0].replace("\\", "/").rpartition("/")[2] if names else record.member
    digest = hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest) * parts >> 64


def _part(store: Store, shard: InputShard, layout: Layout) -> Iterator[tuple[int, Iterable[Record]]]:
    """The records of a part, by what phase split wrote of it. ShardError where it found the files damaged."""
    with layout.store.open(layout.path("parts", shard.source, shard.shard)) as file:
        first = json.loads(file.readline())
        if "damage" in first:
            raise ShardError(first["damage"])
        if "line" in first:
            with store.open(shard.path) as lines:
                yield 0, jsonl_from(_between(lines, first["start"], first["stop"]), first["line"])
        for number, found in groupby(map(unpacked, file), key=itemgetter(0)):
            yield number, (record for _, record in found)


def hide(layout: Layout, source: str, shard: str, members: Container[str]) -> None:
    """Takes the content of records out of what phase split wrote of a part; ranges of bytes hold none."""
    path = layout.path("parts", source, shard)
    if not layout.store.exists(path):
        return
    with (
        layout.store.open(path) as file,
        layout.store.write_atomic(path, layout.tmp) as local,
        local.open("wb") as copy,
    ):
        copy.write(file.readline())
        for line in file:
            number, record = unpacked(line)
            copy.write(packed(number, Record(record.member, {})) if record.member in members else line)


def _between(file: BinaryIO, start: int, stop: int) -> Iterator[bytes]:
    """The lines that lie in a range of bytes."""
    file.seek(start)
    while start < stop and (line := file.readline()):
        start += len(line)
        yield line


def packed(number: int, record: Record) -> bytes:
    """Returns a record of the set `number` as a line of JSON.

    JSON keeps no keys but text: of other keys the line holds a list of items.
    """
    items = {
        name: list(value.items())
        for name, value in record.value.items()
        if isinstance(value, dict) and not all(isinstance(key, str) for key in value)
    }
    try:
        line = json.dumps([number, record.member, {**record.value, **items}, list(items), record.refusal])
    except (TypeError, ValueError, RecursionError) as error:  # a pickle may hold bytes, or itself
        refusal = Refusal("bad_record", f"a field is of the wrong kind ({type(error).__name__})")
        line = json.dumps([number, record.member, {}, [], refusal])
    return line.encode() + b"\n"


def unpacked(line: bytes) -> tuple[int, Record]:
    """Returns the number of the set and the record that `packed` wrote."""
    number, member, value, items, refusal = json.loads(line)
    value |= {name: dict(value[name]) for name in items}
    return number, Record(member, value, refusal and Refusal(*refusal))


@dataclass
class Facts:
    """What was measured of one image, or why it could not be."""

    columns: Json = field(default_factory=dict)
    error: RowError | None = None


class Annotations:
    """Measures one part of an annotation source: signals of each record, and its samples."""

    def __init__(self, layout: Layout, signals: "Measurer") -> None:
        self._layout = layout
        self._signals = signals

    def records(
        self,
        source: "Source",
        shard: InputShard,
        task: Json,
        at: At,
        verdict_of: Callable[[int, str], RowError | None],
    ) -> Iterator[tuple[int, Json, list[Json]]]:
        """For each record of this part its number, its signals (but those of its text) and its drafts."""
        store = Store(source.storage_options or None, source.id)
        look = _Look(store, source, self._signals, {})
        built = enumerate(outcomes(source, store, shard, self._layout))
        while (found := next(built, None)) is not None:
            number, one = found
            if number == task.get("only", number):
                at(number)
                yield number, *self._record(source, shard, one, look, verdict_of(number, one.member))
                if "only" in task:
                    return

    def _record(
        self, source: "Source", shard: InputShard, built: Built, look: "_Look", verdict: RowError | None
    ) -> tuple[Json, list[Json]]:
        content = json.dumps([_plain(draft) for draft in built.drafts], sort_keys=True, ensure_ascii=False)
        split = built.drafts[0].split if built.drafts else ""
        record: Json = {
            "source": shard.source,
            "shard": shard.shard,
            "member": built.member,
            "caption_raw": _words(built),
            "url": next((one.url for draft in built.drafts for one in draft.images if one.url), None),
            "further": [],
        }
        said: Json = {"split": split, "lost": [lost.reason for lost in built.lost]}
        if built.drafts and built.drafts[0].about.id is not None:
            said["id"] = built.drafts[0].about.id
        record["extra"] = json.dumps(said)
        record["key"] = pair_key(shard.source, built.member, "", content.encode("utf-8", "surrogatepass"))
        if verdict:
            record["error"], record["error_message"] = verdict.kind, verdict.message
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

    def _drafts(self, source: "Source", built: Built, look: "_Look", record: Json) -> list[Json]:
        drafts: list[Json] = []
        ordinals: dict[str, int] = {}
        for draft in built.drafts:
            names = [image.name for image in draft.images]
            facts = [look(name) for name in names]
            if facts and "sha256" not in record:
                # the row's image signals are those of its first image
                record.update(facts[0].columns)
            record["further"] += [one for one in facts if one.columns["sha256"] != record["sha256"]]
            images = [stored_image(one.columns) for one in facts]
            key = view_key(record["key"], draft.task, ordinals.setdefault(draft.task, 0))
            ordinals[draft.task] += 1
            example = finish(draft, key, images, split="train", source=source.id, licence=source.licence)
            line = Sample.of(key, [example]).to_json()
            drafts.append({"member": built.member, "task": draft.task, "images": names, "sample": line})
        return drafts


@dataclass(frozen=True)
class _Look:
    """Measures images by name, each once."""

    store: Store
    source: "Source"
    signals: "Measurer"
    seen: dict[str, Facts]

    def __call__(self, name: str) -> Facts:
        """What is known of an image; Refused where it is missing, RowError where it cannot be measured."""
        if name not in self.seen:
            self.seen[name] = self._measured(name)
        facts = self.seen[name]
        if facts.error is not None:
            raise facts.error
        return facts

    def _measured(self, name: str) -> Facts:
        try:
            data = self.store.read_bytes(
                find_image(self.source, self.store, name), self.signals.pictures.settings.max_bytes
            )
        except InputError as error:
            raise Refused("missing_image", f"{name} is not among the images of the source") from error
        try:
            return Facts(self.signals.image(data, pair=False))
        except RowError as error:
            return Facts(error=error)


def image_path(source: "Source", name: str) -> str:
    """Where an image of an annotation source lies, whether it exists or not.

    A name that leaves the folder, as of another layout of the same dataset, stands for its last part.
    """
    folder = source.images or (source.path[0] if source.path else ".")
    try:
        inside = local_name(name)
    except Refused:
        inside = local_name(name.replace("\\", "/").rpartition("/")[2])
    return join(folder, inside)


def find_image(source: "Source", store: Store, name: str) -> str:
    """The path of an image that is there: by its name, else by the last part of it."""
    path = image_path(source, name)
    if "/" in name and not store.exists(path):
        return image_path(source, name.rpartition("/")[2])
    return path


def _plain(draft: Draft) -> Any:
    """A draft as JSON, for its digest."""
    return [draft.task, draft.language, [list(one[:3]) for one in draft.images], repr(draft.turns)]


def _words(built: Built) -> str | None:
    """The words of a record's first sample, so that its language and length can be looked up."""
    if not built.drafts:
        return None
    return text_of(built.drafts[0].turns)


def write_drafts(layout: Layout, shard: InputShard, rows: list[Json]) -> None:
    """Write the drafts of one part."""
    path = layout.path("drafts", shard.source, shard.shard)
    write_tables(layout, path, DRAFTS, [pa.Table.from_pylist(rows, DRAFTS)])
