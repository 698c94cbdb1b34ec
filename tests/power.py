"""Cuts the power while a corpus is built, again and again, and holds what the next build makes of what is left.

    python -m tests.power [--crashes 200] [--seed 1]        what `make chaos` runs

The disk is the real one; what it would have lost is worked out. The bytes of a file are safe once it was synced, a name
in a folder once the folder was. At a moment drawn from the seed the build ends, and a disk is laid out as the loss of
power may have left it: of each name that was not safe the old state or the new one, of each file that was not safe all
bytes, none, some, or as many zeros. `make test` does the same with fewer crashes (tests/pipelines/test_power.py).
"""

import argparse
import os
import random
import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from unittest import mock

from pipelines.audit.verify import verify
from pipelines.layout import Layout
from pipelines.receipts import is_finished
from tests.damage import Corpora, files

SCRATCH = ("work/tmp", "work/exchange")


class PowerLoss(BaseException):
    """The machine is off: nothing catches this."""


@dataclass
class Disk:
    """What of a folder would survive; at the `last` call that changes or syncs something the power goes."""

    root: Path
    vault: Path
    hand: random.Random
    last: int = 1 << 60
    calls: int = 0
    off: bool = False
    safe: set[int] = field(default_factory=set)
    names: dict[Path, dict[str, int]] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self.vault.mkdir()
        for folder, _, found in os.walk(self.root):
            self.names[Path(folder)] = self._kept(Path(folder))
            self.safe |= {os.stat(Path(folder, name)).st_ino for name in found}

    @contextmanager
    def used(self) -> Iterator[None]:
        """Counts what this process asks of the disk."""
        with (
            mock.patch("os.fsync", self._synced),
            mock.patch("os.replace", self._changing(os.replace)),
            mock.patch("os.unlink", self._changing(os.unlink)),
        ):
            yield

    def _changing(self, real: Callable[..., None]) -> Callable[..., None]:
        def change(*arguments: Any, **more: Any) -> None:
            with self.lock:
                self._count()
                for path in map(Path, arguments if not more else ()):
                    if path.is_relative_to(self.root) and path.is_file():
                        self._keep(path)
                real(*arguments, **more)

        return change

    def _synced(self, descriptor: int) -> None:
        with self.lock:
            self._count()
            path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
            if path.is_dir():
                self.names[path] = self._kept(path)
            else:
                self.safe.add(os.fstat(descriptor).st_ino)

    def _count(self) -> None:
        self.calls += 1
        if self.off:
            raise PowerLoss
        if self.calls == self.last:
            self.off = True
            self._lay_out(self.root, self.root.with_name("after"))
            raise PowerLoss

    def _kept(self, folder: Path) -> dict[str, int]:
        """The names in a folder, each with the number of what it stands for, which the vault keeps."""
        return {path.name: self._keep(path) for path in folder.iterdir()}

    def _keep(self, path: Path) -> int:
        if not path.is_file():
            return _FOLDER  # has no content to keep, and a file may get its number when it is removed
        number = path.stat().st_ino
        place = self.vault / str(number)
        if not place.exists():
            os.link(path, place)
        return number

    def _lay_out(self, folder: Path, to: Path) -> None:
        to.mkdir()
        old, new = self.names.get(folder, {}), self._kept(folder) if folder.is_dir() else {}
        for name in sorted(old.keys() | new.keys()):
            number = (
                old.get(name) if old.get(name) == new.get(name) or self.hand.random() < 0.5 else new.get(name)
            )
            if (folder / name).relative_to(self.root).as_posix() in SCRATCH or number is None:
                continue
            if (folder / name).is_dir():
                self._lay_out(folder / name, to / name)
            elif (self.vault / str(number)).exists():
                self._lay_file(number, to / name)

    def _lay_file(self, number: int, to: Path) -> None:
        shutil.copy2(self.vault / str(number), to)
        if number in self.safe:
            return
        status, data = to.stat(), to.read_bytes()
        to.write_bytes(
            self.hand.choice([data, b"", data[: self.hand.randrange(len(data) + 1)], bytes(len(data))])
        )
        os.utime(to, ns=(status.st_atime_ns, status.st_mtime_ns))


_FOLDER: Final = 0


@dataclass
class Crashes:
    """Builds that lose their power: new ones, and such as make a finished corpus into another."""

    corpora: Corpora
    seed: int
    counts: Counter[str] = field(default_factory=Counter)
    calls: dict[bool, int] = field(default_factory=dict)
    sound: dict[bool, dict[str, bytes]] = field(default_factory=dict)

    def crash(self, number: int) -> None:
        """AssertionError unless the corpus after the crash, and after the next build, keeps its promises."""
        hand, again = random.Random(f"{self.seed} {number}"), number % 2 == 1
        if again not in self.calls:
            with self._started(again, hand) as disk, disk.used():
                self._build(disk.root, again)
                self.calls[again], self.sound[again] = disk.calls, files(disk.root)
        with self._started(again, hand) as disk:
            disk.last = hand.randrange(1, self.calls[again])
            with suppress(PowerLoss), disk.used():
                self._build(disk.root, again)
            if disk.off:
                self._check(disk.root.with_name("after"), again, f"crash {number} of seed {self.seed}")

    @contextmanager
    def _started(self, again: bool, hand: random.Random) -> Iterator[Disk]:
        with tempfile.TemporaryDirectory(dir=self.corpora.folder) as folder:
            root = Path(folder, "corpus")
            if again:
                shutil.copytree(self.corpora.at("card"), root)
            else:
                root.mkdir()
            yield Disk(root, Path(folder, "vault"), hand)

    def _build(self, out: Path, again: bool) -> None:
        self.corpora.build(out, changes={"splits": {"val": 0.5}} if again else {})

    def _check(self, corpus: Path, again: bool, what: str) -> None:
        with mock.patch("os.fsync", return_value=None):
            finished = is_finished(Layout(str(corpus)))
            self.counts["finished" if finished else "not finished"] += 1
            assert not finished or verify(str(corpus)) == [], f"{what}: its manifest is not true"
            self._build(corpus, again)
        found, sound = files(corpus), self.sound[again]
        other = [name for name in sorted(found.keys() | sound) if found.get(name) != sound.get(name)]
        assert not other, f"{what}: {other[:5]}"


def main() -> None:
    """The long form: so many crashes, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--crashes", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vlcorpus-power-") as folder:
        crashes = Crashes(Corpora(Path(folder)), arguments.seed)
        for number in range(arguments.crashes):
            crashes.crash(number)
            if number % 20 == 19:
                print(f"{number + 1} crashes: {dict(sorted(crashes.counts.items()))}", flush=True)


if __name__ == "__main__":
    main()
