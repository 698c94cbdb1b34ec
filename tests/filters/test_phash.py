import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from PIL import Image

from filters.phash import SIDE, phash
from tests.filters.pictures import images, noise


def _oracle(image: Image.Image) -> int:
    return int(str(imagehash.phash(image)), 16)


def _small(image: Image.Image) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    return np.asarray(image.convert("L").resize((SIDE, SIDE), Image.Resampling.LANCZOS))


@settings(max_examples=300, deadline=None)
@given(images())
def test_hash_is_imagehashs_to_the_bit(image: Image.Image) -> None:
    """Every mode of picture, one colour too, has the hash that imagehash gives it."""
    assert phash(_small(image)[None]).tolist() == [_oracle(image)]


@pytest.mark.parametrize("count", [1, 2, 3, 7, 64, 257])
def test_a_batch_has_the_hashes_of_its_pictures(count: int) -> None:
    """Neither the size of a batch nor a picture's place in it changes a bit."""
    pictures = [noise(40 + seed % 9, 50, seed) for seed in range(count)]
    small = np.stack([_small(picture) for picture in pictures])
    assert phash(small).tolist() == [_oracle(picture) for picture in pictures]


@pytest.mark.parametrize("level", range(0, 256, 5))
def test_blank_pictures_hash_as_imagehash_does(level: int) -> None:
    """For one colour the last bits of the DCT decide; they are the same."""
    image = Image.new("L", (50, 50), level)
    assert phash(_small(image)[None])[0] == _oracle(image)


def test_an_empty_batch_has_no_hashes() -> None:
    """No pictures, no hashes, of the right type."""
    result = phash(np.empty((0, SIDE, SIDE), np.uint8))
    assert result.shape == (0,)
    assert result.dtype == np.uint64
