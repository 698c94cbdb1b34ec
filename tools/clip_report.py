"""How well a scorer tells true captions from false ones, on images that no training has seen.

As a program it draws the loss curve of a training run:

    python -m tools.clip_report FOLDER/training.json docs/clip-loss.png
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from synth import content
from synth.content import Content
from synth.scenes import Scene
from synth.seeds import generator
from tools import clip_pairs
from tools.clip_pairs import EDITS, FALSE, Item

Scores = npt.NDArray[np.float64]
ScorePairs = Callable[[Sequence[bytes], Sequence[str]], Scores]
"""Scores of JPEG bytes and captions, pair by pair."""

PURPOSE: Final = "clip held out"
"""Seeds of images for a report: no other part of the project draws for this purpose."""


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Images with a true caption, a caption of an image unlike them, and perhaps a near miss."""

    shown: Content
    data: bytes
    true: str
    false: str
    near: Item | None


def held_out(language: str, number: int, seed: int = 1) -> list[HeldOut]:
    """Images at the sizes of the demo crawl, with captions in `language`."""
    found = []
    for index in range(number):
        rng = generator(seed, f"{PURPOSE} {language}", index)
        shown = content.draw(rng, language)
        true = content.describe(shown, language, rng)
        item = Item(shown.shown, true, language)
        near = clip_pairs.near_miss(item, rng, language)
        wrong = near.edit is not None and _is_false(near, item)
        data = content.encode(content.picture(shown), "jpg", 88)
        false = content.unlike(shown, language, rng)
        found.append(HeldOut(shown, data, true, false, near if wrong else None))
    return found


def _is_false(near: Item, item: Item) -> bool:
    """Whether the near miss's caption is false of the image that it misses."""
    return bool(clip_pairs.truth([item, near], [item, near])[0, 1] == FALSE)


@dataclass(frozen=True, slots=True)
class Report:
    """What the scores say; every share between 0 and 1."""

    auc: float
    auc_scenes: float
    auc_photographs: float
    removed: float
    loss: float
    near: dict[str, tuple[float, int]]
    """Kind of near miss -> (share in which the true caption scores higher, number)."""


def report(score: ScorePairs, rows: Sequence[HeldOut], planted: float = 0.06) -> Report:
    """The report on a scorer; `planted` is the share of captions that are false when it is thresholded.

    `removed` and `loss` are at equal keep rate: of the false captions among the planted share how many go,
    and how many true ones go with them, when just so many rows are dropped as were planted.
    """
    data = [row.data for row in rows]
    true, false = score(data, [row.true for row in rows]), score(data, [row.false for row in rows])
    scene = np.array([isinstance(row.shown.shown, Scene) for row in rows])
    close = [at for at, row in enumerate(rows) if row.near is not None]
    missed = score([data[at] for at in close], [row.near.text for row in rows if row.near is not None])
    kinds = np.array([row.near.edit for row in rows if row.near is not None])
    near = {}
    for kind in EDITS:
        at = kinds == kind
        if at.any():
            near[kind] = (float((true[close][at] > missed[at]).mean()), int(at.sum()))
    removed, loss = equal_keep_rate(true, false, planted)
    return Report(
        auc=auc(true, false),
        auc_scenes=auc(true[scene], false[scene]),
        auc_photographs=auc(true[~scene], false[~scene]),
        removed=removed,
        loss=loss,
        near=near,
    )


def auc(true: Scores, false: Scores) -> float:
    """The chance that a true caption scores above a false one; ties count a half."""
    below = np.searchsorted(np.sort(false), true, "left")
    up_to = np.searchsorted(np.sort(false), true, "right")
    return float((below + up_to).mean() / 2 / len(false))


def equal_keep_rate(true: Scores, false: Scores, planted: float) -> tuple[float, float]:
    """(share of false captions removed, share of true ones lost) when as many go as are false.

    The false are weighted down to a share `planted` of all rows.
    """
    weight = planted / (1 - planted) * len(true) / len(false)
    scores = np.concatenate([true, false])
    weights = np.concatenate([np.ones(len(true)), np.full(len(false), weight)])
    order = np.argsort(scores, kind="stable")
    dropped = np.cumsum(weights[order]) <= weight * len(false) + 1e-9
    gone = np.zeros(len(scores), bool)
    gone[order[dropped]] = True
    return float(gone[len(true) :].mean()), float(gone[: len(true)].mean())


def draw(curve: Sequence[tuple[int, float, float, float]], to: Path) -> None:
    """Draws the losses of (step, CPU seconds, over images, over regions) over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 2.6), layout="constrained")
    axes = figure.subplots()
    steps, _, pictures, regions = zip(*curve, strict=True)
    axes.plot(steps, pictures, label="loss over pictures, mean of 25 steps")
    axes.plot(steps, regions, label="loss over regions, mean of 25 steps")
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    figure.savefig(to)


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text())["curve"], Path(sys.argv[2]))
