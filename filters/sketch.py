"""Sketches of images: the second opinion on two images whose perceptual hashes are near.

A pHash knows neither colours nor what is finer than an eighth of the image, and where an image has little of either
(a flag, a product on white, a page of text) most of its bits are decided by rounding. A sketch holds what the hash
leaves out, in 224 bytes:

    low     8 x 8 int16   the frequencies that the hash is made of, in 1/64 of a grey level
    fine    8 x 8 int8    the next octave in both directions, in 1/16 of a grey level
    colour  2 x 4 x 4 int8  Cb and Cr of a 4 x 4 thumbnail

`phash_quality` is the median distance of the low frequencies from their median, in grey levels: how much a bit of the
hash has to say. Where it is weak in either image, the two are alike if the sketches agree in all parts. Where it is
not, the hash is right about shapes, and only colours that are turned against each other tell images apart: changes of
brightness, contrast and saturation, and a version in grey, stay alike. All limits are measured (docs/duplicates.md).
"""

from collections.abc import Callable
from io import BytesIO
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from filters.arrow import pc
from filters.contrast import alpha_of
from filters.filter import Columns, Filter
from filters.phash import LOW, SIDE, bits_of, frequencies, thumbnail
from filters.picture import Picture
from filters.pixels import DEEP, grey_pixels

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
F32 = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

CELLS: Final = 4
LOW_BYTES: Final = LOW * LOW * 2
FINE_BYTES: Final = LOW * LOW
BYTES: Final = LOW_BYTES + FINE_BYTES + 2 * CELLS * CELLS
WORDS: Final = BYTES // 8
TURNS: Final = 8
"""The ways to turn and mirror an image; 0 leaves it as it is."""

_LEVEL: Final = 2 * SIDE * SIDE
"""An unnormalised frequency over this is in grey levels, but for the factors of _WEIGHTS."""
_LOW_UNIT: Final = 64
_FINE_UNIT: Final = 16
_CHUNK: Final = 16_384
_FLAT: Final = 128
_CB: Final = np.array([-0.168736, -0.331264, 0.5])
_CR: Final = np.array([0.5, -0.418688, -0.081312])
_HALF: Final = np.where(np.arange(LOW) == 0, 0.5**0.5, 1.0)
_WEIGHTS: Final = (np.outer(_HALF, _HALF).reshape(-1) / _LOW_UNIT).astype(np.float32)

WEAK: Final = 0.5
"""Quality below this is weak: all but one in a hundred photographs have more, flags, products and pages less."""
MOST_SHAPE: Final = 6.0
MOST_BRIGHTNESS: Final = 8.0
MOST_COLOUR: Final = 6.0
"""Between weak images, in grey levels: root of the summed squares, mean, root mean square of the cells."""
MOST_FINE: Final = 0.6
LEAST_FINE: Final = 0.5
"""Between weak images: share of the fine frequencies that differs; fewer grey levels of them count as this many."""
LEAST_COLOUR: Final = 1.0
COLOUR_APART: Final = 2.0
COLOUR_COSINE: Final = 0.8
"""Between strong images: both have colours, these differ by more than that, and point apart by more than 37 degrees."""


def chroma(image: Image.Image) -> bytes:
    """Returns Cb and Cr of the image's 4 x 4 thumbnail as int8; zeros for images without colours."""
    if image.mode in (*DEEP, "1", "L", "LA"):
        return bytes(2 * CELLS * CELLS)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    small = np.asarray(rgb.resize((CELLS, CELLS), Image.Resampling.BOX, reducing_gap=2.0), np.float64)
    return np.stack([np.rint(small @ _CB), np.rint(small @ _CR)]).clip(-127, 127).astype(np.int8).tobytes()


def sketches(thumbnails: U8, chromas: U8) -> tuple[U8, F32]:
    """Returns the (N, 224) sketches and (N,) qualities of (N, 32, 32) grey thumbnails and their (N, 32) colours."""
    found = frequencies(thumbnails) / _LEVEL
    low = np.rint(found[:, :LOW, :LOW].reshape(-1, LOW * LOW) * _LOW_UNIT).astype("<i2")
    fine = found[:, LOW : 2 * LOW, LOW : 2 * LOW].reshape(-1, LOW * LOW)
    fine = np.rint(fine * _FINE_UNIT).clip(-127, 127).astype(np.int8)
    return np.hstack([low.view(np.uint8), fine.view(np.uint8), chromas]), quality(low)


def quality(low: npt.NDArray[np.int16]) -> F32:
    """Returns how far half of the low frequencies are from their median at least, in grey levels."""
    levels = low.astype(np.float32) * _WEIGHTS
    away = np.abs(levels - np.median(levels, axis=1, keepdims=True))
    found: F32 = np.median(away, axis=1).astype(np.float32)
    return found


def weak(words: U64) -> Bools:
    """Returns which sketches are of images whose hashes are weak; (N, 28) words."""
    found: Bools = quality(_parts(words)[0]) < WEAK
    return found


def alike(left: U64, right: U64, either_weak: Bools) -> Bools:
    """Returns which sketches show one image, pair by pair; (N, 28) words each. Given that their hashes are near.

    `either_weak` says of which pairs one hash is weak or both are.
    """
    found: Bools = apart(left, right, either_weak) <= 1
    return found


def apart(left: U64, right: U64, either_weak: Bools) -> F32:
    """Returns how far sketches are apart, pair by pair, as a share of what images that are alike may be: at most 1."""
    parts = []
    for start in range(0, len(left), _CHUNK):
        mine = slice(start, start + _CHUNK)
        parts.append(_apart(left[mine], right[mine], either_weak[mine]))
    return np.concatenate([np.zeros(0, np.float32), *parts])


def _apart(left: U64, right: U64, weak: Bools) -> F32:
    (low, fine, colour), (low2, fine2, colour2) = _parts(left), _parts(right)
    found = np.empty(len(left), np.float32)
    found[weak] = np.maximum.reduce(
        [
            *_shapes_apart(low[weak], low2[weak]),
            _finely_apart(fine[weak], fine2[weak]),
            _size(_minus(colour[weak], colour2[weak])) / MOST_COLOUR,
        ]
    )
    found[~weak] = _colours_apart(colour[~weak].astype(np.float32), colour2[~weak].astype(np.float32))
    return found


def _shapes_apart(low: npt.NDArray[np.int16], other: npt.NDArray[np.int16]) -> tuple[F32, F32]:
    """Returns how far weak images are apart in their shapes, and in brightness."""
    away = _minus(low, other) * _WEIGHTS
    return _norm(away[:, 1:]) / MOST_SHAPE, np.abs(away[:, 0]) / MOST_BRIGHTNESS


def _finely_apart(fine: npt.NDArray[np.int8], other: npt.NDArray[np.int8]) -> F32:
    most = np.maximum(_norm(fine.astype(np.float32)), _norm(other.astype(np.float32)))
    limit = MOST_FINE * np.maximum(most, LEAST_FINE * _FINE_UNIT)
    found: F32 = (_norm(_minus(fine, other)) / limit).astype(np.float32)
    return found


def _colours_apart(colour: F32, other: F32) -> F32:
    """Returns how far the colours of two images point in different directions; 0 where one has none."""
    sizes, sizes2 = _size(colour), _size(other)
    tell = (np.minimum(sizes, sizes2) >= LEAST_COLOUR) & (_size(colour - other) > COLOUR_APART)
    cosine = (colour * other).mean(axis=1) / np.maximum(sizes * sizes2, LEAST_COLOUR)
    found: F32 = np.where(tell, (1 - cosine) / (1 - COLOUR_COSINE), 0).astype(np.float32)
    return found


def preview(sketch: bytes, side: int = 4 * SIDE) -> bytes:
    """Returns a PNG of what a sketch keeps of its image: its low frequencies, and its colours."""
    from scipy.fft import idctn  # as in filters/phash.py

    low, fine, colour = _parts(np.frombuffer(sketch, "<u8").astype(np.uint64)[None])
    levels = np.zeros((SIDE, SIDE))
    levels[:LOW, :LOW] = low[0].reshape(LOW, LOW) * (np.outer(_HALF, _HALF) * SIDE / _LOW_UNIT)
    levels[LOW : 2 * LOW, LOW : 2 * LOW] = fine[0].reshape(LOW, LOW) * (SIDE / _FINE_UNIT)
    grey = idctn(levels, norm="ortho").clip(0, 255).astype(np.uint8)
    planes = [
        grey,
        *(colour[0].reshape(2, CELLS, CELLS).astype(np.int16) + 128).clip(0, 255).astype(np.uint8),
    ]
    bands = [Image.fromarray(plane).resize((side, side), Image.Resampling.BICUBIC) for plane in planes]
    out = BytesIO()
    Image.merge("YCbCr", bands).convert("RGB").save(out, "PNG")
    return out.getvalue()


def _minus(one: npt.NDArray[Any], other: npt.NDArray[Any]) -> F32:
    return one.astype(np.float32) - other.astype(np.float32)


def _norm(values: F32) -> F32:
    found: F32 = np.sqrt((values * values).sum(axis=1))
    return found


def _size(values: F32) -> F32:
    """Returns the root mean square of each row."""
    found: F32 = np.sqrt((values * values).mean(axis=1))
    return found


def _parts(words: U64) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int8], npt.NDArray[np.int8]]:
    """Returns (N, 64) low and fine frequencies and (N, 32) colours of sketches."""
    data = np.ascontiguousarray(words.astype("<u8", copy=False)).view(np.uint8).reshape(-1, BYTES)
    low = np.ascontiguousarray(data[:, :LOW_BYTES]).view("<i2").astype(np.int16)
    fine = np.ascontiguousarray(data[:, LOW_BYTES : LOW_BYTES + FINE_BYTES]).view(np.int8)
    return low, fine, np.ascontiguousarray(data[:, LOW_BYTES + FINE_BYTES :]).view(np.int8)


def turned(words: U64, turn: int) -> U64:
    """Returns the sketches of the images turned and mirrored: 1 transposes, 2 mirrors left and right, 4 top and bottom.

    They are those that the turned images would have, up to rounding: a mirrored image has the odd frequencies of that
    direction with the other sign.
    """
    if not len(words):
        return words
    low, fine, colour = _parts(words)
    shapes = (low.reshape(-1, LOW, LOW), fine.reshape(-1, LOW, LOW))
    grid = colour.reshape(-1, 2, CELLS, CELLS)
    signs = np.where(np.arange(LOW) % 2, -1, 1).astype(np.int8)
    if turn & 2:
        shapes, grid = (shapes[0] * signs, shapes[1] * signs), grid[..., ::-1]
    if turn & 4:
        shapes, grid = (shapes[0] * signs[:, None], shapes[1] * signs[:, None]), grid[..., ::-1, :]
    if turn & 1:
        shapes, grid = (shapes[0].swapaxes(1, 2), shapes[1].swapaxes(1, 2)), grid.swapaxes(2, 3)
    parts = (shapes[0].astype("<i2"), shapes[1].astype(np.int8), grid)
    data = np.hstack([np.ascontiguousarray(one).view(np.uint8).reshape(len(words), -1) for one in parts])
    return data.view("<u8").astype(np.uint64)


def turned_hashes(words: U64) -> U64:
    """Returns (N, 8): the perceptual hashes of the images in every turn, from the frequencies of their sketches."""
    found = [bits_of(_parts(turned(words, turn))[0]) for turn in range(TURNS)]
    return np.stack(found, axis=1) if len(words) else np.zeros((0, TURNS), np.uint64)


def measure(picture: Picture) -> dict[str, Any]:
    """Returns what `batch` makes the sketch from: the colours, and a thumbnail of an image with transparent parts."""
    with picture.decoding():
        flat = on_white(picture.image)
        if flat is None:
            return {"chroma": chroma(picture.image)}
        return {"chroma": chroma(flat), "flat": thumbnail(grey_pixels(flat)).tobytes()}


def on_white(image: Image.Image) -> Image.Image | None:
    """Returns an image with transparent parts as it looks on white, small; None for an image without.

    The hash takes the colours that lie below the transparency, so drawings that differ in their shape alone have one.
    """
    if alpha_of(image) is None:
        return None
    rgba = image.convert("RGBA").resize((_FLAT, _FLAT), Image.Resampling.BOX)
    return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")


def _open(_: None) -> Callable[[pa.RecordBatch], Columns]:
    def measured(batch: pa.RecordBatch) -> Columns:
        thumbnails = pc.coalesce(batch["flat"], batch["thumbnail"])
        return columns(thumbnails.to_pylist(), batch["chroma"].to_pylist())

    return measured


def columns(thumbnails: list[bytes | None], chromas: list[bytes | None]) -> Columns:
    """Returns the columns of thumbnails of 32 x 32 grey pixels and their colours, null where there is none."""
    rows = [row for row, one in enumerate(thumbnails) if one is not None]
    grey = np.frombuffer(b"".join(thumbnails[row] or b"" for row in rows), np.uint8)
    colours = np.frombuffer(b"".join(chromas[row] or b"" for row in rows), np.uint8)
    found, qualities = sketches(grey.reshape(-1, SIDE, SIDE), colours.reshape(-1, 2 * CELLS * CELLS))
    texts: list[bytes | None] = [None] * len(thumbnails)
    figures: list[float | None] = [None] * len(thumbnails)
    for row, sketch, figure in zip(rows, found, qualities.tolist(), strict=True):
        texts[row], figures[row] = sketch.tobytes(), figure
    return {"phash_quality": pa.array(figures, pa.float32()), "sketch": pa.array(texts, pa.binary(BYTES))}


FILTER: Final = Filter(
    name="sketch",
    version=1,
    columns={"phash_quality": pa.float32(), "sketch": pa.binary(BYTES)},
    image=lambda _: measure,
    batch=_open,
    passes={"chroma": pa.binary(), "flat": pa.binary()},
    libraries=("numpy", "pillow", "scipy"),
)
