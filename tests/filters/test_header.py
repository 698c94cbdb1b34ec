import pytest
from PIL import Image

from filters.header import ends_early, sniff
from tests.filters.pictures import encoded, noise


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
def test_what_pillow_writes_is_recognised(name: str) -> None:
    """A picture is known by its first bytes, by the name that Pillow gives its format."""
    assert sniff(encoded(noise(40, 30), name)) == name


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"\0\0\1\0\1\0", "ICO"),
        (b"8BPS\0\1", "PSD"),
        (b"P6\n2 2\n255\n", "PNM"),
        (b"\0\0\0\x1cftypavif\0\0\0\0", "AVIF"),
        (b"\0\0\0\x18ftypheic\0\0\0\0", "HEIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1heicmiaf", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", "HEIF"),
        (b"\0\0\0\x1cftypmiaf\0\0\0\0mif1avifmiaf", "AVIF"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- a --><svg/>', "SVG"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
        (b"II+\0\x08\0\0\0", "TIFF"),
    ],
)
def test_other_pictures_have_their_own_names(data: bytes, name: str) -> None:
    """A picture in a format that is not read is told from bytes that are no picture."""
    assert sniff(data) == name


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"B",
        b"BMW is a maker of cars and motorcycles",
        b"<!DOCTYPE html><html><body><svg></svg></body></html>",
        b"<html><svg/></html>",
        b"404 page not found",
        b"RIFF\x10\0\0\0WAVEfmt ",
        b"\0\0\0\x18ftypmp42\0\0\0\0",
        b"Personal page",
        bytes(100),
    ],
)
def test_no_picture_has_no_name(data: bytes) -> None:
    """Web pages, text, films and zeros are no pictures, whatever their file is called."""
    assert sniff(data) is None


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_file_cut_in_half_ends_early(name: str) -> None:
    """The end of a whole file is there, that of half a file is not."""
    data = encoded(noise(300, 200), name)
    assert not ends_early(data, name)
    assert ends_early(data[: len(data) // 2], name)


def test_every_signature_of_a_readable_format_is_one_that_pillow_accepts() -> None:
    """The names of formats are Pillow's own."""
    Image.init()
    assert {"JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"} <= Image.OPEN.keys()
