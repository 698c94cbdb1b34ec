"""Damages files by a few bytes."""

import os
from pathlib import Path


def flip(path: Path, *offsets: int, bit: int = 0, same_time: bool = False) -> None:
    """Flips a bit of the bytes at some offsets, of the one in the middle where none is given.

    `same_time` leaves the file the times that it had.
    """
    times, data = path.stat(), bytearray(path.read_bytes())
    for offset in offsets or (len(data) // 2,):
        data[offset] ^= 1 << bit
    path.write_bytes(data)
    if same_time:
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def cut(path: Path, count: int = 1) -> None:
    """Takes so many bytes off the end."""
    os.truncate(path, path.stat().st_size - count)
