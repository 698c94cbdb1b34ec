"""Which columns of a source hold the image, the caption and the URL, and the limits for reading it.

A recipe writes `columns: laion`, or a map, or a map that starts from a ready one
(`columns: {like: laion, extra: [similarity]}`). Names are tried in order; in a tar a name is the
suffix of a member or a field of the member `.json`.
"""

import codecs
from typing import Annotated, Final, Literal, get_args

from pydantic import AfterValidator, Field, field_validator, model_validator

from schemas.settings import Settings

Part = Literal["image", "caption", "url", "id", "licence", "extra"]
Names = tuple[str, ...]

GUESSES: Final[dict[Part, Names]] = {
    "image": ("image", "jpg", "image_bytes", "bytes", "content"),
    "caption": ("txt", "caption", "text", "TEXT"),
    "url": ("url", "URL"),
    "id": (),
    "licence": (),
    "extra": (),
}
"""What is tried where neither the recipe nor a ready mapping names a column."""

_RIGHTS: Final = ("licence", "license", "LICENSE")

READY: Final[dict[str, dict[Part, Names]]] = {
    # github.com/rom1504/img2dataset: what it keeps of LAION beside its own fields
    "img2dataset": {
        "caption": ("txt", "caption"),
        "url": ("url",),
        "extra": ("similarity", "punsafe", "pwatermark", *_RIGHTS),
    },
    "laion": {
        "caption": ("txt", "TEXT", "caption"),
        "url": ("URL", "url"),
        "extra": ("similarity", "punsafe", "pwatermark", "NSFW", "LANGUAGE", *_RIGHTS),
    },
    "coyo": {
        "caption": ("txt", "text", "caption"),
        "url": ("url",),
        "extra": (
            "id",
            "clip_similarity_vitb32",
            "clip_similarity_vitl14",
            "nsfw_score_opennsfw2",
            "nsfw_score_gantman",
            "watermark_score",
            "aesthetic_score_laion_v2",
            "num_faces",
        ),
    },
    "datacomp": {
        "caption": ("txt", "text", "caption"),
        "url": ("url",),
        "extra": ("uid", "clip_b32_similarity_score", "clip_l14_similarity_score"),
    },
}
"""The ready mappings: column names as those datasets were published."""


class Columns(Settings):
    """A source's column map; what is left out is taken from `like`, else guessed."""

    like: Literal["img2dataset", "laion", "coyo", "datacomp"] | None = Field(
        None, description="a ready mapping to start from"
    )
    image: Names | None = Field(
        default=None, min_length=1, description="where the image's bytes (or path) are"
    )
    caption: Names | None = Field(
        None, min_length=1, description="where the caption is; the first found wins"
    )
    url: Names | None = Field(default=None, min_length=1)
    id: Names | None = Field(None, min_length=1, description="what the row is called where it comes from")
    licence: Names | None = Field(
        None, min_length=1, description="the row's own licence; default: the source's"
    )
    extra: Names | None = Field(default=None, description="further scalar fields to carry into the signals")

    @model_validator(mode="before")
    @classmethod
    def _ready(cls, value: object) -> object:
        return {"like": value} if isinstance(value, str) else value

    @field_validator(*get_args(Part), mode="before")
    @classmethod
    def _one_name(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    def names(self, part: Part) -> Names:
        """The names to try for `part`, the preferred first."""
        own: Names | None = getattr(self, part)
        if own is not None:
            return own
        ready = READY[self.like] if self.like else {}
        return ready.get(part, GUESSES[part])

    def all_names(self) -> frozenset[str]:
        """Every name that is looked for."""
        return frozenset(name for part in get_args(Part) for name in self.names(part))

    def required(self, part: Part) -> bool:
        """Whether a file whose columns are known must have (one of) them: those that the recipe names."""
        return getattr(self, part) is not None or (self.like is not None and part == "caption")


def _encoding(name: str) -> str:
    """The encoding's one name, as Python spells it."""
    try:
        "".encode(name)
        return codecs.lookup(name).name
    except LookupError as error:
        raise ValueError(
            f"there is no encoding of text called {name!r}, as utf-8, utf-16, gb18030 are"
        ) from error


class ReadLimits(Settings):
    """How files and members of tars are read, and what a reader refuses, so that no input can exhaust the machine."""

    names: Literal["auto", "first_dot", "last_dot"] = Field(
        default="auto",
        description="where a tar's keys end; auto: at the first dot, in a tar where that merges images at the last",
    )
    image_bytes: int = Field(
        default=64 * 1024 * 1024, gt=0, description="larger images are `too_large`, unread"
    )
    images: int = Field(
        default=64, gt=0, description="images of one record, where `several: interleaved` keeps them"
    )
    text_bytes: int = Field(
        default=1024 * 1024, gt=0, description="larger caption members are `too_large`, unread"
    )
    record_bytes: int = Field(
        default=8 * 1024 * 1024, gt=0, description="larger lines and records are `too_large`, JSON `bad_row`"
    )
    header_bytes: int = Field(default=1024 * 1024, gt=0, description="a tar's long names and pax headers")
    members: int = Field(default=1_000_000, gt=0, description="members of one tar")
    rows: int = Field(default=100_000_000, gt=0, description="rows that one Parquet file may announce")
    delimiter: str | None = Field(
        None, pattern=r'^[^"\r\n]$', description="of CSV and TSV; default: recognised by the first line"
    )
    quotes: bool | None = Field(
        None, description="whether fields of CSV and TSV may be quoted; default: in CSV, not in TSV"
    )
    encoding: Annotated[str, AfterValidator(_encoding)] | None = Field(
        None,
        description="of CSV, TSV, JSONL, text and sidecars that are no UTF-8; default: recognised, UTF-8 or UTF-16",
    )
    ratio: int = Field(
        default=200,
        gt=0,
        description="unpacked : packed size of gzip, bzip2, xz and zstd, beyond the first 256 MiB",
    )
