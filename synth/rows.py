"""A row of the demo crawl as it will be written."""

from dataclasses import dataclass, replace

from synth.content import Content


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the crawl as it will be written. `form` is the suffix of the image's member;
    `clean_caption` is what cleaning must leave of a caption that needs it."""

    content: Content
    language: str
    caption: str | None
    form: str
    data: bytes
    url: str = ""
    exif: str = "{}"
    clean_caption: str | None = None


def says(row: Row, caption: str | None, clean: str | None = None) -> Row:
    """The row with another caption, and what cleaning must leave of it where it needs any."""
    return replace(row, caption=caption, clean_caption=clean)
