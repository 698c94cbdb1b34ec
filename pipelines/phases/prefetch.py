"""Images that threads decode before they are asked for, in batches of one size."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Final

import numpy as np
import numpy.typing as npt

from schemas.errors import InputError, RowError

Pixels = npt.NDArray[np.uint8]

AHEAD: Final = 3
"""Batches that may be decoded, or be on their way to it, before they are asked for."""


def prefetched(
    images: Iterable[tuple[str, bytes]], decode: Callable[[bytes], Pixels], threads: int, size: int
) -> Iterator[tuple[list[str], Pixels]]:
    """Yields batches of `size` images in the order given, the last one smaller: (members, (N, height, width, 3)).

    Reads `images` in the caller's thread, between batches. Raises InputError for an image that cannot be decoded.
    """
    source = iter(images)
    waiting: deque[tuple[str, Future[Pixels]]] = deque()
    pool = ThreadPoolExecutor(threads, "decode")

    def begin() -> None:
        for member, data in islice(source, AHEAD * size - len(waiting)):
            waiting.append((member, pool.submit(decode, data)))

    try:
        begin()
        while waiting:
            taken = [waiting.popleft() for _ in range(min(size, len(waiting)))]
            # what is read meanwhile keeps the threads busy while these are waited for
            begin()
            yield [member for member, _ in taken], np.stack([_pixels(*one) for one in taken])
    finally:
        pool.shutdown(cancel_futures=True)


def _pixels(member: str, future: Future[Pixels]) -> Pixels:
    try:
        return future.result()
    except RowError as error:
        raise InputError(
            f"the picture of {member!r}, which was measured, cannot be decoded for its CLIP score "
            f"({error}); a scorer's max_pixels must not be below that of signals.picture"
        ) from error
