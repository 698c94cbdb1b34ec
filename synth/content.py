"""What a row of the demo crawl shows: drawn as parameters, then rendered, described and encoded."""

import io
import random
from dataclasses import dataclass
from typing import Final

from PIL import Image

from synth import captions, photos, scenes
from synth.photos import Crop, Pair
from synth.scenes import Scene
from synth.words import LANGUAGES, PHOTO_LANGUAGES

SHORTEST_SIDE: Final = 256
LONGEST_SIDE: Final = 640
WIDEST: Final = LONGEST_SIDE / SHORTEST_SIDE
"""Pixels, and the greatest ratio of the sides, of an image without defects."""

_PHOTO_SHARE: Final = 0.15


@dataclass(frozen=True, slots=True)
class Content:
    """An image before it is rendered, and its size in pixels."""

    shown: Scene | Crop | Pair
    size: tuple[int, int]

    @property
    def made_of(self) -> str:
        """`scene` or `photo`."""
        return "scene" if isinstance(self.shown, Scene) else "photo"


def _sides(aspect: float, rng: random.Random) -> tuple[int, int]:
    """A size of the given width / height with both sides within the limits."""
    ratio = max(aspect, 1 / aspect)
    least = max(SHORTEST_SIDE * ratio, 300)
    shorter = round(rng.uniform(least, max(least, LONGEST_SIDE)) / ratio)
    longer = min(round(shorter * ratio), LONGEST_SIDE)
    return (longer, shorter) if aspect >= 1 else (shorter, longer)


def _shown(rng: random.Random, photo: bool) -> Scene | Crop | Pair:
    if not photo:
        return scenes.draw(rng)
    return photos.draw(rng) if rng.random() < 0.25 else photos.draw_pair(rng)


def _aspect(shown: Scene | Crop | Pair) -> float:
    if isinstance(shown, Scene):
        return shown.width / shown.height
    if isinstance(shown, Crop):
        return photos.aspect(shown)
    one, two = photos.aspect(shown.first), photos.aspect(shown.second)
    return one + two if shown.side_by_side else 1 / (1 / one + 1 / two)


def draw(rng: random.Random, language: str) -> Content:
    """A web-like image that can be described in the language: mostly scenes, some photographs."""
    photo = language in PHOTO_LANGUAGES and rng.random() < _PHOTO_SHARE
    while True:
        shown = _shown(rng, photo)
        aspect = _aspect(shown)
        if 1 / WIDEST < aspect < WIDEST:
            return Content(shown, _sides(aspect, rng))


def draw_scene(rng: random.Random, aspect: float, shorter: int) -> Content:
    """A scene of a given shape and size, for defects of shape and size."""
    scene = scenes.draw(rng, aspect)
    return Content(scene, scene.frame(round(shorter * max(aspect, 1 / aspect))))


def picture(content: Content) -> Image.Image:
    """The content as an RGB image of its size."""
    if isinstance(content.shown, Scene):
        return scenes.render(content.shown, content.size)
    if isinstance(content.shown, Crop):
        return photos.render(content.shown, *content.size)
    return photos.render_pair(content.shown, max(content.size))


def describe(content: Content, language: str, rng: random.Random) -> str:
    """A true caption of the content."""
    if isinstance(content.shown, Scene):
        return captions.caption(content.shown, language, rng)
    return captions.photo_caption(content.shown, language, rng)


def unlike(content: Content, language: str, rng: random.Random) -> str:
    """A caption that is not true of the content: of an image with nothing in common."""
    mine = _named(content)
    while True:
        other = draw(rng, language)
        if not mine & _named(other):
            return describe(other, language, rng)


def _named(content: Content) -> set[str]:
    """What captions of the content may name; scenes share nothing when no shape is in both."""
    if isinstance(content.shown, Scene):
        behind = content.shown.background.photo
        return {item.shape for item in content.shown.objects} | ({behind.name} if behind else set())
    crops = (
        [content.shown] if isinstance(content.shown, Crop) else [content.shown.first, content.shown.second]
    )
    return {crop.name for crop in crops}


def encode(image: Image.Image, form: str, quality: int = 85) -> bytes:
    """The bytes of an image as `jpg`, `webp` or `png`, with settings that never change.

    `png` and `webp` at quality 100 keep every pixel.
    """
    out = io.BytesIO()
    if form == "jpg":
        image.save(out, "JPEG", quality=quality, subsampling="4:2:0", optimize=False, progressive=False)
    elif form == "webp":
        image.save(out, "WEBP", quality=quality, lossless=quality == 100, method=2, exact=True)
    else:
        image.save(out, "PNG", compress_level=4)
    return out.getvalue()


def codes() -> tuple[str, ...]:
    """The codes of every language but English and Chinese."""
    return tuple(code for code in LANGUAGES if code not in ("en", "zh"))
