"""What lies at some paths: sources, their shards, and what the first rows of one shard hold."""

import posixpath
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from pipelines.files import Store, join
from pipelines.init.annotations import format_of_json, format_of_lines
from pipelines.init.columns import Guesses, guess, values_of
from pipelines.readers import InputShard, discover, head
from pipelines.readers.records import fields_of
from schemas.columns import Columns
from schemas.errors import InputError, ShardError
from schemas.recipe import Format

Options = Mapping[str, Any] | None
"""Storage options of fsspec."""

ROWS: Final = 32
"""Rows that are looked at."""

_TRIES: Final = 5
"""Shards that are tried until one has rows."""

_COMPARED: Final = 16
"""Files of one folder that are looked at one by one; where these are alike, so are the others."""

_MAGIC: Final = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class Survey:
    """One source to be: its shards, and the first rows of the shard `looked_at` with a guess at their columns.

    `annotations` is the format of an annotation source; `images` its folder of images.
    """

    id: str
    paths: tuple[str, ...]
    shards: tuple[InputShard, ...] = ()
    ignored: tuple[str, ...] = ()
    looked_at: InputShard | None = None
    rows: Sequence[Mapping[str, object]] = ()
    guesses: Guesses = field(default_factory=dict)
    annotations: Format | None = None
    images: str | None = None

    @property
    def kind(self) -> str:
        """The source's kind, as the recipe calls it; Parquet without images is text."""
        if self.annotations is not None:
            return "annotations"
        kind = self.shards[0].kind
        textual = "caption" in self.guesses and "image" not in self.guesses
        return "text" if kind == "parquet" and textual else kind

    def captions(self) -> list[str]:
        """Returns the captions of the rows, as the columns guessed give them; annotations have none."""
        if self.annotations is not None or self.looked_at is None:
            return []
        lines = self.looked_at.format == "txt"
        names = {part: chosen.names for part, chosen in self.guesses.items()}
        columns = Columns(caption=("",)) if lines else Columns.model_validate(names)
        found = (fields_of(row, columns).caption for row in self.rows)
        return [caption.decode("utf-8", "replace") for caption in found if caption]


def survey(paths: Sequence[str], storage_options: Options = None) -> list[Survey]:
    """Returns the sources that the paths make: one a folder or pattern, one for files of a folder that are alike.

    Raises InputError where a path is not there or holds nothing to read.
    """
    store = Store(storage_options, "init")
    places: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        single = not _MAGIC.search(path) and not store.is_folder(path)
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
    return found.kind, tuple(
        (part, chosen.names) for part, chosen in found.guesses.items() if part != "extra"
    )


def _id(paths: Sequence[str], taken: set[str]) -> str:
    """An id for a source: the last name in its path that says something, made safe and unlike the others."""
    several = len(paths) > 1 or bool(_MAGIC.search(paths[0]))
    start = posixpath.dirname(paths[0]) if several else paths[0]
    parts = _MAGIC.split(start)[0].partition("://")[2] or _MAGIC.split(start)[0]
    names = [re.sub(r"[^A-Za-z0-9]+", "-", part.partition(".")[0]).strip("-") for part in parts.split("/")]
    name = next((one[:80] for one in reversed(names) if one), "source")
    return next(one for one in (name, *(f"{name}-{n}" for n in range(2, len(taken) + 3))) if one not in taken)


def _survey(source: str, paths: tuple[str, ...], options: Options) -> Survey:
    store = Store(options, source)
    if all(path.endswith(".json") for path in paths):
        return _document(source, paths, store)
    discovery = discover(source, paths, storage_options=options)
    shard, rows = _first_rows(discovery.shards, options)
    found = Survey(source, paths, discovery.shards, discovery.ignored, shard, rows)
    values = values_of(rows)
    form = format_of_lines(values) if shard.format == "jsonl" and len(discovery.shards) == 1 else None
    if form is None:
        return replace(found, guesses=guess(shard, values))
    images = _images(store, posixpath.dirname(shard.path))
    return replace(found, paths=(shard.path,), annotations=form, images=images)


def _document(source: str, paths: tuple[str, ...], store: Store) -> Survey:
    """A source of one JSON document of annotations."""
    form = format_of_json(store, paths[0]) if len(paths) == 1 else None
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


def _first_rows(shards: Sequence[InputShard], options: Options) -> tuple[InputShard, list[dict[str, object]]]:
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
