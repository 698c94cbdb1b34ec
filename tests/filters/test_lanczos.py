import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from filters.phash import SIDE, thumbnail
from tests.filters.pictures import images


def _pillow(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@settings(max_examples=300, deadline=None)
@given(images(modes=("L",), most=400))
def test_thumbnail_is_pillows_to_the_bit(image: Image.Image) -> None:
    """Whatever the picture and its size, the thumbnail equals Pillow's."""
    assert np.array_equal(thumbnail(np.asarray(image)), _pillow(image))


@pytest.mark.parametrize(
    "size",
    [
        (64, 64),
        (65, 4000),
        (4000, 65),
        (1023, 1025),
        (63, 900),
        (900, 32),
        (2048, 97),
        (8192, 64),
        (64, 8193),
    ],
)
def test_sizes_at_the_edges(size: tuple[int, int]) -> None:
    """Very long pictures, powers of two and the smallest sizes are no exception."""
    pixels = np.random.default_rng(3).integers(0, 2, size[::-1]).astype(np.uint8) * 255
    image = Image.fromarray(pixels)
    assert np.array_equal(thumbnail(pixels), _pillow(image))


@settings(max_examples=20, deadline=None)
@given(st.integers(64, 3000), st.integers(0, 255))
def test_one_colour_stays_that_colour(size: int, level: int) -> None:
    """The weights of every size add up to one."""
    image = Image.new("L", (size, 64), level)
    assert (thumbnail(np.asarray(image)) == level).all()
