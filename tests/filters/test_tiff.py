import io

from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from filters.header import Tiff
from tests.filters.pictures import encoded, noise


def test_fields_are_those_that_pillow_finds() -> None:
    """The first directory of a TIFF has the tags, and the inline values, that Pillow reads."""
    data = encoded(noise(37, 23), "TIFF", compression="tiff_lzw")
    tiff = Tiff(data)
    fields = {field.tag: field for field in tiff.fields(tiff.first())}
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        assert set(fields) == set(image.tag_v2)
    assert (fields[256].value, fields[257].value) == (37, 23)
    assert not fields[258].inline  # three numbers of bits


def test_big_tiff_is_read_too() -> None:
    """Offsets of eight bytes are understood."""
    tiff = Tiff(encoded(noise(37, 23), "TIFF", big_tiff=True))
    assert {field.tag: field.value for field in tiff.fields(tiff.first()) if field.tag in (256, 257)} == {
        256: 37,
        257: 23,
    }


@given(st.binary(max_size=200), st.sampled_from([b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b""]))
def test_any_bytes_give_bounded_fields(body: bytes, magic: bytes) -> None:
    """Nonsense gives fields that lie inside of the data, or none, and never an error."""
    data = magic + body
    tiff = Tiff(data)
    assert len(list(tiff.fields(tiff.first()))) <= len(data) // 12


def test_no_structure_has_no_directory() -> None:
    """Without a byte order there is nothing to read."""
    assert Tiff(b"").first() == 0
    assert list(Tiff(encoded(Image.new("L", (2, 2)))).fields(0)) == []
