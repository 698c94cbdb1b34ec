"""The folder of raw shards of other lists: what a run would remove there, and whether a person may have meant that.

A folder holds the raw shards of the lists of its last run. A list that is called otherwise keeps its images, for their
URLs are those of the list; a list of other URLs, such as that of another month, would take the place of the first.
"""

from collections.abc import Container, Iterable, Iterator
from typing import TYPE_CHECKING, Final

import numpy as np

from pipelines.fetch.raw import Raw
from pipelines.fetch.repeated import Hashes, hashes_of
from pipelines.fetch.statuses import OK
from pipelines.phases.fetch.lists import lists_of
from pipelines.phases.fetch.tasks import Tasks
from pipelines.recipe.model import Source
from schemas.errors import DamagedError, InputError
from schemas.plain import many, plain

if TYPE_CHECKING:
    from pipelines.build import Build

_LOOKED_AT: Final = 100
"""So many raw shards at most, spread over all, say whether the images of a folder are of other lists."""
_NAMED: Final = 3


def check_folder(build: "Build", source: Source, tasks: Tasks, raw: Raw) -> None:
    """Raises InputError where a folder that a person named holds the images of other lists alone.

    These are lists with other names, of which most URLs are in none of the source's lists.
    """
    names = raw.names() if source.fetch.raw is not None else []
    others = sorted({name.rpartition("-")[0] for name in names})
    if not others or {shard.shard for shard in lists_of(build.recipe, source)} & {*others}:
        return
    left = _images(raw, names[:: -(-len(names) // _LOOKED_AT)])
    if not len(left):
        return
    there = np.zeros(len(left), bool)
    for _, table in tasks.tables(range(len(tasks.every))):
        _mark(there, left, table["url"].to_pylist())
        if 2 * there.sum() >= len(left):
            return
    several = f" and {len(others) - _NAMED:,} more" if len(others) > _NAMED else ""
    raise InputError(
        f"source {source.id}: {plain(raw.folder)} holds the images of other lists "
        f"({plain(', '.join(others[:_NAMED]))}{several}), which would be removed: name those lists too, or another "
        "folder for these, or remove that folder"
    )


def lost_images(raw: Raw, source: Source, shards: Container[str]) -> Iterator[str]:
    """Yields a sentence where raw shards that are none of `shards` hold images whose URLs these do not have."""
    names = raw.names()
    gone = [name for name in names if name not in shards]
    left = _images(raw, gone)
    there = np.zeros(len(left), bool)
    if not len(left):
        return
    for name in names:
        if name in shards and (table := raw.left(name, ["url"])) is not None:
            _mark(there, left, table["url"].to_pylist())
    if lost := int(len(left) - there.sum()):
        yield (
            f"source {source.id}: its lists have no rows for {many(len(gone), 'raw shard')} any more, which go with "
            f"{many(lost, 'image')} of URLs that no list has"
        )


def _images(raw: Raw, names: Iterable[str]) -> Hashes:
    """The hashes of the URLs of all images of some raw shards, sorted; those without statuses count as none."""
    found = [np.empty(0, np.uint64)]
    for name in names:
        try:
            table = raw.left(name, ["url", "status"])
        except DamagedError:
            continue
        if table is not None:
            came = [status == OK for status in table["status"].to_pylist()]
            urls = zip(table["url"].to_pylist(), came, strict=True)
            found.append(hashes_of([url for url, is_there in urls if is_there]))
    hashes: Hashes = np.setdiff1d(np.concatenate(found), [0])
    return hashes


def _mark(there: np.ndarray[tuple[int], np.dtype[np.bool_]], left: Hashes, urls: list[str | None]) -> None:
    """Marks the hashes of `left` that are those of some URLs."""
    hashes = hashes_of(urls)
    places = np.minimum(np.searchsorted(left, hashes), max(len(left) - 1, 0))
    there[places[left[places] == hashes]] = True
