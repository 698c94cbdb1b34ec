"""Pictures that threads decode ahead of whoever takes them, in batches of one size."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.errors import InputError, RowError

Pixels = npt.NDArray[np.uint8]

AHEAD: Final = 3
"""Batches that may be decoded, or be on their way to it, before they are asked for."""


class Ahead:
    """Batches of `size` pictures in the order given, the last one smaller; `begin` starts decoding.

    `pictures` is read in the caller's thread, between batches. A picture that cannot be decoded is an
    InputError that names it.
    """

    def __init__(
        self,
        pictures: Iterable[tuple[str, bytes]],
        decode: Callable[[bytes], Pixels],
        threads: int,
        size: int,
    ) -> None:
        self._pictures = iter(pictures)
        self._decode = decode
        self._size = size
        self._pool = ThreadPoolExecutor(threads, "decode")
        self._waiting: deque[tuple[str, Future[Pixels]]] = deque()

    def __enter__(self) -> "Ahead":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)

    def begin(self) -> None:
        """Give the threads as much as they may be ahead."""
        while len(self._waiting) < AHEAD * self._size:
            found = next(self._pictures, None)
            if found is None:
                return
            member, data = found
            self._waiting.append((member, self._pool.submit(self._decode, data)))

    def batches(self) -> Iterator[tuple[list[str], Pixels]]:
        """(members, (N, height, width, 3) pixels) until there are no more."""
        self.begin()
        while self._waiting:
            taken = [self._waiting.popleft() for _ in range(min(self._size, len(self._waiting)))]
            # what is read meanwhile keeps the threads busy while these are waited for
            self.begin()
            yield [member for member, _ in taken], np.stack([_pixels(*one) for one in taken])


def _pixels(member: str, future: Future[Pixels]) -> Pixels:
    try:
        return future.result()
    except RowError as error:
        raise InputError(
            f"the picture of {member!r}, which was measured, cannot be decoded for its CLIP score "
            f"({error}); a scorer's max_pixels must not be below that of signals.picture"
        ) from error
