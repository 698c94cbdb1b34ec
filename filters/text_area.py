"""How much of a picture is text, and whether its caption only repeats that text.

The idea of T-MARS (Maini et al., arXiv 2307.03132): a pair whose similarity comes from text in the
picture teaches reading, not seeing. Here are the share of the area that text covers, the picture with its
text masked (to be scored again), and the share of the caption that the picture spells out. Who finds
the text is not this module's matter: it takes quads.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from schemas.sample import Quad
from schemas.signals import TextSettings

_LONGEST: Final = 1600
"""Pixels of the longer side that are read; more only costs time."""
_DECIMALS: Final = 4
_RING: Final = 0.35
_WORD: Final = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W_\u2e80-\u9fff\uf900-\ufaff]+")


class Line(Protocol):
    """A line of text that was found: what it says, where, and how far that is trusted, 0 to 1."""

    @property
    def text(self) -> str: ...
    @property
    def quad(self) -> Quad: ...
    @property
    def score(self) -> float: ...


class Reader(Protocol):
    """Whatever finds text in a (height, width, 3) RGB picture."""

    def read(self, pixels: npt.NDArray[np.uint8]) -> Sequence[Line]: ...


class TextArea:
    """The columns `text_area` and `text_repeats` of `schemas.row.SIGNALS`, one picture at a time."""

    VERSION: Final = 1
    LIBRARIES: Final = ("numpy", "pillow")

    def __init__(self, settings: TextSettings, reader: Reader) -> None:
        self._least = settings.min_score
        self._reader = reader

    def measure(self, image: Image.Image) -> tuple[float, list[str]]:
        """(the share of the area that text covers, 0 to 1, and the texts); the picture may be made smaller."""
        pixels, found = self._read(image)
        share = text_share([line.quad for line in found], pixels.shape[1], pixels.shape[0])
        return round(share, _DECIMALS), [line.text for line in found]

    def hidden(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """(height, width, 3): the picture, made smaller where it is large, with its text painted over."""
        pixels, found = self._read(image)
        return masked(pixels, [line.quad for line in found])

    def _read(self, image: Image.Image) -> tuple[npt.NDArray[np.uint8], list[Line]]:
        if image.mode not in ("L", "RGB"):
            image = image.convert("RGB")  # a palette's colours cannot be mixed
        image.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BICUBIC)
        pixels = np.asarray(image.convert("RGB"))
        return pixels, [line for line in self._reader.read(pixels) if line.score >= self._least]


def text_mask(quads: Sequence[Quad], width: int, height: int) -> npt.NDArray[np.bool_]:
    """(height, width): true for the pixels whose centres lie in any of `quads` (by the even-odd rule)."""
    mask = np.zeros((height, width), np.bool_)
    for quad in quads:
        left, top = (max(int(min(values)), 0) for values in zip(*quad, strict=True))
        right, bottom = (
            min(int(max(values)) + 1, side)
            for values, side in zip(zip(*quad, strict=True), (width, height), strict=True)
        )
        if left < right and top < bottom:
            mask[top:bottom, left:right] |= _inside(quad, left, top, right, bottom)
    return mask


def _inside(quad: Quad, left: int, top: int, right: int, bottom: int) -> npt.NDArray[np.bool_]:
    """(bottom - top, right - left): whether each pixel's centre lies in the quad."""
    x = np.arange(left, right)[None, :] + 0.5
    y = np.arange(top, bottom)[:, None] + 0.5
    inside = np.zeros((bottom - top, right - left), np.bool_)
    for (x1, y1), (x2, y2) in zip(quad, (*quad[1:], quad[0]), strict=True):
        if y1 != y2:
            inside ^= ((y1 > y) != (y2 > y)) & (x < x1 + (y - y1) * (x2 - x1) / (y2 - y1))
    return inside


def text_share(quads: Sequence[Quad], width: int, height: int) -> float:
    """The share of the picture's area that `quads` cover, 0 to 1; what overlaps counts once."""
    return float(text_mask(quads, width, height).mean()) if quads else 0.0


def masked(pixels: npt.NDArray[np.uint8], quads: Sequence[Quad]) -> npt.NDArray[np.uint8]:
    """A copy of a (height, width, 3) picture, each quad filled with the mean colour of what surrounds it."""
    height, width = pixels.shape[:2]
    every = text_mask(quads, width, height)
    filled = pixels.copy()
    for quad in quads:
        left, top, right, bottom = _around(quad, width, height)
        if right <= left or bottom <= top:
            continue
        inside = text_mask([_moved(quad, left, top)], right - left, bottom - top)
        part = pixels[top:bottom, left:right]
        ring = ~every[top:bottom, left:right]
        colour = part[ring].mean(axis=0) if ring.any() else part.reshape(-1, 3).mean(axis=0)
        filled[top:bottom, left:right][inside] = np.rint(colour).astype(np.uint8)
    return filled


def repeats(caption: str, texts: Sequence[str]) -> float:
    """The share of the caption's words (Han: characters) that the picture's `texts` hold, 0 to 1."""
    said, shown = _words(caption), _words(" ".join(texts))
    return sum((said & shown).values()) / max(sum(said.values()), 1)


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))


def _around(quad: Quad, width: int, height: int) -> tuple[int, int, int, int]:
    """The quad's box, grown on all sides by a share of its shorter side, within the picture."""
    xs, ys = [x for x, _ in quad], [y for _, y in quad]
    grow = max(2.0, _RING * min(max(xs) - min(xs), max(ys) - min(ys)))
    left, top = int(min(xs) - grow), int(min(ys) - grow)
    return (
        max(left, 0),
        max(top, 0),
        min(int(max(xs) + grow) + 1, width),
        min(int(max(ys) + grow) + 1, height),
    )


def _moved(quad: Quad, left: int, top: int) -> Quad:
    a, b, c, d = ((x - left, y - top) for x, y in quad)
    return a, b, c, d
