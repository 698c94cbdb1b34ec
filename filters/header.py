"""What the headers of an image say, read without a decoder: its format, and the directories of TIFF and EXIF.

Pillow's own identification asks every plugin that anybody has imported; here one table of
signatures tells an image in a format that is not wanted from bytes that are no image, so that
the answer is the same in every process and no other decoder ever sees the bytes. Directories of
the TIFF structure, which TIFF files and EXIF blocks share, are read with bounds.
"""

from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

PREFIXES: Final[list[tuple[bytes, str]]] = [
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    # known, so that they are called unsupported rather than no picture at all
    (b"%PDF-", "PDF"),
    (b"%!PS", "EPS"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"8BPS", "PSD"),
    (b"\0\0\1\0", "ICO"),
    (b"\0\0\2\0", "CUR"),
    (b"icns", "ICNS"),
    (b"\xff\x0a", "JXL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JXL"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG2000"),
    (b"\xff\x4f\xff\x51", "JPEG2000"),
    (b"DDS ", "DDS"),
    (b"qoif", "QOI"),
    (b"\x01\xda", "SGI"),
    (b"BLP1", "BLP"),
    (b"BLP2", "BLP"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"v/1\x01", "EXR"),
    (b"#?RADIANCE", "HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"\x8aMNG\r\n\x1a\n", "MNG"),
    (b"DanM", "MSP"),
    (b"LinS", "MSP"),
    (b"/* XPM */", "XPM"),
    (b"gimp xcf", "XCF"),
]

ISO_BRANDS: Final = {
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"heic": "HEIF",
    b"heix": "HEIF",
    b"hevc": "HEIF",
    b"heim": "HEIF",
    b"heis": "HEIF",
    b"hevx": "HEIF",
    b"hevm": "HEIF",
    b"hevs": "HEIF",
}

_CONTAINERS: Final = (b"mif1", b"msf1")
_BRANDS_WITHIN: Final = 256
_SVG_WITHIN: Final = 8192


def sniff(data: bytes) -> str | None:
    """The format that a signature names (in Pillow's spelling), or None for no known picture."""
    for prefix, name in PREFIXES:
        if data.startswith(prefix):
            # two letters are no evidence of a picture: BMP's reserved words say more
            if name == "BMP" and not _is_bmp(data):
                return None
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[4:8] == b"ftyp":
        return _iso(data)
    if data[:1] == b"P" and data[1:2] in b"1234567FfyY" and data[2:3] in b"\n\r\t #":
        return "PNM"
    return "SVG" if _is_svg(data) else None


def _iso(data: bytes) -> str | None:
    """Returns the format of an ISO base media file: by its brand, or where that is a container's by those it lists."""
    end = min(int.from_bytes(data[:4], "big"), _BRANDS_WITHIN)
    brands = [data[8:12], *(data[at : at + 4] for at in range(16, end, 4))]
    coded = next((ISO_BRANDS[brand] for brand in brands if brand in ISO_BRANDS), None)
    return coded or ("HEIF" if any(brand in _CONTAINERS for brand in brands) else None)


def _is_bmp(data: bytes) -> bool:
    """Whether the length of the second header is one that some version of BMP has."""
    return int.from_bytes(data[14:18], "little") in {12, 16, 40, 52, 56, 64, 108, 124}


def _is_svg(data: bytes) -> bool:
    """Whether text starts with an <svg> element, after a declaration, comments or a doctype."""
    head = data[:_SVG_WITHIN].removeprefix(b"\xef\xbb\xbf").lstrip()
    if not head.startswith(b"<") or head[:5].lower() == b"<html":
        return False
    return head.startswith(b"<svg") or (
        head.startswith((b"<?xml", b"<!--", b"<!DOCTYPE svg")) and b"<svg" in head
    )


_SOS: Final = b"\xff\xda"
_ALONE: Final = frozenset((0x01, *range(0xD0, 0xD9)))  # markers without a length: TEM, RST0 to RST7, SOI


def jpeg_scans(data: bytes, enough: int) -> int:
    """Returns how many scans a JPEG has, or more than `enough` where it has more; of an MPO the first image.

    A decoder goes over all coefficients once a scan, however few bytes the scan has.
    """
    # in most files the bytes are looked at once: they stand in no entropy-coded data, but may in metadata
    if (most := data.count(_SOS)) <= enough:
        return most
    at, found = 2, 0
    while found <= enough and (at := _marker(data, at)) >= 0 and data[at] != 0xD9:
        found += data[at] == 0xDA
        at += 1 if data[at] in _ALONE else 1 + int.from_bytes(data[at + 1 : at + 3], "big")
    return found


def _marker(data: bytes, at: int) -> int:
    """Returns where the code of the next marker stands, -1 behind the last; entropy-coded data is passed over."""
    while 0 <= (at := data.find(b"\xff", at)) < len(data) - 1:
        at += 1
        if data[at] not in (0x00, 0xFF):
            return at
    return -1


def ends_early(data: bytes, name: str) -> bool:
    """Whether a file that could not be decoded lacks its end; asked only after the failure."""
    if name == "JPEG":
        return b"\xff\xd9" not in data[-4096:]
    if name == "PNG":
        return b"IEND" not in data[-4096:]
    if name == "GIF":
        return b";" not in data[-64:]
    if name == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    if name == "BMP":
        return int.from_bytes(data[2:6], "little") > len(data)
    return name == "AVIF" and _boxes_end(data) > len(data)


def _boxes_end(data: bytes) -> int:
    """Where the last box of an ISO base media file says that it ends; 0 means with the file, 1 gives it in 64 bits."""
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:
            return len(data)
        at += size
    return at


TYPE_BYTES: Final = {
    1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8,
}  # fmt: skip
"""Bytes of one value of each type of field."""

BIG: Final = 43
"""The magic number of BigTIFF, with offsets of eight bytes."""


class Field(NamedTuple):
    """One entry of a directory.

    `size` is of its values in bytes; `value` the first of them where they fit into the entry
    (`inline`), else the place where they are.
    """

    tag: int
    size: int
    value: int
    inline: bool


class Tiff:
    """A TIFF structure in memory; every read outside of it gives zeros or nothing."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.order: Literal["little", "big"] = "big" if data[:2] == b"MM" else "little"
        self.sound = data[:2] in (b"II", b"MM")
        self.wide = 8 if self._number(2, 2) == BIG else 4

    def first(self) -> int:
        """Where the first directory starts, 0 where there is none."""
        return self._number(self.wide, self.wide) if self.sound else 0

    def fields(self, start: int) -> Iterator[Field]:
        """The entries of the directory at `start`, as many as are there whole."""
        counter, entry = (8, 20) if self.wide == 8 else (2, 12)
        first = start + counter
        count = min(self._number(start, counter), (len(self.data) - first) // entry) if start else 0
        for at in range(first, first + entry * count, entry):
            yield self._field(at)

    def _field(self, at: int) -> Field:
        kind, count = self._number(at + 2, 2), self._number(at + 4, self.wide)
        unit, place = TYPE_BYTES.get(kind, 0), at + 4 + self.wide
        inline = unit * count <= self.wide
        return Field(
            self._number(at, 2), unit * count, self._number(place, unit if inline else self.wide), inline
        )

    def _number(self, at: int, size: int) -> int:
        return int.from_bytes(self.data[at : at + size], self.order)
