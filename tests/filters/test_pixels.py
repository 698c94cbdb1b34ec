import io
import re
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from filters.header import jpeg_scans
from filters.pixels import DECODERS, MOST_SCANS, decode, decoding, digest, grey_pixels
from schemas.errors import RowError
from tests.filters.pictures import encoded, exif_of, images, noise

LIMIT = 10**8


def _decoded(data: bytes, name: str) -> Image.Image:
    with decoding(data, name, LIMIT):
        return decode(data, name, LIMIT)


def test_equal_pixels_have_one_digest_in_every_lossless_format() -> None:
    """PNG, BMP, TIFF and lossless WEBP of one picture are the same pixels; so is a JPEG's own PNG."""
    picture = _decoded(encoded(noise(300, 200), "JPEG"), "JPEG")
    digests = {
        digest(_decoded(encoded(picture, name, **options), name))
        for name, options in [("PNG", {}), ("BMP", {}), ("TIFF", {}), ("WEBP", {"lossless": True})]
    }
    assert digests == {digest(picture)}


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P"])
def test_a_mode_is_no_difference(mode: str) -> None:
    """Grey or palette pictures have the digest of the same colours in RGBA."""
    picture = noise(50, 40, mode=mode)
    assert digest(picture) == digest(picture.convert("RGBA"))


def test_different_pixels_have_different_digests() -> None:
    """One pixel, the alpha of one, the depth, or the shape alone makes a difference."""
    picture = noise(50, 40)
    changed = picture.copy()
    changed.putpixel((49, 39), (0, 0, 1))
    faint = picture.convert("RGBA")
    faint.putpixel((0, 0), (*picture.getpixel((0, 0)), 254))  # type: ignore[misc]
    flat = Image.new("L", (20, 30), 7)
    all_of_them = [picture, changed, faint, flat, Image.new("L", (30, 20), 7), Image.new("I;16", (20, 30), 7)]
    assert len({digest(each) for each in all_of_them}) == len(all_of_them)


def test_a_picture_in_blocks_has_the_digest_of_one_in_a_piece() -> None:
    """Pillow splits large pictures in memory; the digest does not show it."""
    picture = noise(2400, 2100, smooth=100)
    jpeg = _decoded(encoded(picture, "JPEG"), "JPEG")
    assert digest(jpeg) == digest(_decoded(encoded(jpeg, "BMP"), "BMP"))


def test_jpeg_memory_is_opaque_rgba() -> None:
    """The fourth byte that Pillow keeps for RGB is 255 from a JPEG: what the digest relies on."""
    jpeg = _decoded(encoded(noise(123, 77), "JPEG"), "JPEG")
    assert jpeg.mode == "RGB"
    assert digest(jpeg) == digest(jpeg.convert("RGBA"))


@pytest.mark.parametrize("name", sorted(DECODERS))
def test_pixels_are_those_that_pillow_opens(name: str) -> None:
    """The readers called by name give what Image.open gives."""
    data = encoded(noise(61, 47, mode="P" if name == "GIF" else "RGB"), name)
    with Image.open(io.BytesIO(data)) as image:
        assert np.array_equal(np.asarray(_decoded(data, name)), np.asarray(image))


def test_exif_is_not_parsed_by_the_jpeg_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    """An EXIF block whose tags all point at the same bytes would swell; nobody looks into it."""
    monkeypatch.setattr(Image.Image, "getexif", lambda self: pytest.fail("parsed"))
    assert _decoded(encoded(noise(30, 20), "JPEG", exif=exif_of(6)), "JPEG").size == (30, 20)


@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "BMP", "GIF"])
def test_half_a_file_is_truncated(name: str) -> None:
    """A picture cut in half is called truncated."""
    data = encoded(noise(300, 200, smooth=2), name)
    with pytest.raises(RowError) as caught:
        _decoded(data[: len(data) // 2], name)
    assert caught.value.kind == "truncated"


@settings(max_examples=60, deadline=None)
@given(
    images(modes=("RGB", "L", "P", "RGBA"), most=60),
    st.sampled_from(["PNG", "GIF", "WEBP", "TIFF"]),
    st.data(),
)
def test_damage_never_gets_past_the_row(image: Image.Image, name: str, data: st.DataObject) -> None:
    """A file with bytes overwritten or cut off decodes or raises RowError, the same one each time."""
    damaged = bytearray(encoded(image, name))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    broken = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    outcomes = set[object]()
    for _ in range(2):
        try:
            outcomes.add(digest(_decoded(broken, name)))
        except RowError as error:
            outcomes.add((error.kind, error.message))
    assert len(outcomes) == 1


def test_the_header_stops_a_bomb_before_a_pixel_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """More pixels than the limit are refused while the picture is still only announced."""
    data = encoded(Image.new("1", (1000, 1001)), "PNG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(RowError) as caught, decoding(data, "PNG", 1_000_000):
        decode(data, "PNG", 1_000_000)
    assert (caught.value.kind, caught.value.message) == (
        "too_many_pixels",
        "1000 x 1001 pixels, more than 1000000",
    )


def scanned(side: int, more: int) -> bytes:
    """A progressive JPEG whose last scan stands `more` times again."""
    data = encoded(Image.new("RGB", (side, side), (9, 9, 9)), "JPEG", progressive=True)
    last, end = data.rindex(b"\xff\xda"), len(data) - 2
    return data[:end] + data[last:end] * more + data[end:]


def test_a_jpeg_of_many_scans_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans cost a pass over the image each, however few bytes they have: above a hundred none is decoded."""
    scans = jpeg_scans(scanned(200, 0), MOST_SCANS)
    assert 5 <= scans <= 20
    _decoded(scanned(200, MOST_SCANS - scans), "JPEG")
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
    for more in (MOST_SCANS - scans + 1, 20_000):
        with pytest.raises(RowError) as caught:
            _decoded(scanned(200, more), "JPEG")
        assert (caught.value.kind, caught.value.message) == ("too_many_scans", "JPEG: more than 100 scans")


def test_scans_are_counted_and_not_what_looks_like_them() -> None:
    """Bytes of metadata, of thumbnails and of what follows the image are no scans."""
    plain = encoded(noise(60, 40), "JPEG", progressive=True)
    comment = b"\xff\xfe" + (2 + 2 * 200).to_bytes(2, "big") + b"\xff\xda" * 200
    for data in (plain[:2] + comment + plain[2:], plain + b"\xff\xda" * 200, plain + plain * 50):
        assert jpeg_scans(data, MOST_SCANS) == jpeg_scans(plain, MOST_SCANS)
        _decoded(data, "JPEG")


@given(st.binary(max_size=400))
def test_scans_of_any_bytes_are_counted(data: bytes) -> None:
    """Whatever follows the signature, counting ends."""
    assert jpeg_scans(b"\xff\xd8" + data + b"\xff\xda" * 101 + data, MOST_SCANS) <= MOST_SCANS + 1


def test_switches_of_the_process_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other code set in Pillow neither passes half a file nor refuses a whole one, and is put back."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    data = encoded(noise(300, 200), "JPEG")
    _decoded(data, "JPEG")
    with pytest.raises(RowError, match="truncated"):
        _decoded(data[: len(data) // 2], "JPEG")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True
    assert Image.MAX_IMAGE_PIXELS == 10


def test_warnings_stay_inside() -> None:
    """A decoder's warning reaches nobody, even where warnings are errors."""
    data = encoded(noise(8, 8), "PNG")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with decoding(data, "PNG", LIMIT):
            warnings.warn("palette", stacklevel=1)


def test_running_out_of_memory_is_not_the_rows_fault() -> None:
    """MemoryError goes through: whether there was enough is no property of the picture."""
    with pytest.raises(MemoryError), decoding(b"", "PNG", LIMIT):
        raise MemoryError


def test_messages_hold_no_address_and_stay_short() -> None:
    """Two processes record the same words."""
    with pytest.raises(RowError) as caught, decoding(b"", "TIFF", LIMIT):
        raise OSError(f"{object()!r}\n" + "x" * 1000)
    assert not re.search(r"0x[0-9a-f]{4}", caught.value.message)
    assert len(caught.value.message) <= 200
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
def test_grey_pixels_are_those_of_mode_l(mode: str) -> None:
    """(H, W) as Pillow converts it, whether in one piece or in bands of a large picture."""
    for size in ((30, 20), (2500, 2100)):
        image = noise(*size, mode=mode, smooth=50)
        assert np.array_equal(grey_pixels(image), np.asarray(image.convert("L")))


def _png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with chunks of its own after the header."""
    data = encoded(noise(61, 47), "PNG")
    extra = b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
        for kind, body in chunks
    )
    return data[:33] + extra + data[33:]


@pytest.mark.parametrize("size", [2 << 20, 12 << 20])
def test_large_metadata_of_a_png_is_no_failure(size: int) -> None:
    """Texts and colour profiles above Pillow's own limit of 1 MiB leave the pixels as they are."""
    packed = zlib.compress(bytes(size))
    wanted = digest(_decoded(encoded(noise(61, 47), "PNG"), "PNG"))
    for chunk in (
        (b"zTXt", b"Comment\0\0" + packed),
        (b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        (b"tEXt", b"Comment\0" + b"x" * size),
        (b"iCCP", b"profile\0\0" + packed),
    ):
        assert digest(_decoded(_png_with(chunk), "PNG")) == wanted


def test_bombs_in_the_metadata_of_a_png_are_capped() -> None:
    """A text that unpacks beyond the cap, or many that do together, is refused by name, not unpacked."""
    bomb = zlib.compress(bytes(200 << 20))
    many = [(b"zTXt", f"k{number}\0\0".encode() + zlib.compress(bytes(15 << 20))) for number in range(6)]
    for chunks in ([(b"zTXt", b"Comment\0\0" + bomb)], [(b"iCCP", b"profile\0\0" + bomb)], many):
        with pytest.raises(RowError) as caught:
            _decoded(_png_with(*chunks), "PNG")
        assert caught.value.kind == "undecodable"


@pytest.mark.skipif("AVIF" not in DECODERS, reason="this Pillow reads no AVIF")
@pytest.mark.parametrize("options", [{"quality": 90}, {"quality": 100, "exif": exif_of(1) + bytes(100_000)}])
def test_avif_is_read_where_pillow_has_it(options: dict[str, object]) -> None:
    """The pixels are those of Image.open, with the file's EXIF left alone."""
    data = encoded(noise(128, 96), "AVIF", **options)
    image = _decoded(data, "AVIF")
    with Image.open(io.BytesIO(data)) as opened:
        assert digest(image) == digest(opened.copy())
    with pytest.raises(RowError) as caught:
        _decoded(data[: len(data) // 2], "AVIF")
    assert caught.value.kind == "truncated"


@pytest.mark.skipif("AVIF" not in DECODERS, reason="this Pillow reads no AVIF")
def test_an_avif_of_too_many_pixels_is_refused() -> None:
    """The limit holds before any pixel is decoded."""
    with pytest.raises(RowError) as caught, decoding(b"", "AVIF", 1000):
        decode(encoded(noise(64, 64), "AVIF"), "AVIF", 1000)
    assert caught.value.kind == "too_many_pixels"
