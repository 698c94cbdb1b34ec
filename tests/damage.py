"""Damages the files of a corpus, one after another, and holds what the next build makes of it against a sound one.

    python -m tests.damage [--damages 1000] [--seed 1]        what `make chaos` runs

Every kind of file below work/ and of the output is deleted, emptied, cut, has a bit flipped, is swapped with its
neighbour or loses rows, after each phase. The next build ends with the same files as an undisturbed one; or it stops
with a sentence, and once the file is put back nothing is lost. `make test` does the same with fewer damages
(tests/pipelines/test_damage.py).
"""

import argparse
import json
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.phases.table import PHASES
from pipelines.progress import Reporter
from pipelines.recipe.model import Recipe
from pipelines.removal import Removed
from pipelines.removal import read as read_list
from pipelines.runs import Options, run
from schemas.errors import VlcorpusError
from tests import bits
from tests.pipelines.phases.test_ground import pairs
from tests.pipelines.phases.test_ground import recipe as grounded
from tests.pipelines.phases.test_render import scenes
from tests.pipelines.phases.test_several import tar
from tests.pipelines.raw import picture
from tests.pipelines.sources.test_annotations import folder, line, lines

ROWS = 8
"""Of each input shard."""

WITHOUT_DIGEST = ("work/log/", "work/receipts/", "run.json")
"""Files that no two runs have in common."""

HAND_MADE = ("removed.parquet", "work/verdicts/")
"""What no phase can make again: a person gave it, or a row's death did."""


class Heard(Reporter):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, sentence: str) -> None:
        self.said.append(sentence)


@dataclass
class Corpora:
    """A recipe with every kind of source, and for each phase the corpus as an undisturbed run left it then."""

    folder: Path
    recipe: dict[str, Any] = field(init=False)
    removed: Removed = field(init=False)
    verdicts: Path = field(init=False)
    sound: dict[str, bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.recipe = recipe_of(self.folder / "in")
        (self.folder / "list.txt").write_text("url\nhttps://example.org/1\nhttps://example.org/9\n")
        self.removed = read_list(str(self.folder / "list.txt"))
        self.verdicts = self.folder / "verdicts.json"
        blamed = {"source": "web", "shard": "0", "member": "00002", "kind": "deadline"}
        self.verdicts.write_text(json.dumps([blamed]))
        for phase in PHASES:
            self.build(self.folder / "work", phase.name)
            shutil.copytree(self.folder / "work", self.at(phase.name))
        self.sound = files(self.at("card"))

    def at(self, phase: str) -> Path:
        """The corpus as it lay there after a phase."""
        return self.folder / f"after-{phase}"

    def build(self, out: Path, until: str = "card", changes: dict[str, Any] | None = None) -> list[str]:
        """Builds inline, with changes to the recipe; returns what was said."""
        heard = Heard()
        recipe = Recipe.model_validate({**self.recipe, **(changes or {}), "out": str(out)})
        # so small that each annotation file has parts
        with mock.patch("pipelines.sources.annotations.BYTES_A_PART", 600):
            run(recipe, until, Options("inline", verdicts=str(self.verdicts)), heard, removed=self.removed)
        return heard.said

    @contextmanager
    def copied(self, phase: str) -> Iterator[Path]:
        """A copy of the corpus after a phase, with the times of its files, which is gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.folder) as place:
            yield Path(shutil.copytree(self.at(phase), Path(place) / "corpus"))


def recipe_of(path: Path) -> dict[str, Any]:
    """A recipe of two tars each of pairs and of pairs of several images, annotations in parts, and drawn scenes."""
    for number in range(2):
        pairs(path / "pairs" / f"{number}.tar", range(ROWS * number, ROWS * (number + 1)))
    web = grounded(path / "pairs")
    records = [[picture(100 + 10 * n + place) for place in range(1 + n % 2)] for n in range(6)]
    for number in range(2):
        made = tar(path / f"several-{number}", records[3 * number : 3 * number + 3])
        shutil.move(made / "a.tar", path / f"{number}.tar")
    several = {"id": "several", "path": str(path / "*.tar"), "several": "interleaved"}
    tuples = lines(path / "boxes.jsonl", [line(number) for number in range(6)])
    boxes = {"id": "boxes", "kind": "annotations", "format": "grounding", "path": str(tuples)}
    sources = [*web["sources"], several, {**boxes, "images": str(folder(path / "images", 6))}]
    drawn = scenes(2)["sources"][0]
    return {
        **web,
        "seed": 7,
        "sources": [*sources, drawn],
        "clip": {"allow_embedded": True, "scorers": {"default": {"model": "embedded"}}},
        "rules": {**web["rules"], "clip": {"keep": 0.9}},
        "max_quarantine": 1,
        "shards": {"samples": 12},
        "splits": {"val": 0.2},
    }


def files(corpus: Path) -> dict[str, bytes]:
    """All that a corpus consists of, but what no two runs have in common."""
    found = {path.relative_to(corpus).as_posix(): path for path in corpus.rglob("*") if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if not name.startswith(WITHOUT_DIGEST)}


def kind_of(name: str) -> str:
    """Returns the kind of a file: its folder in work/, with the phase of receipts; else its suffix."""
    parts = name.split("/")
    if parts[0] == "work":
        return "/".join(parts[1:3] if parts[1] == "receipts" and len(parts) > 3 else parts[1:2])
    return f"shards{Path(name).suffix}" if parts[0] == "shards" else name


def delete(path: Path, hand: random.Random) -> None:
    path.unlink()


def empty(path: Path, hand: random.Random) -> None:
    path.write_bytes(b"")


def cut(path: Path, hand: random.Random) -> None:
    size = path.stat().st_size
    bits.cut(path, size - hand.randrange(max(size, 1)))


def flip(path: Path, hand: random.Random) -> None:
    if size := path.stat().st_size:
        bits.flip(path, hand.randrange(size), bit=hand.randrange(8))


def swap(path: Path, hand: random.Random) -> None:
    """With another file of its folder, or of the same name elsewhere."""
    beside = sorted(one for one in path.parent.iterdir() if one.is_file() and one != path)
    if beside:
        other = hand.choice(beside)
        data = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
    else:
        path.unlink()


def drop_rows(path: Path, hand: random.Random) -> None:
    """Some rows of Parquet, some lines of anything else."""
    if path.suffix != ".parquet":
        rows = path.read_bytes().splitlines(keepends=True)
        del rows[hand.randrange(len(rows)) :]
        path.write_bytes(b"".join(rows))
        return
    table = pq.ParquetFile(path).read()
    kept = [row for row in range(table.num_rows) if hand.random() < 0.7]
    if len(kept) == table.num_rows:
        kept = kept[1:]
    taken = table.take(pa.array(kept, pa.int64()))
    pq.write_table(taken, path, compression="zstd", write_page_checksum=True)


DEEDS: tuple[Callable[[Path, random.Random], None], ...] = (delete, empty, cut, flip, swap, drop_rows)


@dataclass
class Hand:
    """A seeded hand that damages: each kind of file in turn, each deed, after each phase."""

    corpora: Corpora
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def damage(self, number: int) -> None:
        """Does one deed and builds; AssertionError unless the corpus is whole again, or says why not."""
        hand = random.Random(f"{self.seed} {number}")
        phase = "card" if hand.random() < 0.5 else hand.choice(PHASES).name
        with self.corpora.copied(phase) as corpus:
            path = self._chosen(corpus, number, hand)
            name, deed = path.relative_to(corpus).as_posix(), hand.choice(DEEDS)
            before = {one: one.read_bytes() for one in path.parent.iterdir() if one.is_file()}
            deed(path, hand)
            what = f"damage {number} of seed {self.seed}: {deed.__name__} of {name} after {phase}"
            try:
                said = self.corpora.build(corpus)
                self.counts["mended"] += 1
            except VlcorpusError as error:
                # another file may have been put in the place of one that nobody can make again
                if not name.startswith(HAND_MADE) and not any(one in str(error) for one in HAND_MADE):
                    raise
                self.counts[f"a sentence: {kind_of(name)}"] += 1
                for one, data in before.items():
                    one.write_bytes(data)
                said = self.corpora.build(corpus)
            found = files(corpus)
            other = [
                one for one in sorted(found.keys() | self.corpora.sound) if not self._is_same(one, found)
            ]
            assert not other, f"{what}: {other[:5]}, said {said}"

    def _is_same(self, name: str, found: dict[str, bytes]) -> bool:
        # a verdict on a row that is not there is kept, and says nothing
        return name.startswith("work/verdicts/") or found.get(name) == self.corpora.sound.get(name)

    def _chosen(self, corpus: Path, number: int, hand: random.Random) -> Path:
        kinds: dict[str, list[Path]] = {}
        for path in sorted(one for one in corpus.rglob("*") if one.is_file()):
            kinds.setdefault(kind_of(path.relative_to(corpus).as_posix()), []).append(path)
        kind = sorted(kinds)[number % len(kinds)]
        return hand.choice(kinds[kind])


def main() -> None:
    """The long form: so many damages, one after another."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--damages", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="vlcorpus-damage-") as folder:
        hand = Hand(Corpora(Path(folder)), arguments.seed)
        for number in range(arguments.damages):
            hand.damage(number)
            if number % 100 == 99:
                print(f"{number + 1} damages: {dict(sorted(hand.counts.items()))}", flush=True)


if __name__ == "__main__":
    main()
