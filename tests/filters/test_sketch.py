"""Sketches tell apart what perceptual hashes confuse, and join what is one image."""

import json
from collections.abc import Callable
from io import BytesIO
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter

from filters.hamming import distances
from filters.phash import SIDE, phash, thumbnail
from filters.pixels import grey_pixels
from filters.sketch import (
    BYTES,
    TURNS,
    U64,
    WEAK,
    alike,
    chroma,
    columns,
    on_white,
    quality,
    sketches,
    turned,
    turned_hashes,
    weak,
)
from tests.filters.pictures import images, noise

DISTANCE = 4
COLOURS = {
    "k": (0, 0, 0),
    "w": (255, 255, 255),
    "r": (206, 17, 38),
    "b": (0, 35, 149),
    "g": (0, 146, 70),
    "y": (252, 209, 22),
    "o": (255, 136, 62),
}
# France, Italy, Ireland, Belgium, Romania, Guinea, Germany, Netherlands, Russia, Hungary, Bulgaria, Estonia, Yemen
FLAGS = (
    "|bwr",
    "|gwr",
    "|gwo",
    "|kyr",
    "|byr",
    "|ryg",
    "-kry",
    "-rwb",
    "-wbr",
    "-rwg",
    "-wgr",
    "-bkw",
    "-rwk",
)


def flag(code: str) -> Image.Image:
    upright = Image.new("RGB", (600, 400))
    draw = ImageDraw.Draw(upright)
    for place, colour in enumerate(code[1:]):
        box = (
            (place * 200, 0, place * 200 + 199, 399)
            if code[0] == "|"
            else (0, place * 133, 599, place * 133 + 134)
        )
        draw.rectangle(box, COLOURS[colour])
    return upright


def product(shape: str, colour: str) -> Image.Image:
    image = Image.new("RGB", (500, 500), "white")
    draw = ImageDraw.Draw(image)
    draw_of = {"ball": draw.ellipse, "box": draw.rectangle}[shape]
    draw_of((90, 90, 410, 410), COLOURS[colour])
    return image


def page(seed: int) -> Image.Image:
    """A page that is full of lines of words."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (620, 877), 255)
    draw = ImageDraw.Draw(image)
    for top in range(60, 800, 19):
        left = 60
        while left < 555:
            width = int(rng.integers(12, 70))
            draw.rectangle((left, top, min(left + width, 560), top + 8), 70)
            left += width + 6
    return image


def again(image: Image.Image, quality: int, share: float) -> Image.Image:
    """The image smaller, and from a JPEG of that quality."""
    out = BytesIO()
    size = (int(image.width * share), int(image.height * share))
    image.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=quality)
    return Image.open(out)


def measured(image: Image.Image) -> tuple[U64, U64]:
    """The image's hash and sketch."""
    shown = on_white(image) or image
    small = thumbnail(grey_pixels(shown))[None]
    sketch, _ = sketches(small, np.frombuffer(chroma(shown), np.uint8)[None])
    return phash(thumbnail(grey_pixels(image))[None]), sketch.view("<u8").astype(np.uint64)


def are_alike(left: U64, right: U64) -> np.ndarray:
    return alike(left, right, weak(left) | weak(right))


def merged(one: Image.Image, other: Image.Image) -> bool:
    (hash_, sketch), (hash2, sketch2) = measured(one), measured(other)
    return bool((distances(hash_, hash2) <= DISTANCE)[0] and are_alike(sketch, sketch2)[0])


def photographs(test_data: Path, first: int, step: int) -> list[Image.Image]:
    """Coloured photographs of `pairs`; those that differ in `first` are different ones."""
    lines = (test_data / "pairs" / "pairs.jsonl").read_text().splitlines()
    files = sorted({json.loads(line)["file"] for line in lines})
    found = []
    for file in files[first::step]:
        image = Image.open(test_data / "pairs" / file)
        image.draft("RGB", (600, 600))
        image = image.convert("RGB")
        if np.frombuffer(chroma(image), np.int8).astype(float).std() > 2:
            found.append(image)
    return found


def hue(image: Image.Image, degrees: int) -> Image.Image:
    h, s, v = image.convert("HSV").split()
    return Image.merge("HSV", (h.point(lambda x: (x + degrees * 256 // 360) % 256), s, v)).convert("RGB")


def test_of_thirteen_flags_all_stay_apart() -> None:
    """Hashes alone merge many of them: a flag has few frequencies."""
    flags = [flag(code) for code in FLAGS]
    near = [
        bool((distances(measured(one)[0], measured(other)[0]) <= DISTANCE)[0])
        for one, other in combinations(flags, 2)
    ]
    assert sum(near) >= 10
    assert not any(merged(one, other) for one, other in combinations(flags, 2))


def test_a_red_ball_is_no_black_box() -> None:
    """Nor a ball of another colour, nor a box of the same."""
    goods = [product(shape, colour) for shape in ("ball", "box") for colour in "rkbgy"]
    assert not any(merged(one, other) for one, other in combinations(goods, 2))


def test_full_pages_of_text_stay_apart() -> None:
    """Equal margins and equal lines: only the words differ, and their hashes may be equal."""
    found = [measured(page(seed))[1] for seed in range(12)]
    assert not any(are_alike(one, other)[0] for one, other in combinations(found, 2))


@pytest.mark.parametrize("make", [lambda: flag("|bwr"), lambda: product("ball", "r"), lambda: page(1)])
@pytest.mark.parametrize(("quality", "share"), [(75, 1.0), (60, 0.8), (30, 1.0), (85, 0.5)])
def test_a_weak_image_is_alike_when_encoded_again(
    make: Callable[[], Image.Image], quality: int, share: float
) -> None:
    """A second opinion does not tear what re-encoding and resizing leave."""
    image = make()
    assert are_alike(measured(image)[1], measured(again(image, quality, share))[1])[0]


def test_photographs_in_other_colours_are_others(test_data: Path) -> None:
    """Of 60 photographs at most 5 merge with themselves in hues turned by 60, 90, 120 or 180 degrees."""
    found = photographs(test_data, 3, 8)[:60]
    assert len(found) == 60
    for degrees in (60, 90, 120, 180):
        assert sum(merged(image, hue(image, degrees)) for image in found) <= 5


def test_photographs_stay_alike_when_edited(test_data: Path) -> None:
    """Brightness, contrast, saturation, grey, blur, another encoder: never the sketch that says no."""
    edits: list[Callable[[Image.Image], Image.Image]] = [
        lambda image: ImageEnhance.Contrast(image).enhance(1.3),
        lambda image: ImageEnhance.Color(image).enhance(0.5),
        lambda image: ImageEnhance.Color(image).enhance(1.5),
        lambda image: image.convert("L"),
        lambda image: image.filter(ImageFilter.GaussianBlur(2)),
        lambda image: again(image, 15, 1.0),
        lambda image: again(image, 80, 0.4),
    ]
    for image in photographs(test_data, 5, 40):
        sketch = measured(image)[1]
        if quality(sketch[:, :16].view("<i2").reshape(1, -1))[0] >= 2 * WEAK:
            assert all(are_alike(sketch, measured(edit(image))[1])[0] for edit in edits)


def test_drawings_on_nothing_are_told_apart_by_their_shape() -> None:
    """Colours below the transparency are all black there, so their hashes are equal."""
    drawings = []
    for box in ((20, 20, 80, 180), (100, 90, 190, 190)):
        image = Image.new("RGBA", (200, 200))
        ImageDraw.Draw(image).ellipse(box, (0, 0, 0, 255))
        drawings.append(image)
    one, other = (measured(image) for image in drawings)
    assert one[0] == other[0]
    assert not merged(*drawings)
    assert all(merged(image, image.resize((150, 150))) for image in drawings)
    assert on_white(drawings[0].convert("RGB")) is None


@settings(max_examples=60, deadline=None)
@given(images(), st.integers(0, TURNS - 1))
def test_a_turned_sketch_is_the_sketch_of_the_turned_image(image: Image.Image, turn: int) -> None:
    """From the frequencies alone, without the image."""
    small = thumbnail(grey_pixels(image))
    colours = np.frombuffer(chroma(image), np.int8).reshape(2, 4, 4)

    def as_turned(grid: np.ndarray) -> np.ndarray:
        grid = grid[..., ::-1] if turn & 2 else grid
        grid = grid[..., ::-1, :] if turn & 4 else grid
        return np.ascontiguousarray(grid.swapaxes(-1, -2) if turn & 1 else grid)

    def sketch(grey: np.ndarray, cells: np.ndarray) -> np.ndarray:
        return sketches(grey[None], cells.view(np.uint8).reshape(1, -1))[0]

    found = turned(sketch(small, colours).view("<u8").astype(np.uint64), turn)
    wanted = sketch(as_turned(small), as_turned(colours))
    apart = found.astype("<u8").view(np.uint8).astype(int) - wanted.astype(int)
    # rounding of halves may go either way
    assert np.abs(apart).max() in (0, 1, 255)
    assert np.count_nonzero(apart) <= 8


def test_turned_hashes_are_those_of_turned_images() -> None:
    """Up to the bits that rounding decides."""
    for seed in range(20):
        image = noise(120, 90, seed)
        found = turned_hashes(measured(image)[1])[0]
        grey = thumbnail(grey_pixels(image))
        for turn in range(TURNS):
            grid = grey[:, ::-1] if turn & 2 else grey
            grid = grid[::-1] if turn & 4 else grid
            grid = np.ascontiguousarray(grid.T if turn & 1 else grid)
            assert distances(found[turn : turn + 1], phash(grid[None]))[0] <= 2


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=BYTES, max_size=BYTES), st.binary(min_size=BYTES, max_size=BYTES))
def test_likeness_is_mutual(left: bytes, right: bytes) -> None:
    """Every sketch is like itself, and it does not matter which of two is asked about."""
    one, other = (np.frombuffer(data, "<u8").astype(np.uint64)[None] for data in (left, right))
    assert are_alike(one, one).all()
    assert are_alike(one, other) == are_alike(other, one)


def test_rows_without_an_image_have_no_sketch() -> None:
    """Nulls stay where they are, and shift no other row."""
    some = [noise(50, 50, seed) for seed in range(2)]
    grey = [thumbnail(grey_pixels(image)).tobytes() for image in some]
    colours = [chroma(image) for image in some]
    found = columns([None, grey[0], None, grey[1]], [None, colours[0], None, colours[1]])
    whole = columns(list(grey), list(colours))
    for name, column in found.items():
        assert column.is_null().to_pylist() == [True, False, True, False]
        assert column.drop_null().to_pylist() == whole[name].to_pylist()


def test_a_batch_of_no_images_has_no_sketches() -> None:
    """Of the right types all the same."""
    found = columns([], [])
    assert found["sketch"].type.byte_width == BYTES
    none = np.zeros((0, BYTES // 8), np.uint64)
    assert turned(none, 3).shape == none.shape
    assert turned_hashes(none).shape == (0, TURNS)
    assert sketches(np.zeros((0, SIDE, SIDE), np.uint8), np.zeros((0, 32), np.uint8))[0].shape == (0, BYTES)
