import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageDraw

from filters.contrast import contrast, deviation
from filters.phash import thumbnail
from filters.pixels import grey_pixels
from tests.filters.pictures import encoded

SIZES = [(200, 200), (640, 480), (1600, 1200)]


def _contrast(image: Image.Image) -> tuple[int, float]:
    grey = grey_pixels(image)
    return contrast(image, grey, thumbnail(grey))


def _is_blank(image: Image.Image) -> bool:
    grey_range, grey_std = _contrast(image)
    return grey_std < 1 and grey_range < 64


def _jpeg(image: Image.Image, quality: int = 75) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=quality)))


@given(arrays(np.uint8, (32, 32)))
def test_deviation_is_numpys(small: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> None:
    """The standard deviation of a thumbnail, by exact sums."""
    assert deviation(small) == pytest.approx(small.std(), abs=1e-9)


@given(st.integers(0, 255), st.sampled_from(["L", "RGB", "P", "I;16", "F"]))
def test_one_colour_has_no_contrast(level: int, mode: str) -> None:
    """Whatever the mode and the colour, one colour has range 0 and deviation 0."""
    assert _contrast(Image.new(mode, (70, 90), level)) == (0, 0.0)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("sigma", [1, 2, 4, 8])
def test_noise_over_one_colour_is_blank(size: tuple[int, int], sigma: int) -> None:
    """Noise of a sensor or of JPEG makes no picture."""
    rng = np.random.default_rng(sigma)
    pixels = np.clip(rng.normal((128, 90, 40), sigma, (*size[::-1], 3)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    assert _is_blank(image)
    assert _is_blank(_jpeg(image))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("ink", ["black", (190, 190, 190)])
def test_one_thin_line_on_a_white_page_is_a_picture(
    size: tuple[int, int], ink: str | tuple[int, ...]
) -> None:
    """The sparsest drawing is not blank, before and after JPEG."""
    image = Image.new("RGB", size, "white")
    width, height = size
    ImageDraw.Draw(image).line((width * 0.3, height * 0.3, width * 0.7, height * 0.6), fill=ink, width=1)
    assert not _is_blank(image)
    assert not _is_blank(_jpeg(image))


def test_a_soft_gradient_is_a_picture() -> None:
    """A slow change of light is no noise."""
    line = np.linspace(100, 140, 500).astype(np.uint8)
    assert not _is_blank(Image.fromarray(np.broadcast_to(line, (300, 500)).copy()))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_shape_in_alpha_alone_is_a_picture(mode: str) -> None:
    """A black icon on nothing has all its shape in alpha."""
    image = Image.new(mode, (100, 100))
    alpha = Image.new("L", (100, 100))
    ImageDraw.Draw(alpha).ellipse((20, 20, 80, 80), fill=255)
    image.putalpha(alpha)
    assert _contrast(image)[0] == 255
    assert not _is_blank(image)


def test_a_palette_may_hold_the_shape_too() -> None:
    """Transparent entries of a palette count as alpha does."""
    icon = Image.new("P", (100, 100), 0)
    icon.putpalette([0, 0, 0] * 256)
    icon.paste(1, (20, 20, 80, 80))
    icon.info["transparency"] = 0
    assert not _is_blank(icon)


def test_what_is_wholly_transparent_is_blank() -> None:
    """Colours under an alpha of 0 are seen by nobody."""
    image = Image.effect_noise((100, 100), 100).convert("RGBA")
    image.putalpha(0)
    assert _contrast(image) == (0, 0.0)


def test_dark_sixteen_bits_keep_their_contrast() -> None:
    """Pillow's mode L would make one white of every 16-bit level above 255."""
    pixels = np.full((100, 100), 20_000, np.uint16)
    pixels[30:60] = 50_000
    assert _contrast(Image.fromarray(pixels))[0] == (50_000 >> 8) - (20_000 >> 8)


def test_floats_are_stretched_and_not_numbers_are_dark() -> None:
    """A TIFF of floats is scaled by its own extent; NaN and infinity do no harm."""
    pixels = np.zeros((100, 100), np.float32)
    pixels[30:60] = 0.25
    pixels[0, :2] = np.nan, np.inf
    assert _contrast(Image.fromarray(pixels))[0] == 255
