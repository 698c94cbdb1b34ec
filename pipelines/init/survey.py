"""What lies at some paths: sources, their shards, and what the first rows of one shard hold.

For annotations: which published annotation format a file has, as far as its first and last bytes tell.
"""

import posixpath
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pipelines.datasets.dataset import Glimpse
from pipelines.datasets.table import find, format_of, recognise
from pipelines.files import Store, join
from pipelines.init.columns import Guesses, column_of_paths, guess, is_image_member, text_of, values_of
from pipelines.sources import InputShard, column_names, discover, head
from pipelines.sources.columns import GUESSES, Columns, Part
from pipelines.sources.discovery import GLOB
from pipelines.sources.folder import FILE_NAMES
from pipelines.sources.rows import Options
from pipelines.sources.table import KINDS, Kind
from schemas.errors import InputError, ShardError

Rows = Sequence[Mapping[str, object]]
Names = Mapping[str, tuple[str, ...]]
"""The columns of files, by path."""

ROWS: Final = 32
"""Rows that are looked at."""

_TRIES: Final = 5
"""Shards that are tried until one has rows."""

_COMPARED: Final = 16
"""Files of one folder that are looked at one by one; where these are alike, so are the others."""


def several_images(rows: Rows) -> tuple[str, ...]:
    """Returns the suffixes of the images of the first record that holds several, the plainest first; else nothing."""
    found = ([name for name, value in row.items() if is_image_member(name, value)] for row in rows)
    several = next((names for names in found if len(names) > 1), [])
    return tuple(sorted(several, key=lambda name: (name.count("."), name)))


def format_of_lines(fields: Collection[str]) -> str | None:
    """Returns the annotation format whose records have these fields; None where they are no format's."""
    return recognise(Glimpse("lines", frozenset(fields)))


@dataclass(frozen=True, slots=True)
class Survey:
    """One source to be: its shards, and the first rows of the shard `looked_at` with a guess at their columns.

    `annotations` is the format of an annotation source, `images` its folder of images. `beside` has the annotation
    files that lie beside a source of pairs, with their formats. `lacking` has by part a file without the columns of
    `guesses`, and its columns. `several` has the suffixes of the images of a tar's record that holds more than one.
    """

    id: str
    paths: tuple[str, ...]
    shards: tuple[InputShard, ...] = ()
    ignored: tuple[str, ...] = ()
    looked_at: InputShard | None = None
    rows: Rows = ()
    guesses: Guesses = field(default_factory=dict)
    annotations: str | None = None
    images: str | None = None
    beside: Sequence[tuple[str, str]] = ()
    lacking: Mapping[Part, tuple[str, tuple[str, ...]]] = field(default_factory=dict)
    several: tuple[str, ...] = ()

    @property
    def kind(self) -> Kind:
        """The source's kind."""
        return KINDS["annotations" if self.annotations is not None else self.shards[0].kind]

    @property
    def column_of_paths(self) -> str | None:
        """The Parquet column that says where images are, without their bytes."""
        if self.looked_at is None or "image" in self.guesses:
            return None
        return column_of_paths(self.looked_at, values_of(self.rows))

    def captions(self) -> list[str]:
        """Returns the captions of the rows, as the columns guessed give them; annotations have none."""
        if self.annotations is not None or self.looked_at is None:
            return []
        chosen = self.guesses.get("caption")
        names = ("",) if self.looked_at.format == "txt" else chosen.names if chosen else ()
        found = [next((row[name] for name in names if row.get(name) is not None), None) for row in self.rows]
        if self.looked_at.format == "parquet":
            found = [one for value in found for one in (value if isinstance(value, list) else [value])]
        return [text for value in found if (text := text_of(value))]


def survey(paths: Sequence[str], storage_options: Options = None) -> list[Survey]:
    """Returns the sources that the paths make: one a folder or pattern, one for files of a folder that are alike.

    Raises InputError where a path is not there or holds nothing to read.
    """
    store = Store(storage_options, "init")
    places: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        single = not GLOB.search(path) and not store.is_folder(path)
        place = (posixpath.dirname(path), posixpath.splitext(path)[1]) if single else (path, "")
        places.setdefault(place, []).append(path)
    found: list[Survey] = []
    for here in places.values():
        for group in _alike(list(dict.fromkeys(here)), storage_options):
            name = _id(group, {one.id for one in found})
            found.append(_survey(name, tuple(group), storage_options))
    return found


def _alike(paths: list[str], options: Options) -> list[list[str]]:
    """The files of one folder, parted where the first ones differ in what is guessed of them."""
    compared = [_traits(path, options) for path in paths[:_COMPARED]] if len(paths) > 1 else []
    if len(set(compared)) < 2:
        return [paths]
    compared += [_traits(path, options) for path in paths[_COMPARED:]]
    groups: dict[object, list[str]] = {}
    for path, traits in zip(paths, compared, strict=True):
        groups.setdefault(traits, []).append(path)
    return list(groups.values())


def _traits(path: str, options: Options) -> object:
    """What files of one source have in common; a file of annotations has it with no other."""
    found = _survey("init", (path,), options)
    if found.annotations is not None:
        return path
    return found.kind.name, tuple(
        (part, () if chosen.by_default else chosen.names)
        for part, chosen in found.guesses.items()
        if part != "extra"
    )


def _id(paths: Sequence[str], taken: set[str]) -> str:
    """An id for a source: the last name in its path that says something, made safe and unlike the others."""
    several = len(paths) > 1 or bool(GLOB.search(paths[0]))
    start = posixpath.dirname(paths[0]) if several else paths[0]
    parts = GLOB.split(start)[0].partition("://")[2] or GLOB.split(start)[0]
    names = [re.sub(r"[^A-Za-z0-9]+", "-", part.partition(".")[0]).strip("-") for part in parts.split("/")]
    name = next((one[:80] for one in reversed(names) if one), "source")
    return next(one for one in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if one not in taken)


def _survey(source: str, paths: tuple[str, ...], options: Options) -> Survey:
    store = Store(options, source)
    if all(path.endswith(".json") for path in paths):
        return _document(source, paths, store)
    discovery = discover(source, paths, storage_options=options)
    shard, rows = _first_rows(discovery.shards, options)
    values = values_of(rows)
    form = format_of_lines(values) if shard.format == "jsonl" else None
    if form is not None and (len(discovery.shards) == 1 or _are_all(form, discovery.shards, store)):
        if is_packed(shard.path):
            raise InputError(
                f"source {source}: {shard.path} holds annotations (format {form}), which a build reads unpacked alone: "
                "unpack it (gunzip FILE), then run init again"
            )
        found = Survey(source, paths, discovery.shards, discovery.ignored, shard, rows, annotations=form)
        images = _images(store, posixpath.dirname(shard.path))
        return replace(found, paths=(shard.path,) if len(discovery.shards) == 1 else paths, images=images)
    found = _guessed(Survey(source, paths, discovery.shards, discovery.ignored), shard, rows, options)
    beside = _annotations_beside(store, found)
    if form is not None:  # one of several files: what a record of it says is no caption
        guesses = {part: one for part, one in found.guesses.items() if part != "caption" or one.by_default}
        found, beside = replace(found, guesses=guesses), [(shard.path, form), *beside]
    return replace(found, beside=beside)


def is_packed(path: str) -> bool:
    """Returns whether a file of lines is packed, by its name."""
    return path.lower().endswith(".gz")


def _are_all(form: str, shards: Sequence[InputShard], store: Store) -> bool:
    """Returns whether files without images beside them are one source of annotations, as far as the first ones tell."""
    compared = shards[:_COMPARED]
    if not find(form)[0].many or any(shard.kind != "text" or shard.format != "jsonl" for shard in shards):
        return False
    return all(is_packed(shard.path) or format_of(store, shard.path) == form for shard in compared)


def _guessed(found: Survey, shard: InputShard, rows: Rows, options: Options) -> Survey:
    """The source with a guess at its columns, as far as they hold for all files that are compared."""
    names = _names(found.shards, options)
    if shard.format == "parquet":
        shard, rows = _with_images(found.shards, shard, rows, names, options)
    guesses = guess(shard, values_of(rows))
    if extra := guesses.get("extra"):
        shared = tuple(name for name in extra.names if all(name in there for there in names.values()))
        guesses["extra"] = replace(extra, names=shared)
        if not shared:
            del guesses["extra"]
    several = several_images(rows) if shard.format == "tar" else ()
    lacking = _lacking(guesses, names)
    found = replace(found, looked_at=shard, rows=rows, guesses=guesses, lacking=lacking, several=several)
    if shard.format == "parquet" and found.kind.images and "caption" in guesses and "image" not in guesses:
        known = set(GUESSES["image"])
        pairs = found.column_of_paths or any(known & set(there) for there in names.values())
        return found if pairs else _as_text(found, options)
    return found


def _names(shards: Sequence[InputShard], options: Options) -> Names:
    """The columns of the first files that have any, by path."""
    found: dict[str, tuple[str, ...]] = {}
    for shard in shards[:_COMPARED]:
        try:
            names = column_names(shard, Columns(), options)
        except ShardError:  # a build counts it as a bad shard
            continue
        if names:
            found[shard.path] = tuple(names)
    return found


def _with_images(
    shards: Sequence[InputShard], shard: InputShard, rows: Rows, names: Names, options: Options
) -> tuple[InputShard, Rows]:
    """The shard and its rows, or those of another one if it has no images and the other has."""
    if "image" in guess(shard, values_of(rows)):
        return shard, rows
    usual = set(GUESSES["image"])
    for other in shards:
        if other != shard and usual & set(names.get(other.path, ())):
            others = head(other, ROWS, options)
            if "image" in guess(other, values_of(others)):
                return other, others
    return shard, rows


def _lacking(guesses: Guesses, names: Names) -> dict[Part, tuple[str, tuple[str, ...]]]:
    """By part, the first file that has none of the columns guessed, nor one that a build finds by itself."""
    found: dict[Part, tuple[str, tuple[str, ...]]] = {}
    for part in ("image", "caption", "url"):
        chosen = guesses.get(part)
        if chosen is None or (part == "url" and chosen.by_default):
            continue
        usual = (*GUESSES[part], *(FILE_NAMES if part == "image" else ())) if chosen.by_default else ()
        wanted = {*chosen.names, *usual}
        lacking = next(((path, there) for path, there in names.items() if not wanted & set(there)), None)
        if lacking is not None:
            found[part] = lacking
    return found


def _as_text(found: Survey, options: Options) -> Survey:
    """The source as text, its paths such that a build reads the same Parquet files and no others."""
    patterns = [tuple(join(path, deep) for path in found.paths) for deep in ("*.parquet", "**/*.parquet")]
    for paths in (found.paths, *patterns):
        try:
            text = discover(found.id, paths, "text", options)
        except InputError:  # nothing matches the pattern
            continue
        if [shard.path for shard in text.shards] == [shard.path for shard in found.shards]:
            return replace(found, paths=paths, shards=text.shards)
    return found


def _annotations_beside(store: Store, found: Survey) -> list[tuple[str, str]]:
    """The annotation files among the first JSON files below the paths that are not read, with their formats."""
    folders = [path for path in found.paths if not GLOB.search(path) and store.is_folder(path)]
    documents = [name for name in found.ignored if name.endswith(".json")][:_COMPARED]
    paths = [join(folder, name) for folder in folders for name in documents]
    formats = [(path, format_of(store, path)) for path in paths if store.exists(path)]
    return [(path, form) for path, form in formats if form is not None]


def _document(source: str, paths: tuple[str, ...], store: Store) -> Survey:
    """A source of one JSON document of annotations."""
    form = format_of(store, paths[0]) if len(paths) == 1 else None
    if form is None:
        raise InputError(
            f"source {source}: {paths[0]} is JSON of no format that is recognised; write the source by hand "
            "with `kind: annotations` and its `format` (docs/samples.md)"
        )
    return Survey(source, paths, annotations=form, images=_images(store, posixpath.dirname(paths[0])))


def _images(store: Store, folder: str) -> str:
    """The folder that an annotation file's images are likely to be in."""
    inner = join(folder, "images")
    return inner if store.is_folder(inner) else folder or "."


def _first_rows(shards: Sequence[InputShard], options: Options) -> tuple[InputShard, Rows]:
    """The first rows of the smallest shard that has any; of a store, that is the least to fetch."""
    damage: ShardError | None = None
    for shard in sorted(shards, key=lambda one: (one.size, one.shard))[:_TRIES]:
        try:
            rows = head(shard, ROWS, options)
        except ShardError as error:
            damage = error
            continue
        if rows:
            return shard, rows
    if damage is not None:
        raise damage
    return shards[0], []
