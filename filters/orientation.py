"""The EXIF turn: which way up a picture says it is, and the picture turned that way.

The tag is read here with a few bounded steps, because Pillow parses the whole of a hostile EXIF
block for it, and costs more than hashing the file.
"""

import io
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

from PIL import Image, JpegImagePlugin

from filters.header import Tiff

UPRIGHT: Final = 1

_METHODS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PREFIX: Final = b"Exif\0\0"
_TAG: Final = 0x0112
_MOST_PARTS: Final = 65_536
_MOST_TAGS: Final = 1_000
_KEPT: Final = ("transparency",)


def orientation(data: bytes, name: str) -> int:
    """The EXIF orientation, 1 to 8, of a file in format `name`; 1 where it is absent or nonsense."""
    exif = b""
    if name == "JPEG":
        exif = next((part for kind, part in _jpeg_parts(data) if kind == 0xE1 and part[:6] == _PREFIX), b"")
    elif name == "PNG":
        exif = next((part for kind, part in _png_parts(data) if kind == b"eXIf"), b"")
    elif name == "WEBP" and data[12:16] == b"VP8X":
        exif = next((part for kind, part in _webp_parts(data) if kind == b"EXIF"), b"")
    elif name == "TIFF":
        exif = data
    elif name == "AVIF":
        return _avif_turn(data)
    value = _tag(exif.removeprefix(_PREFIX))
    return value if value in _METHODS else UPRIGHT


def _jpeg_parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 2
    for _ in range(_MOST_PARTS):
        if at + 4 > len(data) or data[at] != 0xFF:
            return
        kind = data[at + 1]
        if kind == 0xFF:
            at += 1
        elif kind in (0x01, 0xD8) or 0xD0 <= kind <= 0xD7:
            at += 2
        elif kind in (0xD9, 0xDA):
            return
        else:
            size = int.from_bytes(data[at + 2 : at + 4], "big")
            yield kind, data[at + 4 : at + 2 + size]
            at += 2 + max(size, 2)


def _png_parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 8
    for _ in range(_MOST_PARTS):
        if at + 8 > len(data):
            return
        size = int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        at += 12 + size


def _webp_parts(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 12
    for _ in range(_MOST_PARTS):
        if at + 8 > len(data):
            return
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        yield data[at : at + 4], data[at + 8 : at + 8 + size]
        at += 8 + size + (size & 1)


def avif_decoder(data: bytes) -> Any:
    """Returns Pillow's decoder of an AVIF file, with one thread; raises whatever it raises."""
    from PIL import _avif

    return _avif.AvifDecoder(data, "auto", 1)


def _avif_turn(data: bytes) -> int:
    """The turn that the file's own properties `irot` and `imir` say; EXIF says nothing in an AVIF."""
    try:
        value = int(avif_decoder(data).get_info()[5])
    except (OSError, RuntimeError, SyntaxError, ValueError):  # the decode that follows gives the reason
        return UPRIGHT
    return value if value in _METHODS else UPRIGHT


def _tag(exif: bytes) -> int:
    """The orientation tag in the first directory of a TIFF structure, 0 without one."""
    tiff = Tiff(exif)
    fields = islice(tiff.fields(tiff.first()), _MOST_TAGS)
    return next((field.value for field in fields if field.tag == _TAG and field.inline), 0)


def turned(image: Image.Image, data: bytes, name: str, value: int) -> bytes:
    """`image`, decoded from `data` in format `name`, turned by EXIF `value` and encoded again.

    Without loss in PNG, TIFF and lossless WEBP (a PNG of 16-bit colour comes back in 8 bits, all
    that Pillow reads of it); JPEG, AVIF and lossy WEBP at quality 95. Of the metadata only what changes
    the colours stays. Pillow has turned a TIFF already when it loads.
    """
    upright = image.copy() if name == "TIFF" else image.transpose(_METHODS[value])
    upright.info = {key: image.info[key] for key in _KEPT if key in image.info}
    options: dict[str, Any] = {"icc_profile": image.info.get("icc_profile")}
    if name == "JPEG":
        options |= {"quality": 95, "subsampling": _subsampling(image, value)}
    elif name == "WEBP":
        options |= {"quality": 95, "lossless": b"VP8L" in data[:4096], "exact": True}
    elif name == "AVIF":
        options |= {"quality": 95, "max_threads": 1}
    elif name == "TIFF":
        options |= {"compression": "tiff_adobe_deflate"}
    out = io.BytesIO()
    upright.save(out, name, **options)
    return out.getvalue()


def _subsampling(image: Image.Image, value: int) -> int:
    """The original's chroma subsampling (0: 4:4:4, 1: 4:2:2, 2: 4:2:0) where a turn can keep it."""
    own = JpegImagePlugin.get_sampling(image)
    # 4:2:2 on its side would be 4:4:0, which Pillow cannot write
    return 0 if own not in (0, 1, 2) or (own == 1 and value >= 5) else own
