"""Annotation sources: datasets of boxes, questions and dialogues, with images in a folder beside.

Every record is a row of the ledger. Large files are read in parts, each a task of its own. Of a single file of JSON
lines a part is a range of bytes; of all others, and of several sets of annotations, the records about the images whose
names fall in one range, so that an image is measured once. Phase split finds both in one pass over the files.
"""

import hashlib
import json
import posixpath
import re
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache, partial
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Any, BinaryIO, Final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from filters.language import UNDETERMINED
from filters.orientation import UPRIGHT
from pipelines.datasets.conversations import IN_PIXELS
from pipelines.datasets.dataset import Built, Dataset, Record, build, matching, shortened
from pipelines.datasets.drafts import Draft, Shown, finish
from pipelines.datasets.languages import Heard, Spoken, settled
from pipelines.datasets.reasons import Refusal, Refused
from pipelines.datasets.records import FileError, jsonl_from
from pipelines.datasets.table import find, glance, glimpse, looks_like, remedy, suggestion
from pipelines.engines.step import At, Json
from pipelines.files import FileInfo, Store, join
from pipelines.layout import Layout
from pipelines.parquet import write_tables
from pipelines.sources.own import stored_image
from pipelines.sources.records import IMAGE_SUFFIXES
from pipelines.sources.shard import Discovery, InputShard
from schemas.errors import InputError, RowError, ShardError
from schemas.markup.tags import GRID
from schemas.row import ANNOTATIONS, pair_key
from schemas.sample import Example, ImageRef, Phrase, Sample, Segment, Text, Turn, text_of, view_key

if TYPE_CHECKING:  # the table of kinds imports this module, and with it every reader of a recipe does
    from filters.signals import Measurer
    from pipelines.recipe.model import AnnotationSet, Source

_BATCH: Final = 1024

SEVERAL_SETS: Final = "sets"
"""What the parts of several sets of annotations are called, as those of one are by its format."""

BEYOND_MAX_MISSING: Final = "that is more than max_missing allows"
"""The end of the sentence on a document of which images are there, but not enough."""

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
    first = find(sets[0].format)[0]
    path = (
        paths_of(source, sets[0], store)
        if first.many and not first.folder
        else [*files_of(source, sets[0]).values()]
    )[0]
    unread = _unread(source, store)
    if len(sets) == 1 and find(sets[0].format)[0].folder is not None:
        form = sets[0].format
        return Discovery((InputShard(source.id, form, path, source.kind, form, sizes[0]),), unread)
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
        ),
        unread,
    )


def _unread(source: "Source", store: Store) -> tuple[str, ...]:
    """Returns the names of files that lie in a set's folders and are neither read nor images, nor below `images`."""
    read = {info.path for one in source.sets for info in _infos(source, one, store)}
    folders = {
        path: None
        for one in source.sets
        for path in one.path
        if find(one.format)[0].many and not one.files and store.is_folder(path)
    }
    names = {
        info.name
        for folder in folders
        for info in store.list_files(folder)
        if posixpath.splitext(info.name)[1][1:].lower() not in IMAGE_SUFFIXES
        and info.path not in read
        and not _is_below(source.images, info.path)
    }
    return tuple(sorted(names))


def _is_below(folder: str | None, path: str) -> bool:
    return folder is not None and posixpath.normpath(path).startswith(f"{posixpath.normpath(folder)}/")


def _infos(source: "Source", one: "AnnotationSet", store: Store) -> list[FileInfo]:
    """The files of one set, by name."""
    dataset = find(one.format)[0]
    if dataset.many and dataset.folder is None and not one.files:
        return _of_folder(source, one, store)
    if dataset.folder is None:
        return [store.info(path) for path in paths_of(source, one, store)]
    (path,) = files_of(source, one).values()
    if not store.is_folder(path):
        return [store.info(path)]
    found = store.list_files(path)
    return matching(found, dataset.many, dataset.spare) if dataset.many else list(found)


def paths_of(source: "Source", one: "AnnotationSet", store: Store) -> list[str]:
    """Returns the paths of a set's files, of each part one; or all those of the one part of which there are many.

    Raises InputError where a folder stands for a file.
    """
    if find(one.format)[0].many and not one.files:
        return [info.path for info in _of_folder(source, one, store)]
    dataset = find(one.format)[0]
    paths = list(files_of(source, one).values())
    for path in paths:
        if store.is_folder(path):
            there = [info.name for info in store.list_files(path)[:5]]
            raise InputError(
                f"source {source.id}: {path} is a folder, but format {one.format} is read from a file "
                f"({dataset.published}); name the file wanted{f', such as {join(path, there[0])}' if there else ''}"
            )
    return paths


def _of_folder(source: "Source", one: "AnnotationSet", store: Store) -> list[FileInfo]:
    """Returns the files of the one part of which a set has many, each once. InputError where there are none."""
    dataset = find(one.format)[0]
    found = {info.path: info for path in one.path for info in _matching(path, dataset, store)}
    if not found:
        patterns = " or ".join((*dataset.many, *dataset.spare))
        raise InputError(
            f"source {source.id}: there is no file {patterns} with anything in it at {', '.join(one.path)}; format "
            f"{one.format} is read from {dataset.published}"
        )
    return list(found.values())


def _matching(path: str, dataset: Dataset, store: Store) -> list[FileInfo]:
    """Returns the files of a folder that the dataset reads; those that a glob matches; else the file itself."""
    entry = store.entry(path)
    if entry is not None and entry.is_folder:
        return matching(store.list_files(path), dataset.many, dataset.spare)
    if any(sign in path for sign in "*?["):
        return [one.info for one in store.glob(path)]
    return [entry.info if entry else store.info(path)]


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
            digest.update(f"{info.name}\0{store.identity_of(info)}\n".encode("utf-8", "surrogateescape"))
    else:
        infos = _infos(source, one, store)
        names = file_names([info.path for info in infos]) if dataset.many else dataset.parts
        for part, info in zip(names, infos, strict=True):
            digest.update(f"{part}\0{store.identity_of(info)}\n".encode())
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
    """Returns whether the shard is one of several parts of annotation files."""
    return shard.kind == "annotations" and "-of-" in shard.shard and not shard.shard.endswith("-of-0001")


def outcomes(source: "Source", store: Store, shard: InputShard, layout: Layout) -> Iterator[Built]:
    """What becomes of each record of a shard, set by set, in the order of the files.

    Raises InputError where a dataset makes samples of a task that it does not declare; at the end ShardError where
    files are damaged.
    """
    sets = source.sets
    labels = labels_of(sets)
    damage: list[str] = []
    for number, records, meant in _records(source, store, shard, layout, damage):
        one, dataset = sets[number], find(sets[number].format)[0]
        for built in build(records, dataset, partial(_better, one.format, meant)):
            if strange := {draft.task for draft in built.drafts} - {*dataset.tasks}:
                raise InputError(
                    f"source {source.id}: the record {built.member!r} of format {one.format} became samples of task "
                    f"{', '.join(sorted(strange))}, which the dataset does not declare (tasks: "
                    f"{', '.join(dataset.tasks)})"
                )
            own = dataset.id_of(built.member)
            drafts = tuple(_told(draft, own, one.licence) for draft in built.drafts)
            yield built._replace(member=labels[number] + built.member, drafts=drafts)
    if damage:
        raise ShardError(*damage)


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


_Records = Iterator[tuple[int, Iterable[Record], Callable[[], str]]]
"""Of each set its number, its records, and the end of a sentence that names the format its files seem to have."""


def _records(
    source: "Source", store: Store, shard: InputShard, layout: Layout, damage: list[str]
) -> _Records:
    """Yields the sets and their records in this shard; adds to `damage` what is wrong with files."""
    if is_part(shard):
        yield from _part(store, shard, layout, damage)
        return
    for number, one in enumerate(source.sets):
        yield number, records_of(source, one, store, damage), cache(partial(meant, source, one, store))


def records_of(source: "Source", one: "AnnotationSet", store: Store, damage: list[str]) -> Iterator[Record]:
    """Yields the records of a set, file after file; those that are numbered in many files with their file's name.

    A damaged file ends where its damage begins: a sentence on it is added to `damage`, and it has a record of its own,
    under its name.
    """
    dataset = find(one.format)[0]
    if dataset.folder is not None:
        (path,) = files_of(source, one).values()
        named = {_base(path): path}
        name = (
            None if store.is_folder(path) else _base(path)
        )  # of a folder's files the dataset itself has records
        yield from _sound(dataset.folder(store, path), one.format, named, store, damage, name)
        return
    paths = paths_of(source, one, store)
    groups = [(path,) for path in paths] if dataset.many else [tuple(paths)]
    for group, name in zip(groups, file_names([group[0] for group in groups]), strict=True):
        before = "" if dataset.named or len(groups) == 1 else f"{name}:"
        records = (found._replace(member=before + found.member) for found in _opened(dataset, group, store))
        parts = dict(zip(dataset.parts, group, strict=True))
        yield from _sound(records, one.format, parts, store, damage, name)


def _opened(dataset: Dataset, paths: Sequence[str], store: Store) -> Iterator[Record]:
    """Yields the records of the files of a dataset, of each part one, which are open as long."""
    assert dataset.records is not None
    with ExitStack() as stack:
        files = [stack.enter_context(store.open(path)) for path in paths]
        yield from dataset.records(dict(zip(dataset.parts, files, strict=True)))


def _sound(
    records: Iterator[Record],
    form: str,
    paths: Mapping[str, str],
    store: Store,
    damage: list[str],
    name: str | None,
) -> Iterator[Record]:
    """Yields records up to where a file is damaged; then adds a sentence on it, with one remedy, to `damage`.

    A `name` is what the damaged file itself is called as a record.
    """
    try:
        yield from records
    except ShardError as error:
        what, path = str(error), next(iter(paths.values()))
        if isinstance(error, FileError):
            what, path = error.what, paths.get(error.part, path)
            damage.append(f"{path} {what}{remedy(form, glimpse(store, path)) or f'; {error.remedy}'}")
        else:
            damage.append(f"{path}: {what}")
        if name is not None:
            yield Record(
                name if len(paths) == 1 else _base(path), {}, Refusal("damaged_file", f"the file {what}")
            )


def meant(source: "Source", one: "AnnotationSet", store: Store) -> str:
    """Returns the end of a sentence that names the format that fits the first file of a set better, if one does."""
    is_folder = find(one.format)[0].folder is not None
    paths = list(files_of(source, one).values()) if is_folder else paths_of(source, one, store)
    return suggestion(one.format, glimpse(store, paths[0]))


def _better(form: str, meant: Callable[[], str], value: Mapping[str, Any]) -> str:
    """Returns the end of a sentence that names the format that fits a record's file, or the record, better."""
    return meant() or suggestion(form, glance(value))


def file_names(paths: Sequence[str]) -> list[str]:
    """Returns names that tell files apart: their base names, or what follows the folder that all lie in."""
    bases = [_base(path) for path in paths]
    if len({*bases}) == len(bases):
        return bases
    common = posixpath.commonprefix(paths).rfind("/") + 1
    return [path[common:] for path in paths]


def part_of(record: Record, dataset: Dataset, parts: int) -> int:
    """Returns the part that a record belongs to: by the file name of its image, of however many sets.

    A part has the images whose names' hashes lie in one range.
    """
    built = next(build([record], dataset))
    names = [draft.images[0].name for draft in built.drafts if draft.images]
    name = names[0].replace("\\", "/").rpartition("/")[2] if names else record.member
    digest = hashlib.blake2b(name.encode("utf-8", "backslashreplace"), digest_size=8).digest()
    return int.from_bytes(digest) * parts >> 64


def _part(store: Store, shard: InputShard, layout: Layout, damage: list[str]) -> _Records:
    """The records of a part, by what phase split wrote of it, and what that found damaged."""
    with layout.store.open(layout.path("parts", shard.source, shard.shard)) as file:
        first = json.loads(file.readline())
        meant = [partial(str, one) for one in first["meant"]]
        if "line" in first:
            with store.open(shard.path) as lines:
                yield 0, jsonl_from(_between(lines, first["start"], first["stop"]), first["line"]), meant[0]
        for number, found in groupby(_unpacked(file, damage), key=itemgetter(0)):
            yield number, (record for _, record in found), meant[number]


def _unpacked(file: Iterable[bytes], damage: list[str]) -> Iterator[tuple[int, Record]]:
    """Yields the records that phase split wrote; adds the damage that it found, on a line of its own, to `damage`."""
    for line in file:
        if line.startswith(b"{"):
            damage += json.loads(line)["damage"]
        else:
            yield unpacked(line)


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
            if not line.startswith(b"{"):  # what is damaged
                number, record = unpacked(line)
                line = packed(number, Record(record.member, {})) if record.member in members else line
            copy.write(line)


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
        look = _Look(Images(source, store), self._signals, {})
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
        record["key"] = pair_key(shard.source, built.member, "", content.encode("utf-8", "surrogatepass"))
        drafts: list[Json] = []
        found = Found(list(built.lost))
        thousandths = IN_PIXELS.get(_format_of(source, built.member))
        if thousandths:
            record["reach"] = _reach(built.drafts)
        if verdict:
            record["error"], record["error_message"] = verdict.kind, verdict.message
        elif built.refusal is not None:
            record["refusal"], record["refusal_text"] = built.refusal.reason, built.refusal.text
        else:
            try:
                drafts = self._drafts(source, built, look, record, found)
            except Refused as refused:
                reason, text, _ = refused.refusal
                would_fit = thousandths and reason == "box_outside" and record["reach"] <= GRID
                record["refusal"] = reason
                record["refusal_text"] = text + (looks_like(thousandths) if thousandths and would_fit else "")
            except RowError as error:
                record["error"], record["error_message"] = error.kind, error.message
        said: Json = {"split": split, "lost": [lost.reason for lost in found.lost]}
        if built.drafts and built.drafts[0].about.id is not None:
            said["id"] = built.drafts[0].about.id
        record["extra"] = json.dumps(said)
        record["annotations"] = _accounted(built, record, found)
        return record, drafts

    def _drafts(
        self, source: "Source", built: Built, look: "_Look", record: Json, found: "Found"
    ) -> list[Json]:
        """Returns the record's views; adds to `found` which of its annotations they teach, and which are lost."""
        drafts: list[Json] = []
        ordinals: dict[str, int] = {}
        for draft in self._alive(source, built, look, found):
            names = [image.name for image in draft.images]
            facts = [look(name) for name in names]
            if facts and "sha256" not in record:
                # the row's image signals are those of its first image
                record.update(facts[0].columns)
            record["further"] += [one for one in facts if one.columns["sha256"] != record["sha256"]]
            images = [self._shown(source, one) for one in facts]
            key = view_key(record["key"], draft.task, ordinals.setdefault(draft.task, 0))
            ordinals[draft.task] += 1
            example = finish(draft, key, images, split="train", source=source.id, licence=source.licence)
            example, taught = _inside(example, draft.taught, found.lost)
            if taught is None:
                continue
            found.taught.update(taught)
            drafts.append({"member": built.member, "task": draft.task, "images": names, "example": example})
        if not drafts:
            raise Refused(found.lost[0].reason, found.lost[0].text)
        return drafts

    def _shown(self, source: "Source", facts: "Facts") -> Shown:
        is_upright = self._signals.pictures.settings.orientation == "bake"
        return Shown(
            stored_image(facts.columns), facts.columns["orientation"] or UPRIGHT, is_upright, source.boxes_on
        )

    def _alive(self, source: "Source", built: Built, look: "_Look", found: "Found") -> list[Draft]:
        """Returns the drafts, those of a document without its dead images; Refused where these are too many."""
        of_documents = [draft for draft in built.drafts if draft.task == "interleaved"]
        dead: dict[str, Refusal] = {}
        for name in dict.fromkeys(image.name for draft in of_documents for image in draft.images):
            try:
                look(name)
            except Refused as refused:
                dead[name] = refused.refusal
            except RowError as error:
                dead[name] = Refusal(error.kind, error.message)
        if not dead:
            return list(built.drafts)
        shown = len({image.name for draft in of_documents for image in draft.images})
        if len(dead) == shown or len(dead) > source.max_missing * shown:
            first = next(iter(dead.values()))
            alone = Refusal("max_missing", f"{len(dead)} of the document's {shown} images are dead")
            found.lost += [
                dead.get(one.id, alone)._replace(at=at)
                for at, one in enumerate(built.annotations)
                if one.refusal is None
            ]
            where = f"first: {first.text}" if len(dead) == shown else BEYOND_MAX_MISSING
            raise Refused("missing_image", f"{len(dead)} of the document's {shown} images are dead; {where}")
        for at, one in enumerate(built.annotations):
            if one.id in dead:
                found.lost.append(dead[one.id]._replace(at=at))
        gone = {at for at, one in enumerate(built.annotations) if one.id in dead}
        return [
            _without(draft, dead)._replace(taught=tuple(at for at in draft.taught if at not in gone))
            if draft.task == "interleaved"
            else draft
            for draft in built.drafts
        ]

    def finished(self, source: "Source", rows: Sequence[Json]) -> list[Json]:
        """Returns rows of work/drafts, each view in the language that its source or its record states, else its own."""
        known = self._languages([*dict.fromkeys(_spoken(row) for row in rows)])
        made = []
        for member, own in groupby(rows, key=itemgetter("member")):
            views = list(own)
            texts = sorted({_spoken(row) for row in views}, key=lambda one: (-len(one[1]), one))
            sure = next((known[text] for text in texts if known[text] != UNDETERMINED), UNDETERMINED)
            for row in views:
                example = row["example"]
                language = source.language or _language_of(row, texts[0], known, sure)
                line = Sample.of(example.key, [replace(example, language=language)]).to_json()
                made.append({"member": member, "task": row["task"], "images": row["images"], "sample": line})
        return made

    def heard(self, source: "Source", rows: Sequence[Json]) -> list[Json]:
        """Returns rows of work/drafts in which views of rendered documents have the language of their words."""
        read = [(row, Sample.from_json(row["sample"])) for row in rows]
        spoken = {
            view.key: (row["member"], view.text)
            for row, sample in read
            for view in sample.examples
            if view.language == UNDETERMINED
        }
        known = self._languages([*dict.fromkeys(spoken.values())])
        told = {key: source.language or known[one] for key, one in spoken.items()}
        return [
            row | {"sample": Sample.of(sample.key, [_in(view, told) for view in sample.examples]).to_json()}
            for row, sample in read
        ]

    def stated(self, table: pa.Table, source: "Source") -> pa.Table:
        """Returns signals in the language that the source states, where it states one."""
        if source.language is None or "language" not in table.schema.names:
            return table
        for name, value in (("language", source.language), ("language_score", 1.0)):
            at = table.schema.get_field_index(name)
            column = pc.if_else(
                pc.is_valid(table[name]), pa.scalar(value, table.schema.field(at).type), table[name]
            )
            table = table.set_column(at, table.schema.field(at), column)
        return table

    def _languages(self, spoken: Sequence[Spoken]) -> dict[Spoken, str]:
        """Returns the language of each text, given with its image; of all texts of a shard at once."""
        if not {"language", "language_score", "scripts"} <= {*self._signals.schema.names}:
            return dict.fromkeys(spoken, UNDETERMINED)
        texts = [*dict.fromkeys(text for _, text in spoken)]
        found: dict[str, Heard] = {}
        for first in range(0, len(texts), _BATCH):
            batch = texts[first : first + _BATCH]
            table = self._signals.table([{"caption_raw": text} for text in batch])
            columns = (table[name].to_pylist() for name in ("language", "language_score", "scripts"))
            for text, language, score, scripts in zip(batch, *columns, strict=True):
                script, letters = (scripts[0]["script"], scripts[0]["letters"]) if scripts else ("", 0)
                found[text] = Heard(language or UNDETERMINED, score or 0.0, script, letters)
        return settled({one: found[one[1]] for one in spoken})


@dataclass
class Found:
    """What became of a record's annotations: the places of those that views teach, and what is lost."""

    lost: list[Refusal]
    taught: set[int] = field(default_factory=set)


def _spoken(row: Json) -> Spoken:
    """Returns the text of a view with the name of its first image, of its record where it has none."""
    return (row["images"] or [row["member"]])[0], row["example"].text


def _language_of(row: Json, longest: Spoken, known: Mapping[Spoken, str], sure: str) -> str:
    """Returns the language of a view: as its record states; of the text that it is a part of; its own; its record's."""
    example = row["example"]
    if example.language != UNDETERMINED:
        return str(example.language)
    whole = known[longest] if example.text in longest[1] else UNDETERMINED
    return next((one for one in (whole, known[_spoken(row)], sure) if one != UNDETERMINED), UNDETERMINED)


def _in(view: Example, told: Mapping[str, str]) -> Example:
    return replace(view, language=told[view.key]) if view.key in told else view


def _without(draft: Draft, dead: Container[str]) -> Draft:
    """Returns a document's view without dead images; a view of text where none is left."""
    images = tuple(image for image in draft.images if image.name not in dead)
    places = {number: images.index(image) for number, image in enumerate(draft.images) if image in images}
    turns = []
    for turn in draft.turns:
        segments: list[Segment] = []
        for one in turn.segments:
            if isinstance(one, ImageRef):
                if one.image in places:
                    segments.append(ImageRef(places[one.image]))
            elif isinstance(one, Text) and segments and isinstance(segments[-1], Text):
                before = segments.pop()
                assert isinstance(before, Text)
                segments.append(Text(before.text + one.text, one.supervised))
            else:
                segments.append(one)
        turns.append(Turn(turn.role, tuple(segments)))
    return draft._replace(task="interleaved" if images else "text", images=images, turns=tuple(turns))


def _inside(
    example: Example, taught: tuple[int, ...], lost: list[Refusal]
) -> tuple[Example, tuple[int, ...] | None]:
    """Returns a view of text lines without those outside its image, and what it teaches; None where no line is left.

    A view whose lines are no annotations of their own stays as it is.
    """
    if example.task != "ocr" or not taught:
        return example, taught
    image = example.images[0]
    kept: list[int] = []
    places = iter(taught)
    segments: list[Segment] = []
    for one in example.turns[0].segments:
        if not isinstance(one, Phrase):
            segments.append(one)
            continue
        at = next(places)
        corners = [corner for quad in one.quads for corner in quad]
        if all(-1 <= x <= image.width + 1 and -1 <= y <= image.height + 1 for x, y in corners):
            segments.append(one)
            kept.append(at)
        else:
            text = f"{list(corners)} in an image of {image.width} x {image.height}"
            lost.append(Refusal("box_outside", text, at))
    turns = (Turn(example.turns[0].role, tuple(segments)),)
    return replace(example, turns=turns), tuple(kept) or None


def _accounted(built: Built, record: Json, found: Found) -> list[Json]:
    """Returns rows of work/annotations: each annotation of a record, with the reason where it is lost by itself."""
    gone = {one.at: one for one in reversed(found.lost) if one.at is not None}
    whole = None
    if record.get("refusal"):
        whole = Refusal(record["refusal"], record["refusal_text"])
    elif record.get("error"):
        whole = Refusal(record["error"], record["error_message"])
    rows = []
    for at, one in enumerate(built.annotations):
        refusal = one.refusal or (None if at in found.taught else gone.get(at)) or whole
        names = {name: record[name] for name in ("source", "shard", "member")}
        own = {"kind": one.kind, "id": one.id, "reason": None, "detail": None}
        if refusal is not None:
            own |= {"reason": refusal.reason, "detail": shortened(refusal.text)}
        rows.append(names | own)
    return rows


def _format_of(source: "Source", member: str) -> str:
    """Returns the format of the set that a record is of."""
    if len(source.sets) == 1:
        return source.sets[0].format
    return member.partition(":")[0].partition(".")[0]


def _reach(drafts: Iterable[Draft]) -> float:
    """Returns the largest coordinate of the boxes of views; 0 where they have none."""
    segments = (one for draft in drafts for turn in draft.turns for one in turn.segments)
    boxes = (box for one in segments if isinstance(one, Phrase) for box in one.boxes)
    return max((float(max(box)) for box in boxes), default=0.0)


@dataclass(frozen=True)
class _Look:
    """Measures images by name, each once."""

    images: "Images"
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
            data = self.images.read(name, self.signals.pictures.settings.max_bytes)
        except Ambiguous as error:
            raise Refused("missing_image", str(error)) from error
        except InputError as error:
            raise Refused("missing_image", f"{name} is not among the images of the source") from error
        try:
            return Facts(self.signals.image(data, pair=False))
        except RowError as error:
            return Facts(error=error)


@dataclass
class Images:
    """The images of an annotation source, by the names that its records give."""

    source: "Source"
    store: Store
    _by_base: dict[str, list[tuple[str, str]]] | None = None

    def read(self, name: str, limit: int | None = None) -> bytes:
        """Returns the bytes of an image; InputError where it is missing."""
        return self.store.read_bytes(self._find(name), limit)

    @property
    def _folder(self) -> str:
        return self.source.images or (self.source.path[0] if self.source.path else ".")

    def _find(self, name: str) -> str:
        places = [join(self._folder, one) for one in _places(name)]
        if len(places) == 1 and self.source.match == "path":
            return places[0]
        found = next(filter(self._is_file, places), None)
        if found is None and self.source.match == "basename":
            found = self._elsewhere(name)
        if found is None:
            raise InputError(f"{name} is not below {self._folder}")
        return found

    def _is_file(self, path: str) -> bool:
        entry = self.store.entry(path)
        return entry is not None and not entry.is_folder

    def _elsewhere(self, name: str) -> str | None:
        """Returns the path of the nearest file, anywhere below the folder, with the last part of an image's name."""
        bases = self._bases()
        named = (_nearest(one, bases.get(_base(one), [])) for one in _with_suffixes(_spellings(name)))
        return next((path for path in named if path is not None), None)

    def _bases(self) -> dict[str, list[tuple[str, str]]]:
        """Returns names and paths of all files below the folder by the last part of their names."""
        if self._by_base is None:
            self._by_base = {}
            for info in self.store.list_files(self._folder):
                self._by_base.setdefault(_base(info.name), []).append((info.name, info.path))
        return self._by_base


class Ambiguous(InputError):
    """An image's name stands for several files."""


def _nearest(name: str, files: Sequence[tuple[str, str]]) -> str | None:
    """Returns the path of the one file, of those named alike, that shares most folders with the name; None of none.

    Ambiguous where several share as many.
    """
    shared = {path: len(posixpath.commonprefix([_folders(name), _folders(own)])) for own, path in files}
    nearest = [path for path in shared if shared[path] == max(shared.values())]
    if len(nearest) > 1:
        named = ", ".join(sorted(own for own, path in files if path in nearest)[:3])
        raise Ambiguous(f"{len(nearest)} files below images may be {name}: {named}")
    return nearest[0] if nearest else None


def _folders(name: str) -> list[str]:
    """Returns the folders of a file's name, the innermost first."""
    return name.replace("\\", "/").split("/")[-2::-1]


_SUFFIXES: Final = (".jpg", ".png", ".webp", ".jpeg")
_NO_PATH: Final = re.compile(r"\A[A-Za-z]:|[\x00-\x1f\x7f]")
"""What no name of an image holds: a drive's letter at its start, control characters."""
_SHARD_DIGITS: Final = 5
"""Of the folders that img2dataset writes: 00001/000010042.jpg."""


def _places(name: str) -> list[str]:
    """Returns where an image of that name may lie below the folder of images; nowhere if the name leads out of it.

    An address stands for its path, or the last part of it; a key of img2dataset's for a file of that name.
    """
    inside = []
    for spelling in _spellings(name):
        path = posixpath.normpath(spelling)
        if path not in (".", "..") and not path.startswith(("/", "../")) and not _NO_PATH.search(path):
            inside += [path, path.partition("/")[2] or path, _base(path)] if "://" in name else [path]
    found = _with_suffixes(inside)
    if len(found) > 1 and inside[0].isdecimal() and len(inside[0]) > _SHARD_DIGITS:
        found += [f"{inside[0][:_SHARD_DIGITS]}/{inside[0]}{suffix}" for suffix in _SUFFIXES]
    return found


def _spellings(name: str) -> list[str]:
    """Returns how an image's name may be written on disk: as it is; of an address also decoded, without its query."""
    written = name.strip().replace("\\", "/")
    if "://" not in written:
        return [written] if written else []
    literal = written.partition("://")[2]
    decoded = unquote(literal.partition("#")[0].partition("?")[0], errors="replace")
    return [*dict.fromkeys(one for one in (literal, decoded) if one)]


def _with_suffixes(names: Iterable[str]) -> list[str]:
    """Returns names, each once; one without a suffix also with those of images."""
    found: dict[str, None] = {}
    for name in names:
        suffixes = () if posixpath.splitext(name)[1] else _SUFFIXES
        found |= dict.fromkeys((name, *(name + suffix for suffix in suffixes)))
    return [*found]


def _base(name: str) -> str:
    """Returns the last part of a file's name; of a web address without its query."""
    path = name.partition("?")[0] if name.startswith(("http://", "https://")) else name
    return path.replace("\\", "/").rpartition("/")[2]


def _plain(draft: Draft) -> Any:
    """A draft as JSON, for its digest."""
    return [draft.task, draft.language, [list(one[:3]) for one in draft.images], repr(draft.turns)]


def _words(built: Built) -> str | None:
    """The words of a record's first sample, so that its language and length can be looked up."""
    if not built.drafts:
        return None
    return text_of(built.drafts[0].turns)


def write_annotations(layout: Layout, shard: InputShard, rows: list[Json]) -> None:
    """Writes what became of each annotation of one part."""
    path = layout.path("annotations", shard.source, shard.shard)
    write_tables(layout, path, ANNOTATIONS, [pa.Table.from_pylist(rows, ANNOTATIONS)])


def write_drafts(layout: Layout, shard: InputShard, rows: list[Json]) -> None:
    """Write the drafts of one part."""
    path = layout.path("drafts", shard.source, shard.shard)
    write_tables(layout, path, DRAFTS, [pa.Table.from_pylist(rows, DRAFTS)])
