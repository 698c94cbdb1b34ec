"""`vlcorpus inspect`: what lies in a shard, for a person to look at.

Reads our own shards (tar by the offsets of its index, or Parquet) and raw ones as they come in.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.text import Text as Line

from pipelines.files import Store
from pipelines.show import gallery
from pipelines.show.gallery import Shown
from pipelines.sources import InputShard, read
from pipelines.sources.columns import Columns, ReadLimits
from pipelines.sources.table import TAR
from pipelines.writers.columns import SAMPLE, require_columns
from pipelines.writers.webdataset import PLACES
from schemas.errors import InputError, ShardError
from schemas.parquet import opened
from schemas.plain import mended
from schemas.sample import Sample
from schemas.shard import is_shard
from schemas.strict import FieldError

_BYTES: Final = ReadLimits().image_bytes


def samples(
    path: str, n: int | None = 10, storage_options: Mapping[str, Any] | None = None
) -> Iterator[Shown]:
    """The first `n` samples of the shard at `path` (None: all), in its order.

    `path` may be a tar, its index, or a Parquet file; one that is not ours is read as a raw shard by
    the usual column names. InputError where it cannot be read; ShardError after the last sound row.
    """
    store = Store(storage_options)
    yield from islice(_rows(store, path, storage_options), n)


def show(path: str, n: int, console: Console, storage_options: Mapping[str, Any] | None = None) -> None:
    """Prints `n` samples: key, task, language, images, and the words cut to the console's width."""
    for one in samples(path, n, storage_options):
        head = Line(mended(one.key), style="bold", overflow="fold")
        for fact in one.facts:
            head.append(f"  {mended(fact)}", style="dim not bold")
        console.print(head)
        words = Line("  " + (mended(one.words.replace("\n", " / ")) or "(no words)"))
        words.truncate(console.width, overflow="ellipsis")
        console.print(words, no_wrap=True)


def html(path: str, n: int, out: str, storage_options: Mapping[str, Any] | None = None) -> None:
    """Writes one page with `n` samples and their images to `out`; it needs no network to be read.

    Where the shard is damaged the page shows what was read before, and says so.
    """
    shown: list[Shown] = []
    note = ""
    try:
        for one in samples(path, n, storage_options):
            shown.append(one)
    except ShardError as error:
        note = str(error)
    page = gallery.page(path.rstrip("/").rsplit("/", 1)[-1], shown, note)
    folder = out.rpartition("/")[0] or "."
    Store().write_bytes(out, page.encode(), folder)


def keys(store: Store, path: str) -> list[str]:
    """Returns the keys of the samples and of their views in a Parquet shard, or in the index of a tar."""
    with _opened(store, path) as rows:
        if not is_shard(path, rows.schema_arrow):
            return []
        table = rows.read(["key", "views.list.element.key"])
        views = [view["key"] for row in table["views"].to_pylist() for view in row]
        return [*table["key"].to_pylist(), *views]


def _rows(store: Store, path: str, options: Mapping[str, Any] | None) -> Iterator[Shown]:
    stem, dot, suffix = path.rpartition(".")
    index = f"{stem}.parquet"
    if suffix in ("tar", "parquet") and store.exists(index):
        with _opened(store, index) as rows:
            if is_shard(index, rows.schema_arrow):
                in_tar = "json_offset" in rows.schema_arrow.names
                yield from _from_tar(store, index, f"{stem}.tar", rows) if in_tar else _from_parquet(rows)
                return
    yield from _raw(path, f"{dot}{suffix}", options)


@contextmanager
def _opened(store: Store, path: str) -> Iterator[pq.ParquetFile]:
    """Opens a Parquet file; raises InputError where it is damaged."""
    try:
        with store.reading(path), store.open(path) as file:
            yield opened(file)
    except (pa.ArrowException, ValueError) as error:
        what = " ".join(str(error).split())
        raise InputError(f"{path} is damaged ({what}): copy it again, or build the corpus again") from error


def _from_tar(store: Store, index: str, path: str, rows: pq.ParquetFile) -> Iterator[Shown]:
    require_columns(rows, pa.schema([SAMPLE.field("sample"), PLACES.field("images")]))
    if not store.exists(path):
        raise InputError(
            f"{index} is the index of {path}, which is missing; copy it there, or build the corpus again"
        )
    with store.reading(path), store.open(path) as tar:
        for row in _batches(rows, ["sample", "images"]):
            yield _shown(row["sample"], [_at(tar, path, image) for image in row["images"]])


def _from_parquet(shard: pq.ParquetFile) -> Iterator[Shown]:
    columns = [name for name in ("image", "images") if name in shard.schema_arrow.names]
    for row in _batches(shard, ["sample", *columns]):
        one = row["images"] if "images" in row else [row["image"]] if row["image"] else []
        yield _shown(row["sample"], [image["bytes"] for image in one])


def _batches(file: pq.ParquetFile, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=64, columns=columns):
        yield from batch.to_pylist()


def _at(tar: BinaryIO, path: str, place: Mapping[str, Any]) -> bytes:
    if not (place["offset"] >= 0 and 0 <= place["size"] <= _BYTES):
        raise InputError(f"{path}: its index gives {place['member']} a place that cannot be")
    tar.seek(place["offset"])
    data = tar.read(place["size"])
    if len(data) != place["size"]:
        raise InputError(
            f"{path} ends inside {place['member']}: copy it again, or build the corpus again; vlcorpus verify says more"
        )
    return data


def _shown(line: str, images: list[bytes]) -> Shown:
    try:
        return Shown(Sample.from_json(line), tuple(images))
    except FieldError as error:
        raise InputError(f"a row holds no sample: {error}") from error


def _raw(path: str, suffix: str, options: Mapping[str, Any] | None) -> Iterator[Shown]:
    if suffix == ".parquet":
        shard = InputShard("input", "", path, "parquet", "parquet", 0)
    elif path.endswith(TAR["tar"]):
        shard = InputShard("input", "", path, "webdataset", "tar", 0)
    else:
        raise InputError(f"{path}: a shard ends in {', '.join(TAR['tar'])} or .parquet")
    for row in read(shard, Columns.model_validate({}), options):
        caption = (row.caption or b"").decode("utf-8", "replace")
        trouble = "" if row.error is None else f"{row.error.kind}: {row.error.message}"
        yield Shown(None, () if row.image is None else (row.image,), row.member, caption, trouble)
