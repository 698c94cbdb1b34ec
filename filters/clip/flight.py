"""Batches on their way through a device: the next one is begun before the last one is fetched."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from filters.clip.towers import Landing, NoMemory, Vectors


@dataclass
class Flight:
    """What became of one batch so far: parts that still are on the device, in order, after those fetched."""

    done: list[Vectors] = field(default_factory=list)
    waiting: list[tuple[Landing, int]] = field(default_factory=list)

    def land(self) -> Vectors:
        """All vectors, in the memory of the process; waits for the device."""
        self.done += [landing()[:rows] for landing, rows in self.waiting]
        self.waiting.clear()
        return np.concatenate(self.done)


class Runway:
    """Encodes batches in parts of at most `size()` rows; `launch` begins one, `halve` makes them smaller."""

    def __init__(
        self,
        size: Callable[[], int],
        launch: Callable[[npt.NDArray[Any]], Landing],
        halve: Callable[[NoMemory], None],
    ) -> None:
        self._size = size
        self._launch = launch
        self._halve = halve
        self._flights: deque[Flight] = deque()

    def vectors(self, batches: Iterable[npt.NDArray[Any]]) -> Iterator[Vectors]:
        """The vectors of each batch, in order, one batch behind what was begun."""
        for batch in batches:
            self._begin(batch)
            if len(self._flights) > 1:
                yield self._flights.popleft().land()
        while self._flights:
            yield self._flights.popleft().land()

    def _begin(self, batch: npt.NDArray[Any]) -> None:
        flight = Flight()
        self._flights.append(flight)
        at = 0
        while at < len(batch):
            part = batch[at : at + self._size()]
            try:
                flight.waiting.append((self._launch(part), len(part)))
            except NoMemory as error:
                failed = error
            else:
                at += len(part)
                continue
            for other in self._flights:
                if other.waiting:
                    other.done = [other.land()]
            self._halve(failed)
