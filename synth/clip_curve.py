"""The loss curve of a training run as a small picture.

python -m synth.clip_curve FOLDER/training.json docs/clip-loss.png
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

WIDTH: Final = 560
HEIGHT: Final = 260
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 12, 24, 28
_INK: Final = (40, 40, 44)
_GRID: Final = (224, 224, 228)
_LINE: Final = (35, 85, 215)


def draw(points: Sequence[tuple[int, float, float]]) -> Image.Image:
    """The losses of (step, CPU seconds, loss) over the steps; axes begin at 0."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default()
    last, top = points[-1][0], int(max(loss for _, _, loss in points)) + 1

    def place(step: float, loss: float) -> tuple[float, float]:
        x = _LEFT + step / last * (WIDTH - _LEFT - _RIGHT)
        return x, HEIGHT - _BOTTOM - loss / top * (HEIGHT - _TOP - _BOTTOM)

    for loss in range(top + 1):
        pen.line([place(0, loss), place(last, loss)], fill=_GRID)
        pen.text((_LEFT - 8, place(0, loss)[1]), str(loss), fill=_INK, font=font, anchor="rm")
    for share in range(5):
        step = last * share // 4
        pen.text((place(step, 0)[0], HEIGHT - _BOTTOM + 6), f"{step:,}", fill=_INK, font=font, anchor="mt")
    pen.text((_LEFT, 6), "loss a picture, mean of 25 steps", fill=_INK, font=font)
    pen.line([place(step, loss) for step, _, loss in points], fill=_LINE, width=2)
    return image


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    record = json.loads(Path(arguments[0]).read_text())
    draw([(step, seconds, loss) for step, seconds, loss in record["curve"]]).save(arguments[1], optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
