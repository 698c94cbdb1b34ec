"""The kinds of sources, in one table: how each is found and read, and what the other rooms ask about it.

A new kind is one module and one line of KINDS.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from pipelines.files import Store
from pipelines.sources import annotations, folder, parquet, rendered, text, urls, webdataset
from pipelines.sources.shard import Discovery, InputShard, Reading, Wanted
from schemas.row import RawRow

if TYPE_CHECKING:
    from filters.filter import Rule
    from pipelines.recipe.model import Source

Formats = Mapping[str, tuple[str, ...]]
"""By the name of a format the suffixes of its files."""

TAR: Final[Formats] = {
    "tar": (
        *(".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tbz"),
        *(".tar.xz", ".txz", ".tar.zst", ".tar.zstd", ".tzst"),
    )
}
_PARQUET: Final[Formats] = {"parquet": (".parquet",)}
_TABLES: Final[Formats] = {
    "jsonl": (".jsonl", ".jsonl.gz", ".ndjson"),
    "csv": (".csv", ".csv.gz"),
    "tsv": (".tsv", ".tsv.gz"),
}
_LINES: Final[Formats] = {"txt": (".txt", ".txt.gz")}


class Reader(Protocol):
    """The module that reads the shards of a kind."""

    def read(self, reading: Reading, start: int) -> Iterator[RawRow]:
        """Yields the rows from number `start` on, then raises ShardError if the shard is damaged."""

    def fetch(self, reading: Reading, wanted: Wanted) -> Iterator[tuple[str, bytes]]:
        """Yields (member, image bytes) of the members wanted."""

    def head(self, reading: Reading, rows: int) -> list[dict[str, object]]:
        """Returns the first rows with all that is stored of them, by column."""


def _path(shard: InputShard) -> str:
    return shard.path


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of source.

    `formats` are those of its files; `beside`: images lie in the folders of these files, or have sidecars. A kind
    that is no files found by suffix has `discover` (and `identity`, where a shard is more than its file; shards of a
    source that `held_in` calls the same have one identity).
    """

    name: str
    reader: Reader | None = None
    formats: Formats = field(default_factory=dict)
    beside: bool = False
    discover: Callable[["Source", Store], Discovery] | None = None
    identity: Callable[[InputShard, "Source", Store], str] | None = None
    held_in: Callable[[InputShard], str] = _path
    pairs: bool = True
    """Rows are images with their captions: every rule applies, CLIP scores them, phase ground may look at them."""
    images: bool = True
    """Rows have images."""
    drafts: bool = False
    """Rows bring the samples that are made of them, in a `format` that the source names."""
    annotated: bool = False
    """Rows are records about images that `files` and `images` name; they never compete, and may bring splits."""
    made: bool = False
    """The build itself makes the shards, in the folder of the corpus."""
    fetched: bool = False
    """The build itself downloads the images, into the folder of the corpus; files of the formats are lists of URLs."""
    general: Collection[str] = ()
    """Where rows are no pairs: the recipe's rules that apply, by name or by what they are about,"""
    named: Collection[str] = ()
    """and the further ones that apply where the source names them."""

    def applying(self, rules: Collection["Rule"], own: Collection[str]) -> frozenset[str]:
        """Returns those of all `rules` that can apply to a source that names `own`.

        Never a rule whose signal rows of this kind cannot have.
        """
        taken = [
            rule.name
            for rule in rules
            if self.pairs
            or {rule.name, rule.about} & {*self.general}
            or (rule.name in own and {rule.name, rule.about} & {*self.named})
        ]
        return frozenset(taken)


KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        Kind("auto"),  # one of those below, which discovery finds out
        Kind("webdataset", webdataset, TAR),
        Kind("parquet", parquet, _PARQUET),
        Kind("folder", folder, _TABLES, beside=True, identity=folder.identity, held_in=folder.held_in),
        Kind(
            "text",
            text,
            {**_TABLES, **_PARQUET, **_LINES},
            pairs=False,
            images=False,
            # clip: by a score that came with the data
            general=("no_caption", "language", "columns", "clip", "repeat"),
            named=("caption",),
        ),
        Kind(
            "annotations",
            discover=annotations.discover,
            identity=annotations.identity,
            pairs=False,
            drafts=True,
            annotated=True,
            general=("language", "image", "repeat"),
            named=("caption", "columns", "duplicate"),
        ),
        Kind(
            "urls",
            urls,
            {**_PARQUET, **_TABLES, **_LINES},
            discover=urls.discover,
            identity=urls.identity,
            fetched=True,
        ),
        Kind(
            "rendered",
            rendered,
            discover=rendered.discover,
            pairs=False,
            drafts=True,
            made=True,
            general=("image", "repeat"),
            named=("duplicate",),
        ),
    )
}
