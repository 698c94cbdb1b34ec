"""How the downloads of a run stand: workers say it every few seconds, the driver adds it up for its progress line.

It passes by files in the folder for what is gone when the run ends, where that is local; on an object store the line
has what receipts say.
"""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from pipelines.files import join, local_path
from pipelines.layout import Layout, Name
from schemas.plain import many

_SECONDS: Final = 2.0


@dataclass
class Pulse:
    """How a task stands: rows with an answer, images and bytes that came, hosts open, URLs that were asked for."""

    rows: int = 0
    images: int = 0
    bytes: int = 0
    hosts: int = 0
    asked: int = 0

    def add(self, other: "Pulse") -> None:
        """Adds another task."""
        self.rows += other.rows
        self.images += other.images
        self.bytes += other.bytes
        self.hosts += other.hosts
        self.asked += other.asked

    def text(self, seconds: float, rows: int) -> str:
        """Returns it in a few words, after so many seconds; `rows` are those of all tasks."""
        parts = [f"{self.images / seconds:,.0f} images/s", f"{self.bytes / seconds / 1e6:,.1f} MB/s"]
        if self.rows:
            left = (rows - self.rows) * seconds / self.rows
            parts.append(f"{100 * self.images / self.rows:.1f} % came")
            parts.append(f"{many(self.hosts, 'host')} open")
            parts.append(f"{left / 60:,.0f} min left" if left >= 90 else f"{left:.0f} s left")
        return "  ".join(parts)


def _folder(layout: Layout, source: str) -> str:
    return join(layout.exchange, "fetch", source)


async def beat(layout: Layout, name: Name, now: Callable[[], Pulse]) -> None:
    """Writes down how the task of that name stands, every few seconds, until it is cancelled; and then once more."""
    if not layout.is_local:
        return
    source, task = name
    path = join(_folder(layout, source), f"{task}.json")
    ended = False
    while not ended:
        try:
            await asyncio.sleep(_SECONDS)
        except asyncio.CancelledError:
            ended = True
        layout.store.write_bytes(path, json.dumps(asdict(now())).encode(), layout.tmp, scratch=True)


@contextmanager
def watched(layout: Layout, source: str, rows: int, show: Callable[[str], None]) -> Iterator[None]:
    """A block meanwhile `show` gets, every few seconds, how the tasks of a source stand, which have so many rows."""
    ended, begun = threading.Event(), time.monotonic()

    def watch() -> None:
        while not ended.wait(_SECONDS):
            found = added(layout, source)
            if found.rows:
                show(found.text(time.monotonic() - begun, rows))

    if not layout.is_local:
        yield
        return
    thread = threading.Thread(target=watch, name="pulse", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def added(layout: Layout, source: str) -> Pulse:
    """Returns how all tasks of a source stand together."""
    return _added(Path(local_path(_folder(layout, source))))


def _added(folder: Path) -> Pulse:
    total = Pulse()
    for path in sorted(folder.rglob("*.json")) if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # a run that ends takes them away
            total.add(Pulse(**json.loads(path.read_bytes())))
    return total


def left(layout: Layout) -> dict[str, Pulse]:
    """Returns, by source, how the fetch stands that is under way, or stood when its run was killed."""
    if not layout.is_local:
        return {}
    folders = Path(local_path(join(layout.work, "exchange"))).glob("*/fetch/*")
    return {folder.name: _added(folder) for folder in sorted(folders)}
