"""How much of an image is text, and whether its caption only repeats that text.

The idea of T-MARS (Maini et al., arXiv 2307.03132): a pair whose similarity comes from text in the
picture teaches reading, not seeing. Here are the share of the area that text covers, the picture with its
text masked (to be scored again), and the share of the caption that the picture spells out. Who finds
the text is not this module's matter: it takes quads.
"""

import importlib.metadata
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image
from pydantic import Field

from filters.arrow import pc
from filters.filter import Columns, Filter, Row, Rule
from filters.picture import Picture
from filters.weights import file_digest
from schemas.errors import InputError, missing
from schemas.sample import Quad
from schemas.settings import Settings

if TYPE_CHECKING:
    from synth.readers import Found, TextReader

_LONGEST: Final = 1600
"""Pixels of the longer side that are read; more only costs time."""
_DECIMALS: Final = 4
_RING: Final = 0.35
_WORD: Final = re.compile(r"[\u2e80-\u9fff\uf900-\ufaff]|[^\W_\u2e80-\u9fff\uf900-\ufaff]+")


class TextSettings(Settings):
    """Text in images, found by an OCR: about a second of CPU an image."""

    reader: Literal["rapidocr", "paddleocr"] = Field(
        "rapidocr", description="PP-OCR in ONNX, with its models in the wheel; or PaddleOCR itself"
    )
    models: str | None = Field(
        None,
        min_length=1,
        description="paddleocr: a folder with det/ and rec/, as it exports models; default: it downloads its own",
    )
    min_score: float = Field(0.5, ge=0, le=1, description="lines that the OCR trusts less do not count")


class TextArea:
    """Reads images with `reader`, by default the one that the settings name, loaded with the first image."""

    def __init__(self, settings: TextSettings, reader: "TextReader | None" = None) -> None:
        self._settings = settings
        if reader is not None:
            self._reader = reader

    @cached_property
    def _reader(self) -> "TextReader":
        from synth.readers import open_reader

        return open_reader(self._settings.reader, models_of(self._settings.models))

    def measure(self, picture: Picture) -> dict[str, Any]:
        """`text_area`, the share of the area that text covers, 0 to 1, and the texts."""
        pixels, found = self._read(picture)
        share = text_share([line.quad for line in found], pixels.shape[1], pixels.shape[0])
        return {"text_area": round(share, _DECIMALS), "texts": [line.text for line in found]}

    def hidden(self, picture: Picture) -> npt.NDArray[np.uint8]:
        """(height, width, 3): the image, made smaller where it is large, with its text painted over."""
        pixels, found = self._read(picture)
        return masked(pixels, [line.quad for line in found])

    def _read(self, picture: Picture) -> tuple[npt.NDArray[np.uint8], "list[Found]"]:
        small = Image.fromarray(picture.rgb)
        small.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BICUBIC)
        pixels = np.asarray(small)
        return pixels, [line for line in self._reader.read(pixels) if line.score >= self._settings.min_score]


LIBRARIES: Final = {"rapidocr": ("onnxruntime", "rapidocr"), "paddleocr": ("paddleocr", "paddlepaddle")}
"""What each reader reads with, by distribution."""


def models_of(folder: str | None) -> Path | None:
    """The folder of models as a path of this machine; None for a reader's own."""
    return Path(folder.removeprefix("file://")) if folder else None


def reader_versions(reader: str, models: str | None) -> dict[str, str]:
    """The versions of a reader's libraries, and the digests of its models' files.

    Raises InputError where the reader or its models are not there, so that nothing begins without them.
    """
    try:
        found = {name: importlib.metadata.version(name) for name in LIBRARIES[reader]}
    except importlib.metadata.PackageNotFoundError as error:
        ours = reader == "rapidocr"
        raise InputError(missing(f"reading text with {reader}", *LIBRARIES[reader], ours=ours)) from error
    folder = models_of(models)
    if folder is None:
        return found
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    if not files:
        raise InputError(f"{folder} holds no models of {reader}: name the folder with det/ and rec/")
    return found | {f"{reader} {file.relative_to(folder).as_posix()}": file_digest(file) for file in files}


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


def _repeats(batch: pa.RecordBatch) -> Columns:
    captions, texts = batch["caption"].to_pylist(), batch["texts"].to_pylist()
    shares = [
        None if one is None else repeats(caption or "", one)
        for caption, one in zip(captions, texts, strict=True)
    ]
    return {"text_repeats": pa.array(shares, pa.float64())}


class TextAreaRule(Settings):
    """Drops text-heavy images whose caption repeats their text; needs signals.text."""

    max: float = Field(0.2, ge=0, le=1, description="so much of the image's area may be text")
    repeats: float = Field(
        0.5, ge=0, le=1, description="share of the caption's words that the text must hold for a drop; 0: any"
    )


def _fails(columns: Columns, settings: TextAreaRule, languages: Sequence[str]) -> Any:
    heavy = pc.greater(columns["text_area"], settings.max)
    return pc.and_(heavy, pc.greater_equal(columns["text_repeats"], settings.repeats))


def _say(row: Row, settings: TextAreaRule) -> str:
    share = f"text_area {row['text_area']:.2f} > {settings.max:g}"
    return f"{share}, with {row['text_repeats']:.2f} of the caption"


FILTER: Final = Filter(
    name="text",
    version=1,
    settings=TextSettings,
    columns={"text_area": pa.float64(), "text_repeats": pa.float64()},
    image=lambda settings: TextArea(settings).measure,
    batch=lambda _: _repeats,
    passes={"texts": pa.list_(pa.string())},
    libraries=("numpy", "pillow"),
    weights=lambda settings: reader_versions(settings.reader, settings.models),
    places=("models",),
    optional=True,
    pairs_only=True,
    seconds=60,
    rules=(Rule("text_area", TextAreaRule, ("text_area", "text_repeats"), _fails, _say, on=False),),
)
