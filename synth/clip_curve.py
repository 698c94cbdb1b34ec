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
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 24, 24, 28
_INK: Final = (40, 40, 44)
_GRID: Final = (224, 224, 228)
_LINES: Final = (("pictures", (35, 85, 215)), ("regions", (200, 60, 40)))


def draw(points: Sequence[tuple[int, float, float, float]]) -> Image.Image:
    """The losses of (step, CPU seconds, over pictures, over regions) over the steps; axes begin at 0."""
    image = Image.new("RGB", (WIDTH, HEIGHT), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default()
    last, top = points[-1][0], int(max(max(point[2:]) for point in points)) + 1

    def place(step: float, loss: float) -> tuple[float, float]:
        x = _LEFT + step / last * (WIDTH - _LEFT - _RIGHT)
        return x, HEIGHT - _BOTTOM - loss / top * (HEIGHT - _TOP - _BOTTOM)

    for loss in range(top + 1):
        pen.line([place(0, loss), place(last, loss)], fill=_GRID)
        pen.text((_LEFT - 8, place(0, loss)[1]), str(loss), fill=_INK, font=font, anchor="rm")
    for share in range(5):
        step = last * share // 4
        pen.text((place(step, 0)[0], HEIGHT - _BOTTOM + 6), f"{step:,}", fill=_INK, font=font, anchor="mt")
    for number, (name, colour) in enumerate(_LINES):
        pen.text((_LEFT + 220 * number, 6), f"loss over {name}, mean of 25 steps", fill=colour, font=font)
        pen.line([place(point[0], point[2 + number]) for point in points], fill=colour, width=2)
    return image


def main(arguments: Sequence[str]) -> None:
    """The command line."""
    record = json.loads(Path(arguments[0]).read_text())
    draw([tuple(point) for point in record["curve"]]).save(arguments[1], optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
