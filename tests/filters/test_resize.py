"""Pictures made smaller."""

import hashlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from filters.pixels import DECODERS
from filters.resize import Resized, fitted, resized
from pipelines.recipe.model import Resize


def encoded(form: str, mode: str = "RGB", size: tuple[int, int] = (120, 80), **options: object) -> bytes:
    """A smooth picture, so that a resized one can be compared."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    rgb = np.stack([x, y, 255 - x], axis=2).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(rgb).convert(mode).save(out, form, **options)
    return out.getvalue()


def smaller(data: bytes, form: str, side: int, quality: int = 90) -> Resized:
    """The bytes of an image made smaller."""
    return resized(DECODERS[form](io.BytesIO(data)), form, Resize(max_side=side, quality=quality))


@settings(deadline=None)
@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 4000))
def test_the_shape_is_kept(width: int, height: int, side: int) -> None:
    """The longer side is the one asked for, the shorter within half a pixel of its share and never zero."""
    new = fitted(width, height, side)
    assert max(new) == side
    assert min(new) >= 1
    share = min(width, height) * side / max(width, height)
    assert min(new) == 1 or abs(min(new) - share) <= 0.5


@pytest.mark.parametrize(
    ("form", "mode", "becomes"),
    [
        ("JPEG", "RGB", "JPEG"),
        ("JPEG", "L", "JPEG"),
        ("JPEG", "CMYK", "JPEG"),
        ("PNG", "RGB", "PNG"),
        ("PNG", "RGBA", "PNG"),
        ("PNG", "P", "PNG"),
        ("PNG", "1", "PNG"),
        ("PNG", "I;16", "PNG"),
        ("PNG", "LA", "PNG"),
        ("WEBP", "RGB", "WEBP"),
        ("WEBP", "RGBA", "WEBP"),
        ("GIF", "P", "PNG"),
        ("BMP", "RGB", "PNG"),
        ("TIFF", "RGB", "PNG"),
        ("TIFF", "CMYK", "PNG"),
        ("TIFF", "F", "PNG"),
        ("TIFF", "LAB", "PNG"),
    ],
)
def test_every_format_and_mode(form: str, mode: str, becomes: str) -> None:
    """Whatever format and mode could be measured can be made smaller, and is what its description says."""
    if mode == "I;16":
        out = io.BytesIO()
        Image.fromarray(np.arange(9600, dtype=np.uint16).reshape(80, 120)).save(out, "PNG")
        data = out.getvalue()
    else:
        data = encoded(form, mode)
    small = smaller(data, form, 60)
    with Image.open(io.BytesIO(small.data)) as image:
        image.load()
        assert (
            (image.format, image.size) == (small.format, (small.width, small.height)) == (becomes, (60, 40))
        )
    assert small.sha256 == hashlib.sha256(small.data).hexdigest()


def test_it_looks_the_same() -> None:
    """A smaller picture shows what the larger did, also where the JPEG is decoded at a lower resolution."""
    data = encoded("JPEG", size=(1600, 1200), quality=95)
    small = smaller(data, "JPEG", 100, quality=95)
    got = np.asarray(Image.open(io.BytesIO(small.data)).convert("RGB"), np.int16)
    want = np.asarray(Image.open(io.BytesIO(data)).resize((100, 75), Image.Resampling.LANCZOS), np.int16)
    assert np.abs(got - want).mean() < 3


def test_transparency_stays() -> None:
    """What could be seen through can be seen through."""
    image = Image.new("RGBA", (100, 100), (255, 0, 0, 0))
    out = io.BytesIO()
    image.save(out, "PNG")
    small = smaller(out.getvalue(), "PNG", 50)
    assert Image.open(io.BytesIO(small.data)).getpixel((10, 10))[3] == 0  # type: ignore[index]


def test_nothing_is_carried_over() -> None:
    """A smaller picture has no EXIF and no comment of the larger; the same bytes give the same bytes."""
    exif = Image.Exif()
    exif[0x010E] = "a secret description"
    data = encoded("JPEG", exif=exif, comment=b"a secret comment")
    small = smaller(data, "JPEG", 50)
    assert b"secret" not in small.data
    assert smaller(data, "JPEG", 50) == small
