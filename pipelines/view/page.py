"""Samples as one HTML page that needs nothing beside it."""

import base64
import io
from collections.abc import Iterable, Iterator
from html import escape
from pathlib import Path
from typing import Final

from PIL import Image as Pictures

from pipelines.view.scene import Region, Scene, Shown, colour, scene
from pipelines.view.style import STYLE
from schemas.markup import MarkupError, Rendered, render
from schemas.sample import ImageRef, Phrase, Sample, Segment, Text

_BROWSER: Final = {"JPEG": "jpeg", "PNG": "png", "WEBP": "webp", "GIF": "gif", "BMP": "bmp"}
_HEAD: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>Samples</title><style>"""
_LEGEND: Final = (
    '<p class="legend"><mark>marked</mark> words are taught; a phrase and its regions share a number and a colour;'
    " coordinates are pixels of the stored picture</p>"
)


def view_html(shown: Iterable[Shown], out: Path) -> None:
    """Writes the page of `shown` to `out`: pictures inside, no script, nothing fetched from anywhere."""
    with out.open("w", encoding="utf-8") as file:
        file.write(f"{_HEAD}{STYLE}</style></head><body>{_LEGEND}")
        for one in shown:
            file.writelines(_sample(one))
        file.write("</body></html>\n")


def _sample(shown: Shown) -> Iterator[str]:
    sample = shown.sample
    drawn = scene(sample.turns)
    facts = (sample.task, sample.language, sample.split, sample.source, sample.licence)
    yield f"<article><header><code>{escape(sample.key)}</code>{''.join(f'<span>{escape(one)}</span>' for one in facts)}</header>"
    showing = 0
    for turn in sample.turns:
        yield f'<section class="{escape(turn.role)}"><h2>{escape(turn.role)}</h2><div>'
        for segment in turn.segments:
            if isinstance(segment, ImageRef):
                yield _figure(shown, segment.image, showing, drawn.regions[showing])
                showing += 1
            else:
                yield _words(segment, drawn)
        yield "</div></section>"
    yield _markup(sample)
    yield "</article>"


def _figure(shown: Shown, index: int, showing: int, regions: tuple[Region, ...]) -> str:
    image = shown.sample.images[index]
    caption = f"picture {showing + 1}: {image.width} × {image.height} {escape(image.format)}"
    # strokes and labels are drawn at one size whatever the picture's
    unit = max(image.width, image.height) / 640
    shapes = "".join(_shape(region, unit, image.width) for region in regions)
    return (
        f'<figure style="max-width:{max(min(image.width, 640), 160)}px">'
        f'<div class="picture"><img alt="" src="{_address(shown.images[index], image.format)}">'
        f'<svg viewBox="0 0 {image.width} {image.height}" preserveAspectRatio="none">{shapes}</svg></div>'
        f"<figcaption>{caption}</figcaption></figure>"
    )


def _shape(region: Region, unit: float, width: int) -> str:
    points = " ".join(f"{x:g},{y:g}" for x, y in region.corners)
    label = str(region.number)
    wide = (6 + 8 * len(label)) * unit
    left = min(max(min(x for x, _ in region.corners), 0), width - wide)
    top = max(min(y for _, y in region.corners), 0)
    return (
        f'<g><title>{escape(region.words)}</title><polygon points="{points}" stroke="{region.colour}"'
        f' fill="{region.colour}"/><rect x="{left:g}" y="{top:g}" width="{wide:g}" height="{16 * unit:g}"'
        f' fill="{region.colour}"/><text x="{left + wide / 2:g}" y="{top + 12.5 * unit:g}"'
        f' font-size="{13 * unit:g}">{label}</text></g>'
    )


def _words(segment: Segment, drawn: Scene) -> str:
    if isinstance(segment, Text):
        return (
            f"<mark>{escape(segment.text)}</mark>"
            if segment.supervised
            else f"<span>{escape(segment.text)}</span>"
        )
    if not isinstance(segment, Phrase):
        return ""
    number = drawn.number(segment)
    words = escape(segment.phrase) or "<i>no words</i>"
    tag = "mark" if segment.supervised else "span"
    if number is None:
        return f'<{tag} class="phrase">{words}</{tag}>'
    regions = "; ".join(
        [f"box {' '.join(f'{v:g}' for v in box)}" for box in segment.boxes]
        + ["quad " + " ".join(f"{x:g},{y:g}" for x, y in quad) for quad in segment.quads]
    )
    return (
        f'<{tag} class="phrase" style="color:{colour(number)};border-color:{colour(number)}"'
        f' title="{escape(regions)}">{words}<sub>{number}</sub></{tag}>'
    )


def _markup(sample: Sample) -> str:
    """The text that a Qwen-VL reads, with what carries loss marked."""
    try:
        made = render(sample)
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
    """The picture as a data address; as PNG where browsers do not read its format."""
    if kind not in _BROWSER:
        buffer = io.BytesIO()
        with Pictures.open(io.BytesIO(data)) as picture:
            picture.convert("RGB").save(buffer, "PNG")
        data, kind = buffer.getvalue(), "PNG"
    return f"data:image/{_BROWSER[kind]};base64,{base64.b64encode(data).decode()}"
