"""An image's pixels: decoded under limits, and digested.

Pillow's readers fall into traps while they open a file, before anybody can ask for its size, so headers are
checked first. Each was tried on the Pillow of this project: a WEBP of a few bytes makes a decoder of its whole
announced canvas; a TIFF of 0.5 MB whose 1,500 tags all point at the same bytes takes 0.6 GB (and 10 MB of tags would
take any machine); a comment of 3 MB in a GIF takes 1.3 s, one of 30 MB a hundred times that.
"""

import io
import re
import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from filters.header import Tiff, ends_early, jpeg_scans
from filters.orientation import avif_decoder
from schemas.errors import RowError
from schemas.sample import PNG_METADATA_BYTES

_POINTERS: Final = (0x8769, 0x8825, 0xA005)  # EXIF, GPS and interoperability directories
_MOST_DIRECTORIES: Final = 8
_GIF_PREAMBLE: Final = 1 << 20
_TAG_SLACK: Final = 1 << 16
MOST_SCANS: Final = 100
"""Scans of a progressive JPEG that are decoded: encoders write about ten; each takes 35 ms with 100 M pixels."""


def check_header(data: bytes, name: str, max_pixels: int) -> None:
    """Raises RowError where opening `data` in format `name` would itself cost too much."""
    if name == "JPEG":
        if jpeg_scans(data, MOST_SCANS) > MOST_SCANS:
            raise RowError("too_many_scans", f"JPEG: more than {MOST_SCANS} scans")
    elif name == "WEBP":
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


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """Pillow's JPEG reader without its search for a resolution in EXIF.

    It would parse the whole block, on every picture that has one: slow, and a block of 64 KB whose
    tags all point at the same bytes swells to 300 MB.
    """

    def _read_dpi_from_exif(self) -> None:
        return


class _Avif(AvifImagePlugin.AvifImageFile):
    """Pillow's AVIF reader without EXIF and XMP, which it would parse whole, and with one thread."""

    def _open(self) -> None:
        assert self.fp is not None
        self._decoder = avif_decoder(self.fp.read())
        self._size, self.n_frames, self._mode, profile = self._decoder.get_info()[:4]
        if profile:
            self.info["icc_profile"] = profile
        self.seek(0)


PngImagePlugin.MAX_TEXT_CHUNK = PNG_METADATA_BYTES

DECODERS: Final[dict[str, type[ImageFile.ImageFile]]] = {
    "JPEG": _Jpeg,  # of an MPO the first picture
    "PNG": PngImagePlugin.PngImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
    "BMP": BmpImagePlugin.BmpImageFile,
    "TIFF": TiffImagePlugin.TiffImageFile,
    **({"AVIF": _Avif} if AvifImagePlugin.SUPPORTED else {}),
}
"""The only readers that ever see a row's bytes, called by name and not through Pillow's registry."""

DEEP: Final = ("I;16", "I;16L", "I;16B", "I;16N", "I", "F")
"""Modes of one channel of more than 8 bits, which no 8-bit mode can hold."""

_BAND: Final = 1 << 20  # pixels converted at once where the picture's own memory cannot be used
_WHOLE: Final = 1 << 22  # up to so many pixels a copy of the whole is cheaper than bands
_ADDRESS: Final = re.compile(r"0x[0-9a-fA-F]+")
_MESSAGE: Final = 200


@contextmanager
def decoding(data: bytes, name: str, max_pixels: int) -> Iterator[None]:
    """A block in which Pillow may fail on `data`: whatever it raises leaves as a RowError.

    This is the row boundary. Warnings are silent and Pillow's global switches have fixed values inside, so that a
    verdict never depends on what else the process does.
    """
    switches = ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK
    ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = False, max_pixels
    PngImagePlugin.MAX_TEXT_CHUNK = PNG_METADATA_BYTES
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (RowError, MemoryError):
        raise
    except Image.DecompressionBombError as error:
        raise RowError("too_many_pixels", _described(error, name)) from error
    except Exception as error:  # a decoder fed hostile bytes may raise anything
        cut = isinstance(error, EOFError) or "truncated" in str(error).lower() or ends_early(data, name)
        raise RowError("truncated" if cut else "undecodable", _described(error, name)) from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK = switches


def _described(error: Exception, name: str) -> str:
    """The same words in every process: no addresses, one line, not long."""
    text = " ".join(_ADDRESS.sub("0x", str(error)).split())
    return f"{name}: {type(error).__name__}: {text}"[:_MESSAGE]


def opened(data: bytes, name: str, max_pixels: int) -> ImageFile.ImageFile:
    """Returns the image with no pixel decoded; call it inside `decoding`. Raises RowError where it is too large."""
    check_header(data, name, max_pixels)
    image = DECODERS[name](io.BytesIO(data))
    check_size(image.size, max_pixels)
    return image


def decode(data: bytes, name: str, max_pixels: int) -> Image.Image:
    """The first frame, loaded; call it inside `decoding`.

    RowError `too_many_pixels` comes from the header, before any pixel is decoded.
    """
    image = opened(data, name, max_pixels)
    image.load()
    check_size(image.size, max_pixels)
    return image


def digest(image: Image.Image) -> str:
    """32 hex digits of XXH3-128 over width, height and pixels as RGBA.

    Equal for equal pixels whatever the file: a palette, grey, or colour picture with the same
    RGBA values has the same digest. More than 8 bits a channel are digested as they are.
    """
    state = xxhash.xxh3_128(struct.pack("<QQ", *image.size))
    memory = _memory(image)
    if memory is not None:
        state.update(memory)
        return state.hexdigest()
    for _, band in _bands(image):
        state.update(band.tobytes() if image.mode in DEEP else _rgba(band).tobytes())
    return state.hexdigest()


def _memory(image: Image.Image) -> pa.Buffer | None:
    """The picture's own RGBA memory without a copy, None where it is split or holds something else.

    Pillow keeps RGB in four bytes, of which the JPEG reader sets the last to 255; no such promise
    is made for other readers.
    """
    if image.mode != "RGBA" and not (image.mode == "RGB" and image.format == "JPEG"):
        return None
    try:
        buffer: pa.Buffer = cast(Any, pa.array)(image).values.buffers()[1]
        return buffer
    except ValueError:  # above 16 MB Pillow allocates in blocks
        return None


def _rgba(band: Image.Image) -> Image.Image:
    return band if band.mode == "RGBA" else band.convert("RGBA")


def grey_pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """(H, W) uint8: the pixels of `image.convert("L")`."""
    if image.width * image.height <= _WHOLE:
        return np.asarray(image if image.mode == "L" else image.convert("L"))
    grey = np.empty((image.height, image.width), np.uint8)
    for top, band in _bands(image):
        grey[top : top + band.height] = np.asarray(band.convert("L"))
    return grey


def _bands(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """(first line, copy of some lines) from top to bottom: a large picture is never copied as a whole."""
    lines = max(1, _BAND // image.width)
    for top in range(0, image.height, lines):
        yield top, image.crop((0, top, image.width, min(top + lines, image.height)))
