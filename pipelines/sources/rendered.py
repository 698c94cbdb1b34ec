"""Rendered sources: tars of pages that phase render made, with what it wrote beside each page."""

import json
import shutil
import tarfile
from collections.abc import Callable, Container, Iterator
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from pipelines.files import Store
from pipelines.sources import webdataset
from pipelines.sources.columns import Columns
from pipelines.sources.own import stored_image
from pipelines.sources.shard import Discovery, Reading, Wanted
from schemas.errors import RowError
from schemas.row import RawRow
from schemas.sample import Sample, view_key

if TYPE_CHECKING:
    from pipelines.layout import Layout
    from pipelines.recipe.model import Source

_TOLD: Final = ("refusal", "refusal_text", "error_rate")
_COLUMNS: Final = Columns(
    image=("jpg",),
    caption=("-",),
    url=("-",),
    extra=("samples", "language", *_TOLD, "error", "error_message", "parameters"),
)

head = webdataset.head


def discover(source: "Source", store: Store) -> Discovery:
    """Returns no shards: phase render makes them."""
    return Discovery(())


def read(reading: Reading, start: int) -> Iterator[RawRow]:
    """Yields the pages from number `start` on; no ledger is kept of members that the build itself wrote."""
    return webdataset.read(replace(reading, columns=_COLUMNS, ledgers=None), start)


def fetch(reading: Reading, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
    """Yields the images of the pages wanted."""
    return webdataset.fetch(replace(reading, columns=_COLUMNS), wanted)


def describe(row: RawRow, record: dict[str, Any]) -> None:
    """Adds to a page's record why it is refused, and how well it was read back.

    Raises RowError where the page could not be rendered.
    """
    extra = row.extra
    record |= {name: extra.get(name) for name in _TOLD}
    # `extra` keeps what the page was drawn from; the samples lie in work/drafts
    kept = {"parameters": json.loads(str(extra["parameters"]))} if extra.get("parameters") else None
    record["extra"] = json.dumps(kept, sort_keys=True, ensure_ascii=False) if kept else None
    if extra.get("error"):
        raise RowError(str(extra["error"]), str(extra.get("error_message") or ""))


def drafts(source: "Source", record: dict[str, Any], row: RawRow) -> list[dict[str, Any]]:
    """Returns the page's samples, with the image as it was measured; none where it is refused."""
    if record.get("error") or record.get("refusal"):
        return []
    made = []
    ordinals: dict[str, int] = {}
    image = stored_image(record)
    for written in json.loads(str(row.extra["samples"])):
        task = written["task"]
        ordinal = ordinals.get(task, 0)
        ordinals[task] = ordinal + 1
        key = view_key(record["key"], task, ordinal)
        language = written.get("language") or row.extra.get("language") or "und"
        own = {"key": key, "language": language, "id": None, "licence": source.licence, "extra": None}
        view = {**written, **own}
        whole = {
            "key": key,
            "split": "train",
            "source": source.id,
            "images": [asdict(image)],
            "views": [view],
        }
        line = Sample.from_json(json.dumps(whole)).to_json()
        made.append({"member": row.member, "task": task, "images": None, "sample": line})
    return made


def hide(layout: "Layout", source: str, shard: str, members: Container[str]) -> None:
    """Overwrites pages in the tar, the JSON with an empty object and the image with zeros: every offset stays."""
    path = layout.path("rendered", source, shard)
    overwrite(layout, path, lambda one: one.name.rpartition(".")[0] in members, _blank)


def overwrite(
    layout: "Layout",
    path: str,
    wanted: Callable[[tarfile.TarInfo], bool],
    blank: Callable[[tarfile.TarInfo], bytes],
) -> None:
    """Overwrites the content of members of a tar, where that is not done yet."""
    with layout.store.local_copy(path) as tar:
        with tarfile.open(fileobj=tar, mode="r:") as archive:
            found = [one for one in archive if wanted(one)]
        blanks = [(one.offset_data, blank(one)) for one in found]
        if all(_at(tar, offset, len(zeros)) == zeros for offset, zeros in blanks):
            return
        with layout.store.write_atomic(path, layout.tmp) as local, local.open("wb") as copy:
            tar.seek(0)
            shutil.copyfileobj(tar, copy)
            for offset, zeros in blanks:
                copy.seek(offset)
                copy.write(zeros)


def _blank(member: tarfile.TarInfo) -> bytes:
    return b"{}".ljust(member.size) if member.name.endswith(".json") else bytes(member.size)


def _at(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)
