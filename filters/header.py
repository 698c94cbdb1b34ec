"""What a picture's first bytes say, read without a decoder.

Pillow's own identification asks every plugin that anybody has imported; here one table of
signatures tells a picture in a format that is not wanted from bytes that are no picture, so that
the answer is the same in every process and no other decoder ever sees the bytes.
"""

from typing import Final

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
