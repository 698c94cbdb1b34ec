"""Traps that Pillow's readers fall into while they open a file, before anybody can ask for its size.

Each was tried on the Pillow of this project: a WEBP of a few bytes makes a decoder of its whole
announced canvas; a TIFF of 0.5 MB whose 1,500 tags all point at the same bytes takes 0.6 GB (and
10 MB of tags would take any machine); a comment of 3 MB in a GIF takes 1.3 s, one of 30 MB a hundred
times that.
"""

from typing import Final

from filters.tiff import Tiff
from schemas.errors import RowError

_POINTERS: Final = (0x8769, 0x8825, 0xA005)  # EXIF, GPS and interoperability directories
_MOST_DIRECTORIES: Final = 8
_GIF_PREAMBLE: Final = 1 << 20
_TAG_SLACK: Final = 1 << 16


def check_header(data: bytes, name: str, max_pixels: int) -> None:
    """Raises RowError where opening `data` in format `name` would itself cost too much."""
    if name == "WEBP":
        check_size(webp_canvas(data), max_pixels)
    elif name == "GIF" and len(data) > _GIF_PREAMBLE and gif_first_frame(data) > _GIF_PREAMBLE:
        raise RowError("undecodable", "GIF: more than 1 MiB before the first frame")
    elif name == "TIFF" and tag_bytes(data) > 2 * len(data) + _TAG_SLACK:
        raise RowError("undecodable", "TIFF: its tags hold more than the whole file")


def check_size(size: tuple[int, int] | None, max_pixels: int) -> None:
    """Raises RowError `too_many_pixels` for a (width, height) above the limit."""
    if size and size[0] * size[1] > max_pixels:
        raise RowError("too_many_pixels", f"{size[0]} x {size[1]} pixels, more than {max_pixels}")


def webp_canvas(data: bytes) -> tuple[int, int] | None:
    """Width and height that a WEBP header announces, None where it is none (RFC 9649, 2.5 to 2.7)."""
    kind, body = data[12:16], data[20:30]
    if len(body) < 10:
        return None
    if kind == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return None


def gif_first_frame(data: bytes) -> int:
    """Where the first frame of a GIF starts, or the first place past 1 MiB that was looked at."""
    at = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    while at < min(len(data), _GIF_PREAMBLE + 1) and data[at] not in b",;":
        if data[at] != ord("!"):
            at += 1  # Pillow skips what it does not know
            continue
        at += 2
        while at < len(data) and data[at] and at <= _GIF_PREAMBLE:
            at += 1 + data[at]
        at += 1
    return at


def tag_bytes(data: bytes) -> int:
    """Bytes that a reader of a TIFF's first directory, and of those it points to, copies out of it."""
    tiff = Tiff(data)
    waiting, seen, total = [tiff.first()], set[int](), 0
    while waiting and len(seen) < _MOST_DIRECTORIES:
        start = waiting.pop()
        if start in seen:
            continue
        seen.add(start)
        for field in tiff.fields(start):
            if not field.inline:
                total += min(field.size, max(0, len(data) - field.value))
            elif field.tag in _POINTERS:
                waiting.append(field.value)
    return total
