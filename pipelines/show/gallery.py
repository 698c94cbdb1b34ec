"""A page of samples with their images, whole in one file and safe to open whatever they hold."""

import base64
import io
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from PIL import Image as Pixels

from filters.header import sniff
from filters.pixels import DECODERS, decode, decoding
from filters.sketch import preview
from schemas.errors import RowError
from schemas.plain import mended_lines
from schemas.sample import Phrase, Sample, Text

_TYPES: Final = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "AVIF": "avif"}
_AS_IT_IS: Final = 256 * 1024
_SIDE: Final = 768
_MAX_PIXELS: Final = 100_000_000
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True, slots=True)
class Shown:
    """A sample to be looked at, or a raw row that is none yet: then `sample` is None and the rest is set."""

    sample: Sample | None
    images: tuple[bytes, ...]
    member: str = ""
    caption: str = ""
    trouble: str = ""

    @property
    def key(self) -> str:
        """The sample's key, or the raw row's member."""
        return self.sample.key if self.sample else self.member

    @property
    def words(self) -> str:
        """All that is said."""
        return "\n".join(one.text for one in self.sample.examples) if self.sample else self.caption

    @property
    def facts(self) -> list[str]:
        """What is worth a word beside the key."""
        sample = self.sample
        about = ["raw"]
        if sample is not None:
            languages = dict.fromkeys(one.language for one in sample.views)
            about = [_counted(sample), sample.split, "+".join(languages), sample.source]
        return [one for one in (*about, *map(described, self.images), self.trouble) if one]


def _counted(sample: Sample) -> str:
    """Returns the tasks of a sample's views, with their number where a task has several."""
    counts = Counter(one.task for one in sample.views)
    return ", ".join(task if count == 1 else f"{count} {task}" for task, count in counts.items())


@dataclass(frozen=True, slots=True)
class Said:
    """A run of text on the page."""

    text: str
    supervised: bool
    phrase: bool


def page(title: str, shown: Iterable[Shown], note: str = "") -> str:
    """One HTML document: texts escaped and marked with their language, images inside as data URIs."""
    return template("gallery.html.jinja").render(title=title, shown=list(shown), note=note)


def described(data: bytes) -> str:
    """Format, size in pixels and bytes of an image, or what is wrong with it."""
    try:
        name, image = opened(data)
    except RowError as error:
        return f"{error.kind} ({len(data):,} bytes)"
    return f"{name} {image.width}×{image.height} {max(1, round(len(data) / 1024)):,} KiB"


def data_uri(data: bytes) -> str | None:
    """The image for an <img>: as it is where a browser knows it and it is small, else a smaller JPEG.

    None where it cannot be decoded.
    """
    try:
        name, image = opened(data)
        if name not in _TYPES or len(data) > _AS_IT_IS or max(image.size) > 4 * _SIDE:
            with decoding(data, name, _MAX_PIXELS):
                data, name = _smaller(image), "JPEG"
    except RowError:
        return None
    return f"data:image/{_TYPES[name]};base64,{base64.b64encode(data).decode()}"


def opened(data: bytes) -> tuple[str, Pixels.Image]:
    """Returns format and image of some bytes; RowError where they hold none, or are damaged or too large."""
    if not data:
        raise RowError("empty")
    name = sniff(data)
    if name is None:
        raise RowError("not_image")
    if name not in DECODERS:
        raise RowError("unsupported_format")
    with decoding(data, name, _MAX_PIXELS):
        return name, decode(data, name, _MAX_PIXELS)


def _smaller(image: Pixels.Image) -> bytes:
    small = image.convert("RGB")
    small.thumbnail((_SIDE, _SIDE))
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return out.getvalue()


def _said(segment: object) -> Said | None:
    if isinstance(segment, Text):
        return Said(segment.text, segment.supervised, phrase=False)
    if isinstance(segment, Phrase):
        return Said(segment.phrase, segment.supervised, phrase=True)
    return None


def _lang(language: str) -> str:
    return language if _LANGUAGE.fullmatch(language) else "und"


@cache
def template(name: str) -> Template:
    """Returns a page's template; a file of this folder."""
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        newline_sequence="\n",
        loader=FunctionLoader(lambda name: files("pipelines.show").joinpath(name).read_text("utf-8")),
    )
    environment.filters.update(
        data_uri=data_uri,
        preview=preview,
        said=_said,
        lang=_lang,
        clean=mended_lines,
    )
    return environment.get_template(name)
