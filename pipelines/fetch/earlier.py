"""Images that an earlier fetch (`fetch.earlier`) had under the URLs of a task, wherever their rows stood then."""

from collections.abc import Container, Iterable, Iterator
from functools import reduce
from typing import Final

import pyarrow as pa

from filters.arrow import pc
from pipelines.engines.step import Json
from pipelines.fetch.address import as_asked
from pipelines.fetch.identity import Known
from pipelines.fetch.raw import SUFFIXES, Images, Raw, rows_of
from pipelines.fetch.statuses import OK
from pipelines.layout import Layout
from pipelines.recipe.model import Source

_FORMS: Final = {suffix: form for form, suffix in SUFFIXES.items()}
_HASHES: Final = ("sha256", "md5", "phash")


def raw_of(source: Source) -> Raw | None:
    """Returns the raw shards of the earlier fetch that a source names; None where it names none."""
    if source.fetch.earlier is None:
        return None
    return Raw(Layout("", options=dict(source.storage_options)), source.fetch.earlier)


def urls_of(raw: Raw, names: Iterable[str]) -> Iterator[pa.Table]:
    """Yields the URLs that gave an image, raw shard by raw shard."""
    for name in names:
        table = raw.left(name, ["url", "status"])
        if table is None:
            yield pa.table({"url": pa.array([], pa.string())})
        else:
            yield table.filter(pc.equal(table["status"], OK)).select(["url"])


def has_hash(table: pa.Table) -> pa.ChunkedArray:
    """Returns which rows of LIST bring a hash to hold their image against."""
    return reduce(pc.or_, (pc.is_valid(table[name]) for name in _HASHES))


class Earlier:
    """The images of an earlier fetch under the URLs of one task; `names` are the raw shards that have them."""

    def __init__(self, raw: Raw, names: Iterable[str], urls: Container[str]) -> None:
        self._raw = raw
        self._rows: dict[str, tuple[str, Json]] = {}
        for name in names:
            if (table := raw.left(name)) is not None:
                self._take(name, table, urls)

    def _take(self, name: str, table: pa.Table, urls: Container[str]) -> None:
        for row in rows_of(table):
            url = as_asked(row["url"] or "")
            if row["status"] == OK and url in urls:
                self._rows.setdefault(url, (name, row))

    def known(self, url: str) -> Known | None:
        """Returns what a URL, as it is asked, gave then."""
        name, row = self._rows.get(url, ("", None))
        if row is None:
            return None
        return Known(row["sha256"], image=lambda: self._image(name, row), form=_FORMS[row["suffix"]])

    def _image(self, name: str, row: Json) -> bytes:
        """The image, nothing where it is damaged or lost."""
        images = Images(self._raw, name)
        try:
            return images.read(row) or b""
        finally:
            images.close()
