import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps, JpegImagePlugin

from filters.orientation import orientation, turned
from filters.pixels import DECODERS
from tests.filters.pictures import encoded, exif_of, noise

TURNS = range(2, 9)
CARRIERS = [("JPEG", {}), ("PNG", {}), ("WEBP", {"lossless": True, "exact": True}), ("WEBP", {})]


def _opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.mark.parametrize("order", ["MM", "II"])
@pytest.mark.parametrize("value", range(1, 9))
@pytest.mark.parametrize(("name", "options"), CARRIERS)
def test_the_tag_is_read_from_every_carrier(
    name: str, options: dict[str, bool], value: int, order: str
) -> None:
    """JPEG, PNG and WEBP carry an orientation in either byte order."""
    data = encoded(noise(30, 20), name, exif=exif_of(value, order), **options)
    assert orientation(data, name) == value == _opened(data).getexif()[0x112]


def test_a_tiff_carries_the_tag_itself() -> None:
    """A TIFF's own directory has the tag; BigTIFF's too."""
    for big in (False, True):
        data = encoded(noise(30, 20), "TIFF", tiffinfo={0x112: 6}, big_tiff=big)
        assert orientation(data, "TIFF") == 6


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_nonsense_is_upright(value: int) -> None:
    """A value that EXIF does not define turns nothing."""
    assert orientation(encoded(noise(30, 20), "JPEG", exif=exif_of(value)), "JPEG") == 1


@pytest.mark.parametrize(("name", "options"), [*CARRIERS, ("GIF", {}), ("BMP", {}), ("TIFF", {})])
def test_no_tag_is_upright(name: str, options: dict[str, bool]) -> None:
    """A picture without EXIF is upright."""
    assert orientation(encoded(noise(30, 20), name, **options), name) == 1


@given(st.binary(max_size=300), st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]))
def test_any_bytes_have_an_orientation(body: bytes, name: str) -> None:
    """Broken files never raise: they are upright, or turned in one of the ways there are."""
    heads = {"JPEG": b"\xff\xd8\xff\xe1\0\x40Exif\0\0II*\0", "PNG": b"\x89PNG\r\n\x1a\n\0\0\0\x20eXIfMM\0*"}
    heads |= {"WEBP": b"RIFF\0\0\0\0WEBPVP8X\0\0\0\0EXIF\x40\0\0\0", "TIFF": b"II*\0"}
    assert orientation(heads[name] + body, name) in range(1, 9)


@given(st.data())
def test_a_cut_file_has_an_orientation(data: st.DataObject) -> None:
    """Wherever a file ends, its beginning can be asked."""
    whole = encoded(noise(30, 20), "JPEG", exif=exif_of(6))
    assert orientation(whole[: data.draw(st.integers(0, len(whole)))], "JPEG") in (1, 6)


@pytest.mark.parametrize("value", TURNS)
@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("PNG", "RGB", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "L", {}),
        ("PNG", "P", {}),
        ("PNG", "1", {}),
        ("WEBP", "RGB", {"lossless": True}),
        ("WEBP", "RGBA", {"lossless": True, "exact": True}),
    ],
)
def test_lossless_formats_turn_without_loss(
    name: str, mode: str, options: dict[str, bool], value: int
) -> None:
    """The turned picture has exactly the pixels that Pillow's exif_transpose gives, and no tag."""
    data = encoded(noise(31, 17, mode=mode), name, exif=exif_of(value), **options)
    image = _opened(data)
    result = _opened(turned(image, data, name, value))
    assert result.mode == image.mode
    expected = ImageOps.exif_transpose(image).convert("RGBA")
    assert np.array_equal(np.asarray(result.convert("RGBA")), np.asarray(expected))
    assert 0x112 not in result.getexif()


@pytest.mark.skipif("AVIF" not in DECODERS, reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("value", TURNS)
def test_an_avif_is_turned_by_its_own_properties(value: int) -> None:
    """The turn of `irot` and `imir` is read and baked in, nearly without loss; what is no AVIF is upright."""
    data = encoded(noise(64, 48), "AVIF", quality=100, exif=exif_of(value))
    assert orientation(data, "AVIF") == value
    image = _opened(data)
    after = turned(image, data, "AVIF", value)
    assert orientation(after, "AVIF") == 1
    expected = np.asarray(ImageOps.exif_transpose(image), np.int16)
    assert np.abs(np.asarray(_opened(after), np.int16) - expected).mean() < 6
    assert orientation(data[:40], "AVIF") == 1


def test_transparency_of_a_palette_is_kept() -> None:
    """A palette with a transparent colour comes back with it."""
    image = noise(31, 17, mode="P")
    data = encoded(image, "PNG", transparency=image.getpixel((0, 0)), exif=exif_of(2))
    result = _opened(turned(_opened(data), data, "PNG", 2))
    assert result.convert("RGBA").getchannel("A").getpixel((30, 0)) == 0


@pytest.mark.parametrize("value", TURNS)
def test_a_tiff_is_turned_once(value: int) -> None:
    """Pillow turns a TIFF while it loads; it is not turned a second time."""
    upright = noise(31, 17)
    data = encoded(upright, "TIFF", tiffinfo={0x112: value})
    result = _opened(turned(_opened(data), data, "TIFF", value))
    tagged = upright.copy()
    tagged.getexif()[0x112] = value
    assert np.array_equal(np.asarray(result), np.asarray(ImageOps.exif_transpose(tagged)))
    assert orientation(turned(_opened(data), data, "TIFF", value), "TIFF") == 1


@pytest.mark.parametrize("value", TURNS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_is_turned_nearly_without_loss(mode: str, value: int) -> None:
    """A re-encoded JPEG differs from the exact turn by little, keeps its mode, and has no tag."""
    data = encoded(noise(64, 48, mode=mode), "JPEG", quality=90, exif=exif_of(value))
    image = _opened(data)
    again = turned(image, data, "JPEG", value)
    result = _opened(again)
    expected = ImageOps.exif_transpose(image)
    assert (result.mode, result.size) == (expected.mode, expected.size)
    difference = np.asarray(result).astype(int) - np.asarray(expected).astype(int)
    assert np.abs(difference).mean() < 3
    assert orientation(again, "JPEG") == 1


@pytest.mark.parametrize(
    ("subsampling", "value", "expected"), [(0, 6, 0), (2, 6, 2), (1, 3, 1), (1, 6, 0), (2, 2, 2)]
)
def test_chroma_is_subsampled_as_before_where_it_can_be(subsampling: int, value: int, expected: int) -> None:
    """4:4:4 and 4:2:0 stay; 4:2:2 stays unless the picture is laid on its side."""
    data = encoded(noise(64, 48), "JPEG", subsampling=subsampling)
    result = _opened(turned(_opened(data), data, "JPEG", value))
    assert JpegImagePlugin.get_sampling(result) == expected


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_colour_profile_stays(name: str) -> None:
    """What changes the colours that a viewer shows is kept."""
    data = encoded(noise(64, 48), name, icc_profile=b"p" * 99)
    assert _opened(turned(_opened(data), data, name, 6)).info["icc_profile"] == b"p" * 99


def test_text_goes() -> None:
    """Comments and XMP, which may hold a second tag, are not kept."""
    xmp = b'<x:xmpmeta tiff:Orientation="6"/>'
    data = encoded(noise(64, 48), "JPEG", comment=b"words", xmp=xmp, exif=exif_of(6))
    result = _opened(turned(_opened(data), data, "JPEG", 6))
    assert not {"comment", "xmp", "exif"} & result.info.keys()
