"""A file that is digested while it is written, so that nothing is read a second time."""

import hashlib
import io
from dataclasses import dataclass
from typing import Any, BinaryIO


@dataclass(frozen=True, slots=True)
class Written:
    """What was written into one file: its rows, size in bytes, and SHA-256."""

    rows: int
    size: int
    sha256: str


class Sink(io.RawIOBase):
    """Passes bytes on to `file` and digests them; closing it leaves `file` open, for its owner to close."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.size

    def write(self, data: Any, /) -> int:
        view = memoryview(data).cast("B")
        self._file.write(view)
        self._digest.update(view)
        self.size += len(view)
        return len(view)

    def written(self, rows: int) -> Written:
        """What went through so far, as `rows` rows."""
        return Written(rows, self.size, self._digest.hexdigest())


class Digesting:
    """Reads on through `file` and digests what it reads."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes, fewer at the end."""
        data = self._file.read(size)
        self._digest.update(data)
        self.size += len(data)
        return data

    def hexdigest(self) -> str:
        """SHA-256 of what was read so far."""
        return self._digest.hexdigest()
