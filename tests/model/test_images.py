"""Bytes to squares."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.images import ImageError, square


def _bytes(image: Image.Image, form: str = "PNG", **given: object) -> bytes:
    out = io.BytesIO()
    image.save(out, form, **given)
    return out.getvalue()


def test_square() -> None:
    """An image of any shape becomes a square, its aspect ignored, channels first."""
    image = Image.new("RGB", (60, 20), "red")
    image.paste("blue", (30, 0, 60, 20))
    found = square(_bytes(image), 16)
    assert found.shape == (3, 16, 16)
    assert found.dtype == np.uint8
    assert found[:, 8, 2].tolist() == [255, 0, 0]
    assert found[:, 8, 13].tolist() == [0, 0, 255]
    expected = np.asarray(image.resize((16, 16), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.abs(found.astype(int) - expected.astype(int)).max() <= 1


def test_large_jpeg() -> None:
    """A large JPEG, decoded smaller, is what decoding it whole gives but for rounding."""
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 255, (12, 16, 3), dtype=np.uint8))
    data = _bytes(small.resize((800, 600), Image.Resampling.BICUBIC), "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as whole:
        expected = np.asarray(whole.convert("RGB").resize((64, 64), Image.Resampling.BICUBIC)).transpose(
            2, 0, 1
        )
    apart = np.abs(square(data, 64).astype(int) - expected.astype(int))
    assert apart.mean() < 2


def test_transparent() -> None:
    """Transparency lies on white."""
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    assert square(_bytes(image), 8).min() == 255


@pytest.mark.parametrize("mode", ["L", "P", "1", "CMYK", "I;16", "LA"])
def test_modes(mode: str) -> None:
    """Every mode becomes RGB."""
    form = "JPEG" if mode == "CMYK" else "PNG"
    assert square(_bytes(Image.new("L", (9, 5), 200).convert(mode), form), 8).shape == (3, 8, 8)


def test_turn_is_ignored() -> None:
    """An image is taken as stored, whatever its EXIF says, as boxes are."""
    image = Image.new("RGB", (8, 8), "red")
    image.paste("blue", (0, 4, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 3
    assert np.array_equal(square(_bytes(image, exif=exif), 8), square(_bytes(image), 8))


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n"])
def test_no_picture(data: bytes) -> None:
    """Bytes that are no image raise one kind of error."""
    with pytest.raises(ImageError):
        square(data, 8)


def test_hostile_pictures(test_data: Path) -> None:
    """Hostile images give a square or that one error, never another."""
    folder = test_data / "hostile"
    records = [json.loads(line) for line in (folder / "index.jsonl").read_text().splitlines()]
    pictures = [folder / one["file"] for one in records if one["kind"] == "image"]
    assert pictures
    for path in pictures:
        try:
            assert square(path.read_bytes(), 32).shape == (3, 32, 32)
        except ImageError:
            continue
