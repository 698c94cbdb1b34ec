"""Pages: `PageMaker.page(index)` is a function of the settings and the index alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image, __version__, features

from synth.page import effects, fonts, typeset
from synth.page.effects import Warp, elastic_field
from synth.page.fonts import Face
from synth.page.layout import Parameters, draw, ranges
from synth.page.typeset import Line, truth_of
from synth.regions import TextLine
from synth.seeds import generator
from synth.text import Reader, builtin

cv2.setNumThreads(1)


@dataclass(frozen=True, slots=True)
class PageSettings:
    """What is asked for; `direction` auto is rtl for the languages that are, else ltr."""

    seed: int
    language: str
    setting: str = "default"
    direction: str = "auto"
    characters: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """A page: JPEG bytes, size in pixels, lines in reading order, and what it was made from.

    `parameters` holds plain values only: the drawn parameters, the fonts used (name, version, digest),
    who shaped the text and under which versions.
    """

    image: bytes
    width: int
    height: int
    lines: tuple[TextLine, ...]
    language: str
    parameters: dict[str, Any]

    @property
    def text(self) -> str:
        """The lines, one below the other."""
        return "\n".join(line.text for line in self.lines)


class PageMaker:
    """Makes pages of one language; fonts and text are read once.

    `passages` is the text to set (by default the project's own), `pictures` encoded images to lie
    behind the sheets. Raises InputError where no text or no font serves the language.
    """

    def __init__(
        self,
        settings: PageSettings,
        passages: Sequence[str] = (),
        pictures: effects.Images = (),
        found: fonts.Fonts | None = None,
    ) -> None:
        self.settings = settings
        self._ranges = ranges(settings.setting)
        self._pictures = pictures
        self._direction = typeset.direction(settings.direction, settings.language)
        self._passages, self.faces = supplies(settings.language, passages, found)

    def page(self, index: int) -> Page:
        """The page of this index: the same bytes whoever makes it, and in whatever order."""
        rng = generator(self.settings.seed, f"page {self.settings.language}", index)
        return self.render(draw(rng, self._ranges, vertical=self._direction == "vertical"))

    def render(self, drawn: Parameters) -> Page:
        """The page that `drawn` describes."""
        setter = typeset.Setter(
            self.faces, self._direction, self.settings.characters, document=drawn.document
        )
        reader = Reader(self._passages, generator(drawn.text, "page text"))
        warp = _warp(drawn)
        lines, truth = [], []
        for line in setter.lines(drawn.blocks, reader):
            inside, known = truth_of(line, warp.forward, (drawn.width, drawn.height))
            if known is not None:
                lines.append(inside)
                truth.append(known)
        image = encoded(_pixels(drawn, lines, warp, self._pictures), drawn.quality)
        libraries = {"pillow": __version__, "opencv": cv2.__version__, "numpy": np.__version__}
        parameters = {
            **recorded(self.settings.setting, self._direction, drawn, lines),
            "libraries": {**libraries, "freetype": str(features.version("freetype2"))},
        }
        return Page(image, drawn.width, drawn.height, tuple(truth), self.settings.language, parameters)


def supplies(
    language: str, passages: Sequence[str], found: fonts.Fonts | None
) -> tuple[Sequence[str], tuple[Face, ...]]:
    """Returns the text to set, by default the project's own, and the faces that can write it.

    Raises InputError where no text or no font serves the language.
    """
    passages = passages or builtin(language)
    return passages, (found or fonts.find()).for_text(fonts.sample(passages), language)


def recorded(setting: str, direction: str, drawn: Any, lines: Sequence[Line]) -> dict[str, Any]:
    """Returns what a page was made from, as plain values: its drawn parameters (a dataclass), its fonts."""
    used = {line.face.identity for line in lines}
    names = sorted(used, key=lambda one: (one.name, one.digest, one.face))
    return {
        "setting": setting,
        "direction": direction,
        "drawn": asdict(drawn),
        "fonts": [asdict(one) for one in names],
        "shaping": fonts.shaping(),
    }


def _warp(drawn: Parameters) -> Warp:
    alpha, sigma, seed = drawn.effects.elastic
    field = elastic_field(drawn.width, drawn.height, alpha, sigma, seed)
    return Warp(drawn.corners, drawn.document, (drawn.width, drawn.height), field)


def _pixels(drawn: Parameters, lines: Sequence[Line], warp: Warp, pictures: effects.Images) -> effects.Pixels:
    alpha, seed = drawn.paper
    image = Image.fromarray(effects.sheet(*drawn.document, alpha, seed))
    typeset.ink(image, lines)
    sheet = effects.noised(np.asarray(image), *drawn.effects.noise)
    across, down = warp.maps()
    page = cv2.remap(sheet, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if (drawn.width, drawn.height) != drawn.document or _bent(drawn):
        shown = cv2.remap(np.ones(sheet.shape[:2], np.float32), across, down, cv2.INTER_LINEAR)
        behind = effects.background((drawn.width, drawn.height), drawn.background, pictures)
        page = cv2.blendLinear(page, behind, shown, 1 - shown)
    return effects.apply(np.asarray(page, np.uint8), drawn.effects)


def _bent(drawn: Parameters) -> bool:
    """Whether the sheet's corners are no longer the page's."""
    (left, top), _, (right, bottom), _ = drawn.corners
    square = drawn.corners[1] == (right, top) and drawn.corners[3] == (left, bottom)
    return not square or (left, top, right, bottom) != (0, 0, drawn.width, drawn.height)


def encoded(pixels: effects.Pixels, quality: int) -> bytes:
    """The image as JPEG."""
    out = BytesIO()
    Image.fromarray(pixels).save(out, "JPEG", quality=quality)
    return out.getvalue()
