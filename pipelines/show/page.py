"""Samples as one HTML page that needs nothing beside it.

How the page looks.
"""

import base64
import io
from collections.abc import Iterable, Iterator
from html import escape as escaped
from pathlib import Path
from typing import Final

from pipelines.show.drawing import Region, Scene, Shown, colour, opened, scene, taught
from schemas.markup import MarkupError, Rendered, render
from schemas.plain import mended_lines
from schemas.sample import Example, ImageRef, Phrase, Segment, Text

STYLE: Final = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem; max-width: 60rem; background: #f6f8fa; color: #1f2328;
  font: 16px/1.5 system-ui, "Noto Sans", "Noto Sans CJK SC", sans-serif; }
mark { background: #fff3b0; color: inherit; border-radius: 2px; box-decoration-break: clone; }
.legend { color: #57606a; font-size: .85rem; }
article { background: #fff; border: 1px solid #d0d7de; border-radius: 10px; padding: .8rem 1rem; margin: 0 0 1rem; }
header { display: flex; flex-wrap: wrap; gap: .4rem; align-items: center; font-size: .8rem; margin-bottom: .6rem; }
header code { overflow-wrap: anywhere; font-weight: 600; }
header span { background: #eaeef2; border-radius: 1em; padding: 0 .6em; }
header span:empty { display: none; }
section { margin: .5rem 0; display: flex; flex-direction: column; align-items: flex-start; }
section h2 { font-size: .75rem; font-weight: 600; color: #57606a; margin: 0 .8rem; }
section > div { border-radius: 12px; padding: .5rem .8rem; max-width: 86%; white-space: pre-wrap;
  overflow-wrap: anywhere; background: #eef2f6; }
section.document > div, section.system > div { max-width: 100%; }
section.document > div { background: #fbfbfb; border: 1px solid #eaeef2; }
section.document h2 { display: none; }
section.assistant { align-items: flex-end; }
section.assistant > div { background: #e6f4ea; }
section.system > div { background: #f3eefc; font-size: .85rem; }
figure { margin: .2rem 0 .4rem; }
.image { position: relative; line-height: 0; }
/* regions are of the image as stored, which a browser would turn by its EXIF tag */
.image img { width: 100%; image-orientation: none; }
.image svg { position: absolute; inset: 0; width: 100%; height: 100%; }
polygon { fill-opacity: .08; stroke-width: 2px; vector-effect: non-scaling-stroke; }
svg text { fill: #fff; text-anchor: middle; font-family: system-ui, sans-serif; font-weight: 700; }
figcaption { font-size: .75rem; color: #57606a; line-height: 1.6; }
.phrase { border-bottom: 2px solid #8c959f; font-weight: 600; }
.phrase sub { font-size: .65em; margin-left: .15em; line-height: 0; }
details { margin-top: .5rem; font-size: .8rem; color: #57606a; }
details.refused { color: #d1242f; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; color: #1f2328; }
"""


_BROWSER: Final = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp", "AVIF": "avif"}
_HEAD: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>Samples</title><style>"""
_LEGEND: Final = (
    '<p class="legend"><mark>marked</mark> words are taught; a phrase and its regions share a number and a colour;'
    " coordinates are pixels of the stored image</p>"
)


def escape(text: str) -> str:
    """Returns text as HTML, without anything that turns or hides what stands beside it."""
    return escaped(mended_lines(text))


def view_html(shown: Iterable[Shown], out: Path) -> None:
    """Writes the page of `shown` to `out`: images inside, no script, nothing fetched from anywhere."""
    with out.open("w", encoding="utf-8") as file:
        file.write(f"{_HEAD}{STYLE}</style></head><body>{_LEGEND}")
        for one in shown:
            file.writelines(_sample(one))
        file.write("</body></html>\n")


def _sample(shown: Shown) -> Iterator[str]:
    sample = shown.sample
    badges = "".join(f"<span>{escape(one)}</span>" for one in (sample.split, sample.source))
    yield f"<article><header><code>{escape(sample.key)}</code>{badges}</header>"
    for example in sample.examples:
        yield from _view(shown, example)
    yield "</article>"


def _view(shown: Shown, example: Example) -> Iterator[str]:
    drawn = scene(example.turns)
    facts = (example.task, example.language, example.licence, example.id or "")
    badges = "".join(f"<span>{escape(one)}</span>" for one in facts)
    yield f"<header><code>{escape(example.key)}</code>{badges}</header>"
    showing = 0
    for turn in example.turns:
        yield f'<section class="{escape(turn.role)}"><h2>{escape(turn.role)}</h2><div>'
        for segment in turn.segments:
            if isinstance(segment, ImageRef):
                yield _figure(shown, segment.image, showing, drawn.regions[showing])
                showing += 1
            else:
                yield _words(segment, drawn, example.task)
                if example.task == "ocr":
                    yield " "
        yield "</div></section>"
    yield _markup(example)


def _figure(shown: Shown, index: int, showing: int, regions: tuple[Region, ...]) -> str:
    image = shown.sample.images[index]
    caption = f"image {showing + 1}: {image.width} × {image.height} {escape(image.format)}"
    wide = max(min(image.width, 640), 160)
    # labels have one size on the screen whatever the image's, and a smaller one where there are many
    unit = image.width / wide * (1 if len(regions) <= 20 else 0.7)
    labels = "".join(_label(one, unit, image.width, image.height) for one in regions)
    shapes = "".join(map(_outline, regions)) + labels
    return (
        f'<figure style="max-width:{wide}px">'
        f'<div class="image"><img alt="" src="{_address(shown.images[index], image.format)}">'
        f'<svg viewBox="0 0 {image.width} {image.height}" preserveAspectRatio="none">{shapes}</svg></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _outline(region: Region) -> str:
    points = " ".join(f"{x:g},{y:g}" for x, y in region.corners)
    return (
        f'<polygon points="{points}" stroke="{region.colour}" fill="{region.colour}">'
        f"<title>{escape(region.words)}</title></polygon>"
    )


def _label(region: Region, unit: float, width: int, height: int) -> str:
    label = str(region.number)
    wide = (6 + 8 * len(label)) * unit
    left, top = region.label(wide, 16 * unit, width, height)
    return (
        f'<rect x="{left:g}" y="{top:g}" width="{wide:g}" height="{16 * unit:g}" fill="{region.colour}"/>'
        f'<text x="{left + wide / 2:g}" y="{top + 12.5 * unit:g}" font-size="{13 * unit:g}">{label}</text>'
    )


def _words(segment: Segment, drawn: Scene, task: str) -> str:
    if isinstance(segment, Text):
        return _marked_if(segment.supervised, escape(segment.text))
    if not isinstance(segment, Phrase):
        return ""
    number = drawn.number(segment)
    words_taught, regions_taught = taught(task, segment)
    words = _marked_if(words_taught, escape(segment.phrase) or "<i>no words</i>")
    if number is None:
        return f'<span class="phrase">{words}</span>'
    own = segment.boxes or segment.quads
    label = _marked_if(bool(own) and regions_taught, f"<sub>{'▢' if own else ''}{number}</sub>")
    style = f"color:{colour(number)};border-color:{colour(number)}"
    return f'<span class="phrase" style="{style}" title="{_coordinates(segment)}">{words}{label}</span>'


def _coordinates(phrase: Phrase) -> str:
    boxes = [f"box {' '.join(f'{v:g}' for v in box)}" for box in phrase.boxes]
    quads = ["quad " + " ".join(f"{x:g},{y:g}" for x, y in quad) for quad in phrase.quads]
    return "; ".join(boxes + quads)


def _marked_if(supervised: bool, html: str) -> str:
    return f"<mark>{html}</mark>" if supervised else f"<span>{html}</span>"


def _markup(example: Example) -> str:
    """The text that a Qwen-VL reads, with what carries loss marked."""
    try:
        made = render(example)
    except MarkupError as error:
        return f'<details open class="refused"><summary>no markup</summary>{escape(str(error))}</details>'
    return f"<details><summary>markup</summary><pre>{_marked(made)}</pre></details>"


def _marked(made: Rendered) -> str:
    parts = []
    at = 0
    for start, end in made.loss:
        parts += [escape(made.text[at:start]), f"<mark>{escape(made.text[start:end])}</mark>"]
        at = end
    return "".join([*parts, escape(made.text[at:])])


def _address(data: bytes, kind: str) -> str:
    """The image as a data address; as PNG where browsers do not read its format."""
    if kind not in _BROWSER:
        buffer = io.BytesIO()
        opened(data).save(buffer, "PNG")
        data, kind = buffer.getvalue(), "PNG"
    return f"data:image/{_BROWSER[kind]};base64,{base64.b64encode(data).decode()}"
