"""How well hashes and sketches tell which images are one: recall and precision over published groups.

    python -m benchmarks.likeness DATA

DATA is laid out as tests/README.md describes. Prints, with and without the sketches: pairs of derivatives found and
pairs of other groups merged at each distance; the same with the distance chosen by four folds of groups and judged on
the fifth; turned and mirrored copies found on request, the published ones and those made of photographs.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
from PIL import Image

from filters.hamming import distances
from filters.phash import phash, thumbnail
from filters.pixels import grey_pixels
from filters.sketch import TURNS, U64, alike, chroma, on_white, sketches, turned, turned_hashes, weak

DISTANCES = (0, 2, 4, 6, 8, 10)
FOLDS = 5
PRECISION = 0.99
NOT_COPIES = ("geometric", "EXIF", "query", "target", "hflip", "rotat", "crop", "corrupt")
"""Words in the names of variants that no hash of the upright whole image is asked to find."""


@dataclass(frozen=True)
class Images:
    """Images with what is compared: (N,) hashes, (N, 28) sketches; the group and the variant of each."""

    hashes: U64
    sketches: U64
    groups: Sequence[str]
    variants: Sequence[str]

    def near(
        self, one: np.ndarray, other: np.ndarray, distance: int, sketched: bool, turns: int = 1
    ) -> np.ndarray:
        """Whether images are one, pair by pair."""
        found = np.zeros(len(one), bool)
        hashes = turned_hashes(self.sketches) if turns > 1 else self.hashes[:, None]
        for turn in range(turns):
            of = hashes[other, turn] if turn else self.hashes[other]
            near = distances(self.hashes[one], of) <= distance
            if sketched:
                is_weak = weak(self.sketches)
                shown = turned(self.sketches[other], turn)
                near &= alike(self.sketches[one], shown, is_weak[one] | is_weak[other])
            found |= near
        return found


def measured(images: Iterable[tuple[str, str, Image.Image]]) -> Images:
    """Hashes and sketches of (group, variant, image)."""
    hashed, greys, colours = [], [], []
    groups, variants = [], []
    for group, variant, image in images:
        grey = thumbnail(grey_pixels(image))
        flat = on_white(image)
        hashed.append(grey)
        greys.append(grey if flat is None else thumbnail(grey_pixels(flat)))
        colours.append(np.frombuffer(chroma(flat or image), np.uint8))
        groups.append(group)
        variants.append(variant)
    words = sketches(np.stack(greys), np.stack(colours))[0].view("<u8").astype(np.uint64)
    return Images(phash(np.stack(hashed)), words, groups, variants)


def published(data: Path) -> Images:
    """The images of the published groups, but for byte copies."""
    found: list[tuple[str, str, Image.Image]] = []
    seen = set()
    for line in (data / "neardup" / "groups.jsonl").read_text().splitlines():
        group = json.loads(line)
        for member in group["members"]:
            file = data / "neardup" / member["file"]
            digest = sha256(file.read_bytes()).digest()
            if member.get("decodes", True) and digest not in seen:
                seen.add(digest)
                image = Image.open(file)
                image.load()
                found.append((group["group"], member["variant"], image))
    return measured(found)


def mirrored(data: Path, first: int) -> Images:
    """Every eighth photograph of `pairs` and its seven turned copies, each at another size."""
    lines = (data / "pairs" / "pairs.jsonl").read_text().splitlines()
    files = sorted({json.loads(line)["file"] for line in lines})[first::8]

    def made() -> Iterable[tuple[str, str, Image.Image]]:
        for file in files:
            image = Image.open(data / "pairs" / file).convert("RGB")
            image.thumbnail((640, 640))
            for turn in range(TURNS):
                copy = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if turn & 2 else image
                copy = copy.transpose(Image.Transpose.FLIP_TOP_BOTTOM) if turn & 4 else copy
                copy = copy.transpose(Image.Transpose.TRANSPOSE) if turn & 1 else copy
                yield (
                    file,
                    f"turn {turn}",
                    copy.resize((copy.width * 9 // (9 + turn), copy.height * 9 // (9 + turn))),
                )

    return measured(made())


def pairs(images: Images) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All pairs of images, and whether the two are of one group."""
    one, other = np.array(list(combinations(range(len(images.groups)), 2))).T
    names = np.array(images.groups)
    return one, other, names[one] == names[other]


def is_copy(variant: str) -> bool:
    """Whether a variant shows the whole image, upright."""
    return not any(word in variant for word in NOT_COPIES)


def judged(
    images: Images, distance: int, sketched: bool, turns: int, keep: np.ndarray
) -> tuple[int, int, int]:
    """Pairs to be found, found, and wrongly merged, among images that `keep` picks."""
    one, other, same = pairs(images)
    mine = keep[one] & keep[other]
    near = images.near(one[mine], other[mine], distance, sketched, turns)
    return int(same[mine].sum()), int((near & same[mine]).sum()), int((near & ~same[mine]).sum())


def line(name: str, figures: tuple[int, int, int]) -> str:
    """One line of a table."""
    wanted, found, wrong = figures
    precision = found / max(1, found + wrong)
    return (
        f"{name:34} {found:6} of {wanted:6}  recall {found / max(1, wanted):.3f}  precision {precision:.3f}"
    )


def folds(images: Images, sketched: bool, keep: np.ndarray) -> tuple[int, int, int]:
    """The distance is chosen on four folds of groups, the best recall at the precision; judged on the fifth."""
    number: dict[str, int] = defaultdict(lambda: len(number))
    fold = np.array([number[group] % FOLDS for group in images.groups])
    sums = np.zeros(3, int)
    for left in range(FOLDS):
        best = (0.0, 0)  # of distances that find the same, the largest
        for distance in DISTANCES:
            wanted, found, wrong = judged(images, distance, sketched, 1, keep & (fold != left))
            if found >= PRECISION * (found + wrong):
                best = max(best, (found / wanted, distance))
        sums += judged(images, best[1], sketched, 1, keep & (fold == left))
    wanted, found, wrong = sums.tolist()
    return wanted, found, wrong


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    images = published(data)
    copies = np.array([is_copy(variant) for variant in images.variants])
    for sketched in (False, True):
        print("hash and sketch" if sketched else "hash alone")
        for distance in DISTANCES:
            print(line(f"  distance {distance}", judged(images, distance, sketched, 1, copies)))
        print(line("  five folds", folds(images, sketched, copies)))
        everything = np.ones(len(copies), bool) & np.array(
            ["query" not in one and "target" not in one for one in images.variants]
        )
        for turns in (1, TURNS):
            print(
                line(
                    f"  published with turned, {turns} turns", judged(images, 4, sketched, turns, everything)
                )
            )
        for first in (1, 5):
            made = mirrored(data, first)
            for turns in (1, TURNS):
                name = f"  made of every 8th from {first}, {turns} turns"
                print(line(name, judged(made, 4, sketched, turns, np.ones(len(made.groups), bool))))


if __name__ == "__main__":
    main()
