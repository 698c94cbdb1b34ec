"""Packed archives: gzip, bzip2, xz and Zstandard are recognised by their first bytes and unpacked under a cap."""

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from typing import BinaryIO, Final, cast

import pyarrow as pa

from pipelines.files import MIB
from pipelines.sources.shard import Reading

_FREE: Final = 256 * MIB  # an archive may unpack to this much, whatever its ratio
_XZ_MEMORY: Final = 128 * MIB  # of a decoder: `xz -9` needs 65 MiB, a hostile header may ask for 4 GiB
_PIECE: Final = 64 * 1024

LONGEST_MAGIC: Final = 6

Reader = Callable[[int], bytes]
"""Gives at most so many unpacked bytes, b"" at the end."""


def packing(start: bytes) -> str | None:
    """Returns the name of the compression that a file's first bytes announce, None for none."""
    return next((name for name, (magics, _) in _PACKINGS.items() if start.startswith(magics)), None)


def unpack(file: BinaryIO, unpacked: BinaryIO, reading: Reading) -> str | None:
    """Writes to `unpacked` all that can be unpacked of `file`; returns None, or why the rest cannot."""
    name = packing(file.read(LONGEST_MAGIC))
    file.seek(0)
    if name is None:
        raise ValueError("the file is not packed")
    most = max(_FREE, reading.limits.ratio * reading.shard.size)
    done = 0
    try:
        read = _PACKINGS[name][1](file)
        while block := read(MIB):
            done += len(block)
            if done > most:
                return f"unpacks to more than {reading.limits.ratio} times its size"
            with reading.store.unpacking(reading.shard.path):
                unpacked.write(block)
    except (EOFError, zlib.error, gzip.BadGzipFile, lzma.LZMAError, pa.ArrowException, _Broken) as error:
        return f"has damaged {name} data after {done} bytes ({type(error.__cause__ or error).__name__})"
    return None


class _Broken(Exception):
    """bz2 and Arrow raise a plain OSError for bad data, which must not be taken for the store's."""


def _gzip(file: BinaryIO) -> Reader:
    return cast(Reader, gzip.GzipFile(fileobj=file, mode="rb").read1)  # one step: what precedes damage stays


def _zstandard(file: BinaryIO) -> Reader:
    # Arrow's decoder admits windows of up to 128 MiB and goes on with the next frame
    stream = pa.CompressedInputStream(pa.PythonFile(file, "r"), "zstd")

    def read(size: int) -> bytes:
        try:
            return cast(bytes, stream.read(min(size, _PIECE)))
        except OSError as error:
            raise _Broken from error

    return read


def _bzip2(file: BinaryIO) -> Reader:
    return _streams(file, bz2.BZ2Decompressor)


def _xz(file: BinaryIO) -> Reader:
    return _streams(file, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY))


def _streams(file: BinaryIO, decoder: Callable[[], bz2.BZ2Decompressor | lzma.LZMADecompressor]) -> Reader:
    """Reads the streams of a file one after another; zeros between and after them are padding."""
    now, data = decoder(), b""

    def read(size: int) -> bytes:
        nonlocal now, data
        while True:
            if now.eof:
                data = (now.unused_data or data).lstrip(b"\0")
                data = data or _after_padding(file)
                if not data:
                    return b""
                now = decoder()
            elif now.needs_input:
                data = file.read(_PIECE)
                if not data:
                    raise EOFError
            try:
                block = now.decompress(data, size)
            except OSError as error:
                raise _Broken from error
            data = b""
            if block:
                return block

    return read


def _after_padding(file: BinaryIO) -> bytes:
    while data := file.read(_PIECE):
        if left := data.lstrip(b"\0"):
            return left
    return b""


# a Zstandard file may begin with a frame to skip, as those of pzstd do
_ZSTD: Final = (b"\x28\xb5\x2f\xfd", *(bytes((0x50 + number, 0x2A, 0x4D, 0x18)) for number in range(16)))

_PACKINGS: Final[dict[str, tuple[tuple[bytes, ...], Callable[[BinaryIO], Reader]]]] = {
    "gzip": ((b"\x1f\x8b",), _gzip),
    "bzip2": ((b"BZh",), _bzip2),
    "xz": ((b"\xfd7zXZ\0",), _xz),
    "zstd": (_ZSTD, _zstandard),
}
