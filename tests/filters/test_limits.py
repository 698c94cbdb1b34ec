import struct
import time

import pytest
from PIL import Image

from filters.pixels import check_header, gif_first_frame, tag_bytes, webp_canvas
from schemas.errors import RowError
from tests.filters.pictures import encoded, noise

GIF = b"GIF89a" + struct.pack("<HHBBB", 2, 2, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
FRAME = b"," + struct.pack("<HHHHB", 0, 0, 2, 2, 0) + b"\x02\x02\x44\x01\x00;"


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0"}])
def test_canvas_of_every_kind_of_webp(options: dict[str, object]) -> None:
    """Lossy, lossless and extended headers announce the picture's size."""
    assert webp_canvas(encoded(noise(301, 77), "WEBP", **options)) == (301, 77)


def test_a_webp_canvas_is_refused_before_a_decoder_is_made() -> None:
    """Thirty bytes that announce a huge canvas are too many pixels."""
    side = (16_000 - 1).to_bytes(3, "little")
    data = b"RIFF" + struct.pack("<L", 22) + b"WEBPVP8X" + struct.pack("<L", 10) + b"\0\0\0\0" + side + side
    with pytest.raises(RowError, match="too_many_pixels"):
        check_header(data, "WEBP", 100_000_000)
    with pytest.raises(RowError, match="16000 x 16000"):
        check_header(data, "WEBP", 16_000 * 16_000 - 1)
    check_header(data, "WEBP", 16_000 * 16_000)


def test_first_frame_of_a_gif_is_found_behind_its_extensions() -> None:
    """Comments and unknown bytes are stepped over just as Pillow does."""
    data = GIF + b"!\xfe\x03abc\x02de\0" + b"\x99" + FRAME
    assert data[gif_first_frame(data)] == ord(",")
    assert gif_first_frame(encoded(noise(20, 20), "GIF", comment=b"c" * 600)) > 600


def test_a_comment_without_end_is_refused_at_once() -> None:
    """Pillow's time for a comment grows with its square; more than 1 MiB of it is not read."""
    data = GIF + b"!\xfe" + (b"\xff" + b"a" * 255) * 100_000 + b"\0" + FRAME
    start = time.process_time()
    with pytest.raises(RowError, match="before the first frame"):
        check_header(data, "GIF", 10**8)
    assert time.process_time() - start < 1


def test_a_large_gif_of_pictures_passes() -> None:
    """More than 1 MiB of frames is no preamble."""
    data = encoded(noise(1200, 1200, smooth=1), "GIF")
    assert len(data) > 1 << 20
    check_header(data, "GIF", 10**8)


def _greedy_tiff(tags: int) -> bytes:
    entries = b"".join(struct.pack("<HHLL", 1000 + tag, 1, 40_000, 8) for tag in range(tags))
    return b"II*\0" + struct.pack("<LH", 8, tags) + entries + bytes(50_000)


def test_tags_that_share_their_bytes_are_refused() -> None:
    """A reader would copy the same bytes once for each tag: 1,500 tags hold 60 MB of a file of 70 kB."""
    data = _greedy_tiff(1500)
    assert tag_bytes(data) == 1500 * 40_000
    with pytest.raises(RowError, match="undecodable"):
        check_header(data, "TIFF", 10**8)


def test_directories_that_point_in_a_circle_are_read_once() -> None:
    """A directory that names itself as its EXIF directory is counted once."""
    entries = struct.pack("<HHLL", 0x8769, 4, 1, 8) + struct.pack("<HHLL", 1000, 1, 10, 0)
    assert tag_bytes(b"II*\0" + struct.pack("<LH", 8, 2) + entries) == 10


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_ordinary_tiffs_pass(compression: str | None) -> None:
    """What Pillow writes is far below the limit."""
    data = encoded(noise(300, 200), "TIFF", compression=compression, icc_profile=bytes(500))
    assert 500 <= tag_bytes(data) <= len(data)
    check_header(data, "TIFF", 10**8)


def test_formats_without_traps_are_not_looked_at() -> None:
    """A JPEG or PNG is left to its reader."""
    check_header(encoded(Image.new("L", (9, 9))), "PNG", 1)
    check_header(encoded(Image.new("L", (9, 9)), "JPEG"), "JPEG", 1)
