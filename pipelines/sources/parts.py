"""Large Parquet files are read in parts, each of which is an input shard of its own.

So workers share a file that is much larger than the others, none holds more than a part of it, and a run that was
killed loses no more than that. A part is some row groups in a row or, of a larger group, a range of its rows. Where a
file is cut depends on that file alone. work/receipts/cuts.parquet remembers it, for a store is asked for each footer
once; without that file the footers are read once more.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from typing import Final

from pipelines.files import MIB, FileInfo, is_settled, look
from pipelines.layout import part_id
from pipelines.sources import parquet
from pipelines.sources.shard import InputShard, Reading
from schemas.errors import InputError, ShardError

ROWS: Final = 100_000
"""A part has no more rows; an input shard of usual size has 10,000."""
BYTES: Final = 4096 * MIB
"""A part of several row groups has no more bytes: an output shard looks for its images in all of a part."""
SMALL: Final = MIB // 4
"""No file of fewer bytes is opened to learn its rows: so many images need more, and a request a file is saved."""

_AT_ONCE: Final = 8

Cut = tuple[int, ...]
"""The first row of each part, and behind them the number of all rows; nothing where a file is read whole."""


class Cuts:
    """Where Parquet files are cut, by path; `known` holds the look of a file too, as at an earlier time."""

    def __init__(self, known: Mapping[str, tuple[str, Cut]] | None = None) -> None:
        self._known = dict(known or {})
        self._asked: dict[str, FileInfo] = {}

    def of(self, info: FileInfo, reading: Reading) -> Cut:
        """Returns where a file is cut, which is opened only where it is not as at the last look.

        One that cannot be read is left whole: its reader says why.
        """
        seen, cut = self._known.get(info.path, ("", ()))
        if seen != look(info):
            try:
                cut = cut_at(parquet.groups(reading))
            except ShardError:
                return ()
            self._known[info.path] = look(info), cut
        self._asked[info.path] = info
        return cut

    def forget(self, paths: Iterable[str]) -> None:
        """Has these files opened again, whatever they look like: they are not as they were when they were cut."""
        for path in paths:
            self._known.pop(path, None)

    def remembered(self) -> dict[str, tuple[str, Cut]]:
        """Returns what was asked for and may be believed by a later run."""
        asked = ((path, info) for path, info in sorted(self._asked.items()) if path in self._known)
        return {path: self._known[path] for path, info in asked if is_settled(info)}


def cut_at(groups: Iterable[tuple[int, int]]) -> Cut:
    """Returns where a file of row groups, given by their rows and bytes, is cut; nothing where it is one part."""
    cuts, rows, held, end = [0], 0, 0, 0
    for count, size in groups:
        if not count:
            continue
        if rows and (rows + count > ROWS or held + size > BYTES):
            cuts.append(end)
            rows = held = 0
        parts = -(-count // ROWS)
        cuts += [end + count * part // parts for part in range(1, parts)]
        rows, held, end = rows + count, held + size, end + count
    return (*cuts, end) if len(cuts) > 1 else ()


def in_parts(
    shards: tuple[InputShard, ...],
    reading: Callable[[InputShard], Reading],
    files: Mapping[str, FileInfo],
    cuts: Cuts,
) -> tuple[InputShard, ...]:
    """Returns the shards in their order, large Parquet files in parts; `files` has by path what a listing said of them.

    InputError where a part would have the id of another shard.
    """
    large = [
        shard for shard in shards if shard.format == "parquet" and shard.size >= SMALL and shard.path in files
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = pool.map(lambda shard: cuts.of(files[shard.path], reading(shard)), large)
        cut = {shard.shard: cut for shard, cut in zip(large, found, strict=True) if cut}
    if not cut:
        return shards
    by_id: dict[str, InputShard] = {}
    for shard in (part for one in shards for part in _parts(one, cut.get(one.shard, ()))):
        other = by_id.setdefault(shard.shard, shard)
        if other is not shard:
            raise InputError(
                f"{other} and {shard.path} would both have a shard {shard.shard!r}, since large files are read in "
                "parts; rename one"
            )
    return tuple(by_id.values())


def _parts(shard: InputShard, cut: Cut) -> Iterator[InputShard]:
    """Yields the parts of a shard, or the shard itself."""
    if not cut:
        yield shard
    for first, stop in pairwise(cut):
        size = shard.size * stop // cut[-1] - shard.size * first // cut[-1]
        yield replace(shard, shard=part_id(shard.shard, first), size=size, rows=(first, stop, cut[-1]))
